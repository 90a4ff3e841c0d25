"""Tokenizers: UTF-8 bytes for the embedded model, a Hugging Face tokenizer for checkpoints."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_letters, digits
from typing import Any, Protocol, runtime_checkable

from lcx_lightning.data.chat import rendered
from lcx_lightning.data.markup import cleaned, encoder_of

BYTES = 256


@runtime_checkable
class Tokens(Protocol):
    """The interface of a tokenizer.

    Attributes:
        vocab_size: The largest id plus 1.
        prefix: Ids at the front of every row and window, one at least: what is called BOS elsewhere.
        special: Ids of special tokens, such as BOS and EOS.
    """

    vocab_size: int
    prefix: tuple[int, ...]
    special: frozenset[int]

    def encode(self, text: str) -> list[int]:
        """Return the ids of plain `text`, without BOS; what looks like markup in it (`<s>`) is text as well."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`."""
        ...

    def chat(self, text: str, arguments: Mapping[str, Any]) -> list[int] | None:
        """Return the ids of a chat with the user's message `text`, up to the answer; None without a chat template.

        The template gets the arguments, such as enable_thinking, which some read and others ignore. The markup of the
        template is tokens, and the message is plain text, as in `encode`. A template that asks for the time gets
        `chat.TODAY`.

        Raises:
            ValueError: If the template fails, or leaves out or changes the message.
        """
        ...

    def identity(self) -> str | None:
        """Return a text that changes with the tokenizer, or None if encoding is too fast to be worth caching."""
        ...

    def prefix_note(self) -> str | None:
        """Return a sentence on the prefix if the tokenizer itself has none, for users to see once; else None."""
        ...


class ByteTokens:
    """UTF-8 bytes as ids 0 to 255, BOS as 256."""

    def __init__(self) -> None:
        self.vocab_size = BYTES + 1
        self.prefix: tuple[int, ...] = (BYTES,)
        self.special = frozenset([BYTES])

    def encode(self, text: str) -> list[int]:
        """Return the bytes of `text`; a lone surrogate, which UTF-8 cannot encode, becomes a question mark."""
        return list(text.encode("utf-8", errors="replace"))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without BOS; an incomplete character becomes the replacement character."""
        return bytes(i for i in ids if i < BYTES).decode("utf-8", errors="replace")

    def chat(self, text: str, arguments: Mapping[str, Any]) -> None:
        """Return None: bytes have no chat template."""

    def identity(self) -> None:
        """Return None: encoding bytes is as fast as reading them from a cache."""

    def prefix_note(self) -> None:
        """Return None: BOS is of these ids."""


class NoTokenizerError(Exception):
    """The files of a tokenizer make no sense to transformers, whose own error is the cause."""


class HubTokens:
    """A tokenizer from the Hugging Face hub or a local folder.

    The prefix is what it puts ahead of a text itself: BOS in Llama, `[gMASK]<sop>` in GLM. If that is nothing, as in
    Qwen and Pythia, the prefix is its BOS token, or its EOS token if it has no BOS: in pretraining, one of them stood
    between texts. What it puts behind a text (EOS in T5) is left out.

    Attributes:
        own_bos: Id of its BOS token, or None if it has none.

    Args:
        name: Name of the checkpoint on the hub, or a folder.
        revision: Commit, tag or branch of the hub repository; None for its main branch.
        config: Config of the model; None reads it from the checkpoint.

    Raises:
        ValueError: If the tokenizer puts nothing ahead of a text, and has neither a BOS nor an EOS token.
        NoTokenizerError: If transformers cannot build it from its files.
        OSError: If they cannot be reached.
    """

    def __init__(self, name: str, revision: str | None, config: Any = None) -> None:
        from transformers import AutoTokenizer  # takes seconds to import, and bytes do not need it

        from lcx_lightning.data.hub_access import look_for_hub

        if not Path(name).is_dir():
            look_for_hub()
        given = {"config": config, "revision": revision, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name, **given)
        except OSError:
            raise
        except Exception as error:  # the library tokenizers has no class of its own for what it raises
            raise NoTokenizerError from error
        self._encoder = encoder_of(self._tokenizer)
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        self._own_prefix = _prefix_of(self._tokenizer)
        instead = [token for token in (bos, eos) if token is not None]
        if not self._own_prefix and not instead:
            raise ValueError(
                f"Rows and windows start with what a tokenizer puts ahead of a text, or with BOS or EOS. The tokenizer "
                f"{name!r} puts nothing there, and defines neither. Set bos_token in its tokenizer_config.json."
            )
        self.own_bos: int | None = bos
        self.prefix = self._own_prefix or (instead[0],)
        self.vocab_size = max(self._tokenizer.get_vocab().values()) + 1  # some leave out ids
        self.special = frozenset(self._tokenizer.all_special_ids) | frozenset(self.prefix)

    def encode(self, text: str) -> list[int]:
        """Return the ids of plain `text`, without special tokens."""
        return self._encoder.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens included."""
        return self._tokenizer.decode(ids)

    def chat(self, text: str, arguments: Mapping[str, Any]) -> list[int] | None:
        """Return the ids of a chat with the user's message `text`, up to the answer; None without a chat template."""
        if not self._tokenizer.chat_template:
            return None
        text = cleaned(text)
        if not self._encoder.looks_like_markup(text):
            chat = rendered(self._tokenizer, text, arguments)
            return self._tokenizer(chat, add_special_tokens=False, verbose=False)["input_ids"]
        chat = rendered(self._tokenizer, self._encoder.broken(text), arguments)
        return self._encoder.encode_marked(self._encoder.marked(chat))

    def identity(self) -> str:
        """Return a hash of the tokenizer's vocabulary and rules."""
        return hashlib.sha256(self._encoder.identity().encode()).hexdigest()

    def prefix_note(self) -> str | None:
        """Return a sentence on the prefix if the tokenizer itself has none."""
        if self._own_prefix:
            return None
        (token,), kind = self.prefix, "EOS" if self.own_bos is None else "BOS"
        return (
            f"The tokenizer puts nothing ahead of a text: rows and windows start with its {kind} token "
            f"{self._tokenizer.convert_ids_to_tokens(token)!r} (id {token})."
        )


