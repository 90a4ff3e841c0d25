"""Batches and evaluation windows as pure functions of seed and step, from corpus, tokenizer and mixture."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lcx_lightning.data.corpus import SPLITS, Corpus
from lcx_lightning.data.loader import StepLoader
from lcx_lightning.data.stream import Slice, TokenStream
from lcx_lightning.data.synthetic import ROWS, SHORTEST_ROW
from lcx_lightning.data.tokens import Tokens
from lcx_lightning.data.windows import Window, draw_joined, draw_windows


class LongContextData:
    """What a run trains and is evaluated on. A split is tokenised when it is first asked for.

    Args:
        corpus: The documents.
        tokens: The tokenizer.
        mixture: Share of the training rows of each kind: corpus, copy, retrieval, periodic. An absent kind has none.

    Raises:
        ValueError: If a kind is unknown, or the shares are negative or do not sum to 1.
    """

    def __init__(self, corpus: Corpus, tokens: Tokens, mixture: Mapping[str, float]) -> None:
        total = sum(mixture.values())
        if set(mixture) - set(ROWS) or min(mixture.values(), default=0) < 0 or not math.isclose(total, 1):
            raise ValueError(
                f"A mixture gives the kinds {', '.join(ROWS)} shares that are at least 0 and sum to 1; {dict(mixture)} "
                f"was given, with the sum {total:g}. Remove unknown kinds and scale the shares."
            )
        self.corpus, self.tokens, self.mixture = corpus, tokens, dict(mixture)
        self._streams: dict[str, TokenStream] = {}

    def batch(self, step: int, seed: int, rows: int, length: int) -> dict[str, Int[Tensor, "rows length"]]:
        """Return the training rows of a step, `input_ids`; the same for the same arguments, in every process.

        A corpus row is BOS and a random slice of a random document, with BOS and another one where that ends. Copy and
        retrieval rows are such a row (with a line feed for each inner BOS) into which something is pasted. A row does
        not depend on how many rows stand below it.

        Raises:
            ValueError: If rows of a synthetic kind are shorter than 64 tokens.
        """
        self.check_length(length)
        rng = np.random.default_rng([seed, step, length])
        stream = self._stream("train")
        ids = [self._row(stream, rng, length)[0] for _ in range(rows)]
        return {"input_ids": torch.from_numpy(np.stack(ids))}

    def documents(self, step: int, seed: int, rows: int, length: int) -> list[list[str]]:
        """Return by row the names of the documents that `batch` takes for the same arguments.

        Periodic rows overwrite what they were given: their document is named all the same.
        """
        rng = np.random.default_rng([seed, step, length])
        stream = self._stream("train")
        drawn = [self._row(stream, rng, length)[1] for _ in range(rows)]
        return [[stream.names[part.document] for part in slices] for slices in drawn]

    def check_length(self, length: int) -> None:
        """Raise a ValueError if training rows of `length` tokens are too short for the mixture."""
        if length < SHORTEST_ROW and self.mixture.get("corpus", 0) < 1:
            raise ValueError(
                f"Copy, retrieval and periodic rows need {SHORTEST_ROW} tokens or more; length {length} was given. "
                "Take longer rows, or the mixture corpus: 1."
            )

    def train_loader(self, seed: int, rows: int, length: int, steps: int) -> StepLoader:
        """Return a resumable loader of `steps` training batches."""
        return StepLoader(lambda step: self.batch(step, seed, rows, length), steps)

    def text_batch(self, split: str, rows: int, length: int, seed: int) -> dict[str, Int[Tensor, "rows length"]]:
        """Return rows of nothing but corpus text of `split`."""
        rng = np.random.default_rng([seed, length])
        stream = self._stream(split)
        ids = [stream.row(rng, length, self.tokens.bos) for _ in range(rows)]
        return {"input_ids": torch.from_numpy(np.stack(ids))}

    def validation_batch(self, rows: int, length: int, seed: int) -> dict[str, Int[Tensor, "rows length"]]:
        """Return rows of corpus text of the validation split."""
        return self.text_batch("validation", rows, length, seed)

    def evaluation_windows(self, split: str, longest: int, count: int, seed: int) -> list[Window]:
        """Return `count` windows that reach `longest` tokens, of different documents first and never overlapping.

        Raises:
            ValueError: If the split's documents are too short; it says how long they are.
        """
        return draw_windows(self._stream(split, may_be_empty=True), split, longest, count, seed)

    def window_ids(self, windows: Sequence[Window], length: int) -> Int[Tensor, "windows length"]:
        """Return the windows at a context of `length` tokens: BOS and the last `length` - 1 tokens up to each end."""
        ids = np.full((len(windows), length), self.tokens.bos, dtype=np.int64)
        for row, window in zip(ids, windows, strict=True):
            if window.end < length - 1:
                raise ValueError(
                    f"A context of {length:,} tokens needs {length - 1:,} tokens of text; {window.document} has "
                    f"{window.end:,} up to the window's end. Draw the windows with the greatest length as `longest`."
                )
            row[1:] = self._stream(window.split).slice(window.index, window.end - length + 1, window.end)
        return torch.from_numpy(ids)

    def text(self, split: str, tokens: int, rng: np.random.Generator) -> Int[np.ndarray, " tokens"]:
        """Return a slice of a document of `split`, and of others where that ends, with a line feed between them."""
        return self._stream(split).row(rng, tokens + 1, self.tokens.encode("\n")[-1])[1:]

    def joined_documents(self, split: str, length: int, seed: int) -> list[Window]:
        """Return whole documents in a random order that one after the other have `length` tokens, BOS included.

        Each is taken once; the last one is cut where the length is reached.

        Raises:
            ValueError: If the documents of the split together are too short.
        """
        return draw_joined(self._stream(split, may_be_empty=True), split, length, seed)

    def joined_ids(self, documents: Sequence[Window]) -> Int[Tensor, " tokens"]:
        """Return BOS and the documents one after the other."""
        parts = [self._stream(one.split).slice(one.index, 0, one.end) for one in documents]
        return torch.from_numpy(np.concatenate([np.array([self.tokens.bos], dtype=np.int32), *parts]))

    def report(self) -> dict[str, dict[str, int]]:
        """Return by split the number of documents and of tokens, and the longest document's length in tokens."""
        lengths = {split: self._stream(split, may_be_empty=True).lengths for split in SPLITS}
        return {
            split: {"documents": len(n), "tokens": int(n.sum()), "longest": int(n.max(initial=0))}
            for split, n in lengths.items()
        }

    def _row(
        self, stream: TokenStream, rng: np.random.Generator, length: int
    ) -> tuple[Int[np.ndarray, " length"], list[Slice]]:
        """Return one training row of a random kind, and the slices of documents that it was made from."""
        place = np.searchsorted(np.cumsum(list(self.mixture.values())), rng.random(), side="right")
        kind = list(self.mixture)[min(int(place), len(self.mixture) - 1)]
        bos = self.tokens.bos
        separator = bos if kind == "corpus" else self.tokens.encode("\n")[-1]
        slices = stream.draw(rng, length)
        row = stream.laid(slices, length, separator)
        row[0] = bos
        return ROWS[kind](row, rng, self.tokens), slices

    def _stream(self, split: str, may_be_empty: bool = False) -> TokenStream:
        """Return the tokens of `split`, made at its first use."""
        if split not in self._streams:
            self._streams[split] = TokenStream(self.corpus.documents(split), self.tokens)
        stream = self._streams[split]
        if not may_be_empty and not stream.lengths.any():
            raise ValueError(
                f"Rows of the {split} split were asked for; {self.corpus.name} has no text there. "
                "Give the split a larger share, or a lower minimum_characters."
            )
        return stream
