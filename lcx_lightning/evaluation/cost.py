"""Cost by length: seconds and memory of reading a prompt and of decoding after it, with the cache that serves."""

import time
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation import peak_memory
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Reading, Record, WorkUnit
from lcx_lightning.models import lm_head
from lcx_lightning.models.cache.choose import smallest_cache
from lcx_lightning.models.generation import one_factor
from lcx_lightning.results.metrics import Metric
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


PROTOCOL = "prompt_and_new_tokens"
METRICS = {
    "prefill_seconds": Metric("time to read the prompt (seconds)"),
    "decode_seconds": Metric("time per new token (seconds)"),
    "prefill_tokens_per_second": Metric("tokens of the prompt read per second"),
    "decode_tokens_per_second": Metric("new tokens per second"),
    "peak_bytes": Metric("peak memory above that of the model (bytes)"),
}


class Cost(AtMultiples):
    """A prompt and new tokens after it, one text, greedily, as `generate` would: protocol `prompt_and_new_tokens`.

    `prefill_seconds`: time to read the prompt (all of the context but the new tokens) and choose the first new token.
    `decode_seconds`: time to read a new token and choose the next one. `prefill_tokens_per_second` and
    `decode_tokens_per_second`: the rates of each repeat, summed as the seconds are. `peak_bytes`: the most memory that
    one more such generation takes above what was held before. The first generations warm up and do not count. Times
    mean something only on a machine that does nothing else: run with jobs=1.

    Args:
        multiples: Lengths of a context, prompt and new tokens, in units of the pretraining length L.
        new_tokens: Number of tokens that are decoded one by one.
        warmup: Number of generations that do not count.
        repeats: Number of generations that count.
        split: Split of the corpus that the text is from.
        seed: Seed for choosing the text.

    Raises:
        ValueError: If there are no multiples or no repeats, or nothing is decoded.
    """

    @checked
    def __init__(
        self,
        *,
        multiples: Multiples,
        new_tokens: PositiveInt,
        warmup: NonNegativeInt,
        repeats: PositiveInt,
        split: Split,
        seed: NonNegativeInt,
    ) -> None:
        self._multiples, self._new, self._warmup, self._repeats = sorted(multiples), new_tokens, warmup, repeats
        self._split, self._seed = split, seed

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        shortest = self.lengths(pretrain_length)[0]
        if shortest <= self._new:
            raise ValueError(
                f"Every context must hold a prompt and {self._new} new tokens, but the shortest has {shortest} tokens. "
                "Lower new_tokens, or raise the least of multiples."
            )
        return [self._work_unit(data, length) for length in self.served(pretrain_length, max_context)]

    def metrics(self) -> dict[str, Metric]:
        return {f"{PROTOCOL}/{name}": metric for name, metric in METRICS.items()}

    def _work_unit(self, data: LongContextData, length: int) -> WorkUnit:
        rows = self._rows(data, length)
        generations = self._warmup + self._repeats + peak_memory.measurable()  # the last one for its memory
        compute = partial(self._compute, data=data, length=length, rows=rows)
        return WorkUnit(rows, compute, [Reading(generations, length, 1, length)], exclusive=True)

    def _rows(self, data: LongContextData, length: int) -> list[Record]:
        row = {
            "evaluation": "cost",
            "protocol": PROTOCOL,
            "dataset": f"{data.corpus.name}/{self._split}",
            "document": "text",
            "context_length": length,
            "at": {"text_seed": self._seed},
            "details": {"new_tokens": self._new},
        }
        counts = {
            "prefill_seconds": self._repeats,
            "decode_seconds": self._repeats * self._new,
            "prefill_tokens_per_second": self._repeats,
            "decode_tokens_per_second": self._repeats,
            **({"peak_bytes": 1} if peak_memory.measurable() else {}),
        }
        return [row | {"metric": metric, "n": n} for metric, n in counts.items()]

    def _compute(
        self, model: "PreTrainedModel", data: LongContextData, length: int, rows: list[Record]
    ) -> list[Record]:
        prompt = data.text_batch(self._split, 1, length - self._new, self._seed)["input_ids"].to(model.device)
        generate = partial(timed_generation, model, prompt, self._new)
        taken = [generate() for _ in range(self._warmup + self._repeats)][self._warmup :]
        found: dict[str, float] = {
            "prefill_seconds": sum(prefill for prefill, _ in taken),
            "decode_seconds": sum(decode for _, decode in taken),
            "prefill_tokens_per_second": sum(prompt.shape[1] / prefill for prefill, _ in taken),
            "decode_tokens_per_second": sum(self._new / decode for _, decode in taken),
        }
        if any(row["metric"] == "peak_bytes" for row in rows):
            found["peak_bytes"] = peak_memory.peak_bytes(generate, model.device)
        return [row | {"value": found[row["metric"]]} for row in rows]


@torch.inference_mode()
def timed_generation(
    model: "PreTrainedModel", prompt: Int[Tensor, "rows tokens"], new_tokens: int
) -> tuple[float, float]:
    """Return the seconds of reading a prompt and choosing a token, and of reading that and each of the next ones.

    Every pass has the scale factor of the whole context, and the cache is the smallest that serves the method.
    """
    cache = smallest_cache(model, fixed_factor=True)

    def next_token(ids: Tensor) -> Tensor:
        hidden = model.base_model(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
        return lm_head.logits_of(model, hidden[:, -1:]).argmax(dim=-1)

    with one_factor(model, prompt.shape[1] + new_tokens):
        start = _now(model.device)
        ids = next_token(prompt)
        read = _now(model.device)
        for _ in range(new_tokens):
            ids = next_token(ids)
        return read - start, _now(model.device) - read


def _now(device: torch.device) -> float:
    """Return the time in seconds when everything that was queued on the device is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
