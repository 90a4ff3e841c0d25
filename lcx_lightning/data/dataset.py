"""Training batches and evaluation windows, as pure functions of seed and step."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Int
from pydantic import NonNegativeFloat, NonNegativeInt
from torch import Tensor

from lcx_lightning.data.corpora.base import SPLITS, Corpus, Document
from lcx_lightning.data.step_loader import StepLoader
from lcx_lightning.data.synthetic_rows import ROWS, SHORTEST_ROW, Row
from lcx_lightning.data.token_cache import Encoded, encode, encode_cached
from lcx_lightning.data.token_stream import Slice, TokenStream, segments
from lcx_lightning.data.tokenizers import Tokens, line_feed
from lcx_lightning.data.windows import Window, draw_joined, draw_windows
from lcx_lightning.schema.checked import checked

Layout = Literal["packed", "masked", "masked_continuing", "whole"]
PACKED, MASKED, MASKED_CONTINUING, WHOLE = LAYOUTS = get_args(Layout)
SEGMENTS = {MASKED: "segments", MASKED_CONTINUING: "segments_continuing"}  # entry of a batch with segment numbers

Rows = dict[str, Int[Tensor, "rows length"]]


class LongContextData:
    """The data of a run, for training and evaluation. A split is tokenised when it is first needed.

    BOS stands for the prefix of the tokenizer, `Tokens.prefix`, which is one token or several.

    Args:
        corpus: Corpus of documents.
        tokens: Tokenizer.
        mixture: Share of each kind of training row: corpus, and the kinds of `synthetic_rows`. A missing kind has none.
        documents: Layout of documents in training rows. `packed`: one after the other, as many as a row holds, and
            each sees those before it. `masked`: the same, but none sees another, and positions restart at each.
            `masked_continuing`: the same as `masked`, but positions run through the row. `whole`: one document in a
            row; shorter ones are left out.
        minimum_tokens: Smallest number of tokens of a document; shorter ones are left out.
        cache: Folder in which tokens are kept. None keeps them in memory only.
        identity: Identity of the corpus, if known; cached tokens are then found without reading the documents.

    Raises:
        ValueError: If a kind or a layout is unknown, or the shares are negative or do not sum to 1.
    """

    @checked
    def __init__(
        self,
        corpus: Corpus,
        tokens: Tokens,
        mixture: Mapping[str, NonNegativeFloat],
        *,
        documents: Layout = PACKED,
        minimum_tokens: NonNegativeInt = 0,
        cache: Path | None = None,
        identity: str | None = None,
    ) -> None:
        total = sum(mixture.values())
        if set(mixture) - set(ROWS) or not math.isclose(total, 1):
            raise ValueError(
                f"A mixture gives the kinds {', '.join(ROWS)} shares that are at least 0 and sum to 1, got "
                f"{dict(mixture)} with the sum {total:g}. Remove unknown kinds and scale the shares."
            )
        self.corpus, self.tokens, self.layout = corpus, tokens, documents
        self.mixture = {kind: share for kind, share in mixture.items() if share}
        self.minimum_tokens = minimum_tokens
        self._cache, self._identity = cache, identity
        self._encoded: dict[str, Encoded] = {}
        self._streams: dict[tuple[str, int], TokenStream] = {}

    @property
    def ahead(self) -> int:
        """Number of tokens of BOS ahead of the text of a row or window; they are not scored."""
        return len(self.tokens.prefix)

    def batch(self, step: int, seed: int, rows: int, length: int) -> Rows:
        """Return the training rows of a step under `input_ids`; equal arguments give equal rows in every process.

        A corpus row is BOS and a random slice of a random document, followed by BOS and another slice where it ends.
        Synthetic rows are made from such a row, with line feeds in place of every inner BOS. A row does not depend on
        the number of rows after it. If documents do not see each other, the segment number of every token is under
        `segments`, or under `segments_continuing` if positions run through the row. A synthetic row is one segment.

        Raises:
            ValueError: If rows are too short for a kind of the mixture, or no document is long enough.
        """
        self.check_length(length)
        rng = np.random.default_rng([seed, step, length])
        stream = self._rows_of("train", length)
        drawn = [self._row(stream, rng, length) for _ in range(rows)]
        return self._to_batch([(row, slices if kind == "corpus" else []) for row, slices, kind in drawn])

    def documents(self, step: int, seed: int, rows: int, length: int) -> list[list[str]]:
        """Return the names of the documents in each row that `batch` returns for the same arguments.

        Periodic rows overwrite their document, which is named nevertheless.
        """
        rng = np.random.default_rng([seed, step, length])
        stream = self._rows_of("train", length)
        drawn = [self._row(stream, rng, length)[1] for _ in range(rows)]
        return [[stream.names[part.document] for part in slices] for slices in drawn]

    def check_length(self, length: int) -> None:
        """Raise a ValueError if training rows of `length` tokens are too short for the mixture."""
        if length < SHORTEST_ROW and self.mixture.get("corpus", 0) < 1:
            raise ValueError(
                f"Synthetic rows need {SHORTEST_ROW} tokens or more; length {length} was given. Take longer rows, or "
                "the mixture corpus: 1."
            )
        for kind in self.mixture:
            if kind != "corpus":
                line_feed(self.tokens)
            ROWS[kind](np.full(length, self.tokens.prefix[0], dtype=np.int64), np.random.default_rng(0), self.tokens)

    def check_rows(self, length: int) -> None:
        """Raise a ValueError if there are no documents to make rows of `length` tokens from."""
        self.check_length(length)
        for split in ("train", "validation"):
            empty = not any(document.text for document in self.corpus.documents(split))
            if empty or self.layout == WHOLE or self.minimum_tokens:  # else nothing need be tokenised yet
                self._rows_of(split, length)

    def train_loader(self, seed: int, rows: int, length: int, steps: int) -> StepLoader:
        """Return a resumable loader of `steps` training batches."""
        return StepLoader(lambda step: self.batch(step, seed, rows, length), steps)

    def text_batch(self, split: str, rows: int, length: int, seed: int) -> Rows:
        """Return corpus rows of `split` only, with documents laid out as in training."""
        rng = np.random.default_rng([seed, length])
        stream, prefix = self._rows_of(split, length), self.tokens.prefix
        drawn = [stream.draw_slices(rng, length, len(prefix)) for _ in range(rows)]
        return self._to_batch([(stream.lay_out(slices, length, prefix), slices) for slices in drawn])

    def validation_batch(self, rows: int, length: int, seed: int) -> Rows:
        """Return corpus rows of the validation split."""
        return self.text_batch("validation", rows, length, seed)

    def evaluation_windows(self, split: str, longest: int, count: int, seed: int) -> list[Window]:
        """Return `count` windows of up to `longest` tokens that do not overlap, from distinct documents if possible.

        Raises:
            ValueError: If the documents of the split are too short; the message says how long they are.
        """
        return draw_windows(self._stream(split, may_be_empty=True), split, longest, count, seed, self.ahead)

    def window_ids(self, windows: Sequence[Window], length: int) -> Int[Tensor, "windows length"]:
        """Return the windows at a context of `length` tokens: BOS and the tokens before each end."""
        ids, needed = np.empty((len(windows), length), dtype=np.int64), length - self.ahead
        ids[:, : self.ahead] = self.tokens.prefix
        for row, window in zip(ids, windows, strict=True):
            if window.end < needed:
                raise ValueError(
                    f"A context of {length:,} tokens needs {needed:,} tokens of text; {window.document} has "
                    f"{window.end:,} before the window's end. Draw the windows with the largest length as `longest`."
                )
            row[self.ahead :] = self._stream(window.split).slice(window.index, window.end - needed, window.end)
        return torch.from_numpy(ids)

    def text(self, split: str, tokens: int, rng: np.random.Generator) -> Int[np.ndarray, " tokens"]:
        """Return a random slice of a document of `split`, continued with others if it ends, separated by line feeds."""
        return self._stream(split).row(rng, tokens + 1, [line_feed(self.tokens)])[1:]

    def joined_documents(self, split: str, length: int, seed: int) -> list[Window]:
        """Return whole documents in a random order that have `length` tokens together, BOS included.

        Each document is taken once; the last one is cut at the required length.

        Raises:
            ValueError: If all documents of the split together are too short.
        """
        return draw_joined(self._stream(split, may_be_empty=True), split, length, seed, self.ahead)

    def joined_ids(self, documents: Sequence[Window]) -> Int[Tensor, " tokens"]:
        """Return the ids of BOS and of the documents one after the other."""
        parts = [self._stream(one.split).slice(one.index, 0, one.end) for one in documents]
        return torch.from_numpy(np.concatenate([np.array(self.tokens.prefix, dtype=np.int32), *parts]))

    def report(self, lengths: Sequence[int] = ()) -> dict[str, dict[str, Any]]:
        """Return numbers about each split.

        They are the number of `documents` and `tokens`; the length in tokens of the `median` and the `longest`
        document, and the name of that one, `longest_name`; the number of documents left out for having no text,
        `without_text`, too few characters, `short`, or too few tokens, `few_tokens`; and under `reach`, for each of
        `lengths`, the number of documents that fill a context of that length with BOS.
        """
        found: dict[str, dict[str, Any]] = {}
        for split in SPLITS:
            stream = self._stream(split, may_be_empty=True)
            n = stream.lengths
            found[split] = {
                "documents": len(n),
                "tokens": int(n.sum()),
                "median": int(np.median(n)) if len(n) else 0,
                "longest": int(n.max(initial=0)),
                "longest_name": stream.names[int(n.argmax())] if len(n) else None,
                "without_text": self.corpus.without_text(split),
                "short": self.corpus.short(split),
                "few_tokens": len(self._encoded_of(split).names) - len(n),
                "reach": {length: int((n >= length - self.ahead).sum()) for length in lengths},
            }
        return found

    def _row(self, stream: TokenStream, rng: np.random.Generator, length: int) -> tuple[Row, list[Slice], str]:
        """Return a training row of a random kind, the slices of documents that it was made from, and its kind."""
        index = np.searchsorted(np.cumsum(list(self.mixture.values())), rng.random(), side="right")
        kind = list(self.mixture)[min(int(index), len(self.mixture) - 1)]
        prefix = self.tokens.prefix
        separator = prefix if kind == "corpus" else [line_feed(self.tokens)] * len(prefix)
        slices = stream.draw_slices(rng, length, len(prefix))
        row = stream.lay_out(slices, length, separator)
        row[: len(prefix)] = prefix
        return ROWS[kind](row, rng, self.tokens), slices, kind

    def _to_batch(self, rows: list[tuple[Row, list[Slice]]]) -> Rows:
        """Return rows as a batch, with segment numbers if documents do not see each other."""
        batch = {"input_ids": torch.from_numpy(np.stack([row for row, _ in rows]))}
        if self.layout in SEGMENTS:
            found = np.stack([segments(slices, len(row), self.ahead) for row, slices in rows])
            batch[SEGMENTS[self.layout]] = torch.from_numpy(found)
        return batch

    def _rows_of(self, split: str, length: int) -> TokenStream:
        """Return the documents of `split` from which rows of `length` tokens are made.

        Raises:
            ValueError: If there are none; the message says how many documents there are, and how long the longest is.
        """
        stream = self._stream(split)
        if self.layout != WHOLE:
            return stream
        found = self._stream(split, may_be_empty=True, at_least=length - self.ahead)
        if not len(found.lengths):
            raise ValueError(
                f"With documents=whole a row of {length:,} tokens is one document; none of the "
                f"{len(stream.lengths):,} documents of {self.corpus.name} in {split} is so long, the longest has "
                f"{stream.lengths.max():,} tokens. Take shorter rows, longer documents, or documents=packed."
            )
        return found

    def _stream(self, split: str, may_be_empty: bool = False, at_least: int = 0) -> TokenStream:
        """Return the documents of `split` that have at least `minimum_tokens` and at least `at_least` tokens."""
        least = max(at_least, self.minimum_tokens)
        if (split, least) not in self._streams:
            self._streams[split, least] = TokenStream(self._encoded_of(split), least)
        stream = self._streams[split, least]
        if not may_be_empty and not stream.lengths.any():
            lengths = self._encoded_of(split).lengths
            raise ValueError(
                f"Rows of the {split} split cannot be made: {self.corpus.name} has no text there of "
                f"{max(least, 1):,} tokens or more: {len(lengths):,} documents, and the longest has "
                f"{lengths.max(initial=0):,} tokens. Give the split a larger share, or lower minimum_tokens or "
                "minimum_characters."
            )
        return stream

    def _encoded_of(self, split: str) -> Encoded:
        """Return the tokens of `split`, from memory, from the cache, or newly tokenised."""
        if split not in self._encoded:
            if self._cache is None or self.tokens.identity() is None:
                self._encoded[split] = encode(self._documents(split), self.tokens)
            else:
                identity = f"{self._identity or self.corpus.identity()}/{split}"
                self._encoded[split] = encode_cached(self._cache, identity, lambda: self._documents(split), self.tokens)
        return self._encoded[split]

    def _documents(self, split: str) -> list[Document]:
        """Return the documents of `split`.

        Raises:
            ValueError: If the corpus has changed since the run was planned.
        """
        if self._identity not in (None, self.corpus.identity()):
            raise ValueError(
                f"The documents of {self.corpus.name} have changed since this run was planned: start it again."
            )
        return self.corpus.documents(split)
