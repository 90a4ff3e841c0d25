"""A model with its method attached, behind the interface of models of the lm-evaluation-harness."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from lcx_lightning.data.tokenizers import Tokens
from lcx_lightning.models import lm_head
from lcx_lightning.models.generation import continuations

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Pair = tuple[Any, list[int], list[int]]  # what was asked, tokens of a context, tokens of its continuation


class LMEvalModel(TemplateLM):
    """Answers the requests of tasks: how likely continuations are, and what the model writes.

    Unlike in the harness's own `HFLM`, every text begins with BOS, and logits are computed only where they are scored.

    Args:
        model: The model, with its method attached.
        tokens: Tokenizer of the model.
        length: Tokens of the longest text, BOS included. The first tokens of longer texts are left out.
        batch_tokens: Tokens of a batch.
        chunk: Tokens of a prompt that are read at once.
    """

    def __init__(self, model: "PreTrainedModel", tokens: Tokens, *, length: int, batch_tokens: int, chunk: int) -> None:
        super().__init__()
        self._model, self._tokens, self._length = model, tokens, length
        self._batch_tokens, self._chunk = batch_tokens, chunk

    @property
    def eot_token_id(self) -> int:
        """Token before a text without context."""
        return self._tokens.prefix[-1]

    @property
    def tokenizer_name(self) -> str:
        """Name by which the harness could cache requests; it does not."""
        return type(self._tokens).__name__

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return the ids of a text, without BOS."""
        return self._tokens.encode(string)

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Return for each continuation its log-likelihood in nats, and whether each token is the most probable one."""
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Return the log-likelihood of each text in nats, read in windows that share no scored token."""
        return [sum(nats for nats, _ in self._loglikelihood_tokens(self._windows(one.args[0]))) for one in requests]

    def _windows(self, text: str) -> list[Pair]:
        found = get_rolling_token_windows(
            self.tok_encode(text), self.eot_token_id, self._length - len(self._tokens.prefix), 1
        )
        return [(None, *make_disjoint_window(window)) for window in found]

    @torch.inference_mode()
    def _loglikelihood_tokens(self, requests: list[Pair], **_: Any) -> list[tuple[float, bool]]:
        pairs = [self._ids(context, continuation) for _, context, continuation in requests]
        found: list[tuple[float, bool]] = [(0.0, True)] * len(pairs)
        for batch in self._batches([len(ids) for ids, _ in pairs]):
            for number, scored in zip(batch, self._scored([pairs[i] for i in batch]), strict=True):
                found[number] = scored
        return found

    def _ids(self, context: list[int], continuation: list[int]) -> tuple[list[int], int]:
        """Return BOS and as many of the last tokens as fit, and how many of them are scored."""
        prefix, room = self._tokens.prefix, self._length - len(self._tokens.prefix)
        ids = [*(context[1:] if context[:1] == [self.eot_token_id] else context), *continuation]
        return [*prefix, *ids[-room:]], min(len(continuation), room)

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Yield batches of indices of texts, with texts of similar length together, longest first."""
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        while order:
            rows = max(1, self._batch_tokens // lengths[order[0]])
            yield order[:rows]
            order = order[rows:]

    def _scored(self, texts: list[tuple[list[int], int]]) -> Iterator[tuple[float, bool]]:
        """Yield for each text the log-likelihood of its last tokens, and whether all are the most probable ones."""
        longest = max(len(ids) for ids, _ in texts)
        ids = torch.tensor([ids + [self.eot_token_id] * (longest - len(ids)) for ids, _ in texts])
        mask = torch.arange(longest) < torch.tensor([[len(ids)] for ids, _ in texts])
        ids, mask = ids.to(self._model.device), mask.long().to(self._model.device)
        hidden = self._model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        for row, (text, scored) in enumerate(texts):
            end = len(text)
            targets = ids[row, end - scored : end]
            logs = lm_head.logits_of(self._model, hidden[row, end - scored - 1 : end - 1]).log_softmax(-1)
            nats = logs.gather(1, targets[:, None]).double().sum()
            yield float(nats), bool((logs.argmax(-1) == targets).all())

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """Return what the model writes after each context, up to the first text that ends an answer.

        Raises:
            ValueError: If a task asks for sampling.
        """
        return [self._written(*one.args) for one in requests]

    def _written(self, context: str, asked: dict[str, Any]) -> str:
        if asked.get("do_sample") or asked.get("temperature", 0) not in (0, 1):
            raise ValueError(
                f"A task of the harness is answered by the most probable tokens, this one asks for {asked}: choose one "
                "without sampling."
            )
        new = min(asked.get("max_gen_toks", 256), self._length // 2)
        prefix = self._tokens.prefix
        ids = self._tokens.encode(context)[-(self._length - new - len(prefix)) :]
        (found,) = continuations(self._model, [[*prefix, *ids]], new, chunk=self._chunk)
        text = self._tokens.decode([token for token in found if token not in self._tokens.special])
        ends = asked.get("until") or []
        for end in [ends] if isinstance(ends, str) else ends:
            text = text.split(end, 1)[0] if end else text
        return text
