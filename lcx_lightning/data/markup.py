"""Markup of tokenizers, and text that only looks like it: `<s>` in a web page is three characters, and not BOS.

Markup are the added tokens of a tokenizer that are special, that have the form `<|...|>`, or the form `<...>` or
`[...]` and that its chat template writes (`<think>` of Qwen3). All other added tokens are ordinary vocabulary: runs of
blanks, words, or the HTML tags of Gemma.

In what follows, markup that means itself has MARK before it, and all other text is plain.
"""

import json
import re
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

from jinja2 import Environment, TemplateSyntaxError

MARK, BREAK = "\ufdd0", "\ufdd1"  # codes that are no characters, in any text
UNKNOWN = "\ufffd"  # takes their place in a text
FORM = re.compile(r"<[|\uff5c].*[|\uff5c]>", re.DOTALL)  # the second kind of bar is that of DeepSeek
IN_TEMPLATE = re.compile(r"<.*>|\[.*\]", re.DOTALL)
BYTE = re.compile("<0x[0-9A-F]{2}>")  # spells what has no other piece: vocabulary, however it is declared


def markup_of(tokenizer: Any) -> frozenset[str]:
    """Return the markup of a tokenizer of transformers."""
    template = tokenizer.chat_template or ""
    written = "\0".join(map(_texts_of, [template] if isinstance(template, str) else template.values()))
    found = set(tokenizer.all_special_tokens)
    for token in tokenizer.added_tokens_decoder.values():
        text = token.content
        if token.special or FORM.fullmatch(text) or (IN_TEMPLATE.fullmatch(text) and text in written):
            found.add(text)
    return frozenset(text for text in found if text and not text.isspace() and not BYTE.fullmatch(text))


def _texts_of(template: str) -> str:
    """Return what a chat template can write: its text outside Jinja code, and the literals inside it."""
    try:
        return "\0".join(text for _, kind, text in Environment().lex(template) if kind in ("data", "string"))
    except TemplateSyntaxError:  # it cannot be rendered either
        return ""


class TextEncoder(ABC):
    """Ids of plain text, and of text in which some markup means itself.

    Args:
        markup: The markup of the tokenizer.
    """

    def __init__(self, markup: frozenset[str]) -> None:
        self.markup = markup
        longest_first = sorted(markup, key=lambda text: (-len(text), text))
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._first = re.compile(f"[{re.escape(''.join({text[0] for text in markup}))}]") if markup else self._pattern

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of plain text."""

    @abstractmethod
    def encode_marked(self, text: str) -> list[int]:
        """Return the ids of text in which MARK stands before markup that means itself."""

    @abstractmethod
    def identity(self) -> str:
        """Return a text that changes with what the encoder makes of texts."""

    def looks_like_markup(self, text: str) -> bool:
        """Return whether plain text holds what would be markup if it were not."""
        return self._pattern.search(text) is not None

    def broken(self, text: str) -> str:
        """Return plain text with BREAK in everything that looks like markup."""
        return self._first.sub(lambda found: found[0] + BREAK, cleaned(text))

    def marked(self, text: str) -> str:
        """Return text with MARK before its markup, and without BREAK."""
        return self._pattern.sub(lambda found: MARK + found[0], text).replace(BREAK, "")


def cleaned(text: str) -> str:
    """Return text without MARK and BREAK, and with a question mark for a lone surrogate, which UTF-8 cannot encode."""
    text = text.encode("utf-8", errors="replace").decode("utf-8")
    return text.replace(MARK, UNKNOWN).replace(BREAK, UNKNOWN)


class FastEncoder(TextEncoder):
    """The rules of a tokenizer of the library `tokenizers`, with all markup renamed to MARK and markup.

    So plain text cannot match it: neither as an added token nor as a piece of the vocabulary, which Unigram would find.

    Args:
        tokenizer: Tokenizer of transformers.
        markup: Its markup.
    """

    def __init__(self, tokenizer: Any, markup: frozenset[str]) -> None:
        super().__init__(markup)
        self._backend = tokenizer.backend_tokenizer

    def encode(self, text: str) -> list[int]:
        self._renamed.encode_special_tokens = True
        return self._renamed.encode(cleaned(text), add_special_tokens=False).ids

    def encode_marked(self, text: str) -> list[int]:
        self._renamed.encode_special_tokens = False
        return self._renamed.encode(text, add_special_tokens=False).ids

    def identity(self) -> str:
        return self._renamed.to_str()

    @cached_property
    def _renamed(self) -> Any:
        rules = json.loads(self._backend.to_str())
        model = rules["model"]
        vocabulary, unknown = model["vocab"], model.get("unk_token")
        if isinstance(vocabulary, list):  # Unigram
            unknown = vocabulary[model["unk_id"]][0] if model["unk_id"] is not None else None
            model["vocab"] = [[self._name(text, unknown), score] for text, score in vocabulary]
        else:
            model["vocab"] = {self._name(text, unknown): number for text, number in vocabulary.items()}
        if "merges" in model:
            model["merges"] = [(a, b) for a, b in model["merges"] if not self.markup & {a, b, a + b}]
        for token in rules["added_tokens"]:
            token["special"] = token["special"] or token["content"] in self.markup
            token["content"] = self._name(token["content"], unknown)
        rules |= {"truncation": None, "padding": None, "post_processor": None}
        return type(self._backend).from_str(json.dumps(rules))

    def _name(self, text: str, unknown: str | None) -> str:
        """Return the new name of a token; that of unknown text stays, as the rules name it."""
        return MARK + text if text in self.markup and text != unknown else text


class PythonEncoder(TextEncoder):
    """A tokenizer that is written in Python: plain text matches none of its added tokens.

    Args:
        tokenizer: Tokenizer of transformers.
        markup: Its markup.
    """

    def __init__(self, tokenizer: Any, markup: frozenset[str]) -> None:
        super().__init__(markup)
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(cleaned(text), add_special_tokens=False, split_special_tokens=True, verbose=False)

    def encode_marked(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in re.split(f"({MARK}(?:{self._pattern.pattern}))", text):
            if part.startswith(MARK):
                ids.append(self._tokenizer.convert_tokens_to_ids(part.removeprefix(MARK)))
            elif part:
                ids += self.encode(part)
        return ids

    def identity(self) -> str:
        tokenizer = self._tokenizer
        return json.dumps([type(tokenizer).__name__, str(tokenizer), tokenizer.get_vocab(), sorted(self.markup)])


def encoder_of(tokenizer: Any) -> TextEncoder:
    """Return the encoder of a tokenizer of transformers."""
    kind = FastEncoder if getattr(tokenizer, "backend_tokenizer", None) is not None else PythonEncoder
    return kind(tokenizer, markup_of(tokenizer))
