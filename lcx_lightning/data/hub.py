"""Documents through `datasets.load_dataset`: the Hugging Face hub, or local JSON, parquet and text files."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from datasets import load_dataset

from lcx_lightning.data.corpus import SPLITS, Corpus, Document, HashSplit


class HubCorpus(Corpus):
    """Each row of a dataset is a document, named by its split and its place there: `train/12`.

    Args:
        load: Arguments of `load_dataset` but for `split`: path, name, data_files, revision, streaming and so on.
            `datasets` runs no loading scripts: a local file has the path `json` (JSON lines too), `parquet` or `text`
            and is named in data_files. Text files are read line by line unless `sample_by: document` is given. With
            `streaming: true` what lies beyond `max_documents` is not downloaded either.
        splits: The dataset's split for each of train, validation and test. A held-out split that is None is taken from
            train, document by document.
        text_column: The column that holds the text.
        minimum_characters: Shorter documents are left out.
        max_documents: Rows read of each split of the dataset, short ones counted; None reads all.
        held_out: Shares and seed of the splits taken from train. The share of a split that the dataset has is ignored.
    """

    def __init__(
        self,
        load: Mapping[str, Any],
        splits: Mapping[str, str | None],
        text_column: str,
        minimum_characters: int,
        max_documents: int | None,
        held_out: HashSplit,
    ) -> None:
        if set(splits) != set(SPLITS) or splits["train"] is None:
            raise ValueError(
                f"`splits` needs the keys {', '.join(SPLITS)}, and train a split of the dataset; "
                f"{dict(splits)} was given. Name the dataset's own splits, and give null to those that it lacks."
            )
        self._load, self._splits, self._text_column = dict(load), dict(splits), text_column
        self._minimum_characters, self._max_documents = minimum_characters, max_documents
        missing = {split for split in SPLITS if splits[split] is None}
        self._held_out = HashSplit(
            held_out.validation_share if "validation" in missing else 0.0,
            held_out.test_share if "test" in missing else 0.0,
            held_out.seed,
        )
        self.name = _label(self._load)

    def read(self) -> dict[str, list[Document]]:
        """Return the documents by split, in the dataset's order.

        Raises:
            ValueError: If the text column is missing, or holds something else than text.
        """
        named = {split: self._rows(name) for split, name in self._splits.items() if name is not None}
        return {**self._held_out.partition(named["train"]), **{s: d for s, d in named.items() if s != "train"}}

    def _rows(self, split: str) -> list[Document]:
        """Return the documents of the dataset's own `split`."""
        rows = islice(load_dataset(**self._load, split=split), self._max_documents)
        documents = (Document(f"{split}/{index}", self._text(row)) for index, row in enumerate(rows))
        return [document for document in documents if len(document.text) >= self._minimum_characters]

    def _text(self, row: Mapping[str, Any]) -> str:
        if self._text_column not in row:
            raise ValueError(
                f"The column {self._text_column!r} was asked for; {self.name} has the columns "
                f"{', '.join(sorted(row))}. Set text_column to the one that holds the text."
            )
        text = row[self._text_column]
        if not isinstance(text, str):
            raise ValueError(
                f"The column {self._text_column!r} of {self.name} needs to hold text; a row holds "
                f"{type(text).__name__}. Choose another text_column, or clean the dataset."
            )
        return text


def _label(load: Mapping[str, Any]) -> str:
    """Return path and configuration of a hub dataset, or the files of a local one, as a name for records."""
    files = load.get("data_files")
    if files is None:
        return "/".join(part for part in (load["path"], load.get("name")) if part)
    if isinstance(files, Mapping):
        files = [name for value in files.values() for name in ([value] if isinstance(value, str) else value)]
    return ",".join([files] if isinstance(files, str) else map(str, files))