def _prefix_of(tokenizer: Any) -> tuple[int, ...]:
    """Return the ids that a tokenizer of transformers puts ahead of a text.

    They are what two texts have in common at their front, with these ids but not without them.
    """
    first = None
    for text in _probes(tokenizer):
        plain = tokenizer.encode(text, add_special_tokens=False)
        pair = plain, tokenizer.encode(text)
        first = first or (pair if plain else None)
        if first and (differing := _common(first[0], plain)) < min(len(first[0]), len(plain)):
            return tuple(pair[1][: _common(first[1], pair[1]) - differing])
    if first is None:
        return ()
    plain, whole = first  # the only text that it knows
    starts = [start for start in range(len(whole)) if whole[start : start + len(plain)] == plain]
    return tuple(whole[: starts[-1]]) if starts else ()


def _probes(tokenizer: Any) -> Iterator[str]:
    """Yield letters and digits, and then the tokens of the vocabulary as text."""
    yield from ascii_letters + digits
    for number in sorted(tokenizer.get_vocab().values()):
        if number not in tokenizer.all_special_ids:
            yield tokenizer.decode([number])


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the number of ids at the front of both."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def has_line_feed(tokens: Tokens) -> bool:
    """Return whether a tokenizer has a token for a line feed, rather than drop it or read it as a blank or unknown."""
    ids = tokens.encode("\n")
    return bool(ids) and ids[-1] not in tokens.special and ids != tokens.encode(" ")


def line_feed(tokens: Tokens) -> int:
    """Return the token of a line feed.

    Raises:
        ValueError: If there is none.
    """
    if not has_line_feed(tokens):
        raise ValueError(
            "Prompts and synthetic rows are lines of text, and this tokenizer has no token for a line feed: choose a "
            "checkpoint whose tokenizer keeps text as it is."
        )
    return tokens.encode("\n")[-1]


def encoded(tokens: Tokens, text: str) -> list[int]:
    """Return the ids of a text that is needed; ValueError if the tokenizer makes no tokens of it."""
    ids = tokens.encode(text)
    if not ids:
        raise ValueError(
            f"The tokenizer makes no tokens of {text[:60]!r}, which is needed: choose a checkpoint whose tokenizer "
            "keeps text as it is."
        )
    return ids
