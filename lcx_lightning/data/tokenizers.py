"""Text to token ids and back: bytes for the embedded laboratory, a Hugging Face tokenizer for checkpoints."""

import hashlib
import json
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

BYTES = 256


@runtime_checkable
class Tokens(Protocol):
    """What the data needs of a tokenizer.

    Attributes:
        vocab_size: Number of ids, BOS included.
        bos: The id that stands at position 0 of every row and window.
        special: Ids that are no text: BOS, EOS and so on.
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
        """Return the ids of a chat in which the user says `text` and the answer is next; None: it has no template."""
        ...

    def identity(self) -> str | None:
        """Return what changes when any text may have other ids. None: encoding is so quick that nothing is kept."""
        ...


class ByteTokens:
    """UTF-8 bytes as ids 0 to 255, BOS as 256."""

    def __init__(self) -> None:
        self.vocab_size = BYTES + 1
        self.bos = BYTES
        self.special = frozenset([BYTES])

    def encode(self, text: str) -> list[int]:
        """Return the bytes of `text`; what UTF-8 cannot hold (a lone surrogate) becomes a question mark."""
        return list(text.encode("utf-8", errors="replace"))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; BOS reads as nothing, a character cut in two as the replacement character."""
        return bytes(i for i in ids if i < BYTES).decode("utf-8", errors="replace")

    def chat(self, text: str) -> None:
        """Return None: bytes have no template."""

    def identity(self) -> None:
        """Return None: bytes are read from a text as quickly as from a file of bytes."""


class HubTokens:
    """A tokenizer of the Hugging Face hub or of a local folder.

    Attributes:
        own_bos: Its BOS token, None if it has none.

    Args:
        name: Hub id or folder.
        revision: Commit, tag or branch of the hub repository; None is its main branch.

    Raises:
        ValueError: If the tokenizer has neither a BOS nor an EOS token. EOS stands in where BOS is missing (Qwen).
    """

    def __init__(self, name: str, revision: str | None) -> None:
        from transformers import AutoTokenizer  # seconds to import, which the byte laboratory need not pay

        self._tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if bos is None and eos is None:
            raise ValueError(
                f"Rows and windows start with a BOS token (or EOS where there is none); the tokenizer {name!r} defines "
                "neither. Set bos_token in its tokenizer_config.json."
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
        """Return the ids of a chat in which the user says `text` and the answer is next; None: it has no template."""
        if not self._tokenizer.chat_template:
            return None
        said = [{"role": "user", "content": text}]
        return self._tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=False)

    def identity(self) -> str:
        """Return a hash of the tokenizer's vocabulary and rules."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:  # one written in Python
            told = json.dumps([type(self._tokenizer).__name__, str(self._tokenizer), self._tokenizer.get_vocab()])
        else:
            told = backend.to_str()
        return hashlib.sha256(told.encode()).hexdigest()
