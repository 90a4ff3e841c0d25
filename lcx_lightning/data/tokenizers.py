"""Tokenizers: UTF-8 bytes for the embedded model, a Hugging Face tokenizer for checkpoints."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

BYTES = 256


@runtime_checkable
class Tokens(Protocol):
    """The interface of a tokenizer.

    Attributes:
        vocab_size: Number of ids, BOS included.
        bos: Id at position 0 of every row and window.
        special: Ids of special tokens, such as BOS and EOS.
    """

    vocab_size: int
    bos: int
    special: frozenset[int]

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without BOS."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`."""
        ...

    def chat(self, text: str) -> list[int] | None:
        """Return the ids of a chat with the user's message `text`, up to the answer; None without a chat template."""
        ...

    def identity(self) -> str | None:
        """Return a text that changes with the tokenizer, or None if encoding is too fast to be worth caching."""
        ...


class ByteTokens:
    """UTF-8 bytes as ids 0 to 255, BOS as 256."""

    def __init__(self) -> None:
        self.vocab_size = BYTES + 1
        self.bos = BYTES
        self.special = frozenset([BYTES])

    def encode(self, text: str) -> list[int]:
        """Return the bytes of `text`; a lone surrogate, which UTF-8 cannot encode, becomes a question mark."""
        return list(text.encode("utf-8", errors="replace"))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without BOS; an incomplete character becomes the replacement character."""
        return bytes(i for i in ids if i < BYTES).decode("utf-8", errors="replace")

    def chat(self, text: str) -> None:
        """Return None: bytes have no chat template."""

    def identity(self) -> None:
        """Return None: encoding bytes is as fast as reading them from a cache."""


class HubTokens:
    """A tokenizer from the Hugging Face hub or a local folder.

    If it has no BOS token, as in Qwen, EOS takes its place.

    Attributes:
        own_bos: Id of its BOS token, or None if it has none.

    Args:
        name: Name of the checkpoint on the hub, or a folder.
        revision: Commit, tag or branch of the hub repository; None for its main branch.
        config: Config of the model; None reads it from the checkpoint.

    Raises:
        ValueError: If the tokenizer has neither a BOS nor an EOS token.
    """

    def __init__(self, name: str, revision: str | None, config: Any = None) -> None:
        from transformers import AutoTokenizer  # takes seconds to import, and bytes do not need it

        given = {"config": config, "revision": revision, "trust_remote_code": False}
        self._tokenizer = AutoTokenizer.from_pretrained(name, **given)
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if bos is None and eos is None:
            raise ValueError(
                f"Rows and windows start with a BOS token, or with EOS if there is none, but the tokenizer {name!r} "
                "defines neither. Set bos_token in its tokenizer_config.json."
            )
        self.own_bos: int | None = bos
        self.bos: int = eos if bos is None else bos
        self.vocab_size = len(self._tokenizer)
        self.special = frozenset(self._tokenizer.all_special_ids)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without special tokens."""
        return self._tokenizer.encode(text, add_special_tokens=False, verbose=False)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens included."""
        return self._tokenizer.decode(ids)

    def chat(self, text: str) -> list[int] | None:
        """Return the ids of a chat with the user's message `text`, up to the answer; None without a chat template."""
        if not self._tokenizer.chat_template:
            return None
        messages = [{"role": "user", "content": text}]
        return self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)

    def identity(self) -> str:
        """Return a hash of the tokenizer's vocabulary and rules."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:  # a tokenizer written in Python
            rules = json.dumps([type(self._tokenizer).__name__, str(self._tokenizer), self._tokenizer.get_vocab()])
        else:
            rules = backend.to_str()
        return hashlib.sha256(rules.encode()).hexdigest()
