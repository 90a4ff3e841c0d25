"""Documents through `datasets.load_dataset`: the Hugging Face hub, or local JSON, parquet and text files."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from datasets import load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from lcx_lightning.data.corpora.base import SPLITS, Corpus, Document, HashSplit
from lcx_lightning.data.corpora.paths import file_names, is_local, located, without_network


class HubCorpus(Corpus):
    """Each row of a dataset is a document, named by its split and its place there: `train/12`.

    Args:
        load: Arguments of `load_dataset` but for `split`: path, name, data_files, revision, streaming and so on. The
            path is a dataset of the hub, a folder, or .jsonl, .json, .parquet or .txt files by name or pattern; see
            `located`. `datasets` runs no loading scripts. With `streaming: true` what lies beyond `max_documents` is
            not downloaded either.
        splits: The dataset's split for each of train, validation and test. A held-out split that is None is taken from
            train, document by document; without train there are only the others.
        where: A `column`, and what its value `equals` in the rows that are read. A column that is None chooses all.
        text_column: The column that holds the text. `a.b` is the field b of the column a. Lists of texts are joined by
            blank lines.
        minimum_characters: Shorter documents are left out.
        max_documents: Rows read of each split of the dataset, short ones counted; None reads all.
        held_out: Shares and seed of the splits taken from train. The share of a split that the dataset has is ignored.
    """

    def __init__(
        self,
        load: Mapping[str, Any],
        splits: Mapping[str, str | None],
        where: Mapping[str, Any],
        text_column: str,
        minimum_characters: int,
        max_documents: int | None,
        held_out: HashSplit,
    ) -> None:
        if set(splits) != set(SPLITS) or not any(splits.values()):
            raise ValueError(
                f"`splits` needs the keys {', '.join(SPLITS)}, and one of them a split of the dataset; "
                f"{dict(splits)} was given. Name the dataset's own splits, and give null to those that it lacks."
            )
        named = [split for split in splits.values() if split]
        if len(named) != len(set(named)):
            raise ValueError(
                f"Two splits must not be the same split of the dataset, got {dict(splits)}: give null to one, "
                "which is then taken from train, document by document."
            )
        self._load, self._splits, self._text_column = dict(load), dict(splits), text_column
        self._where, self.minimum_characters, self._max_documents = dict(where), minimum_characters, max_documents
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
            ValueError: If there are no such files, splits or columns, a column holds something else than text, or the
                hub cannot be reached.
        """
        load = located(self._load)
        named = {split: self._rows(load, name) for split, name in self._splits.items() if name is not None}
        taken = self._held_out.partition(named.get("train", []))
        return {**taken, **{split: documents for split, documents in named.items() if split != "train"}}

    def _rows(self, load: dict[str, Any], split: str) -> list[Document]:
        """Return the documents of the dataset's own `split`."""
        rows: Any = self._loaded(load, split)
        column, value = self._where["column"], self._where["equals"]
        if column is not None:
            self._field(next(iter(rows), {column: None}), column)
            outer = column.partition(".")[0]
            rows = rows.filter(partial(_holds, outer, column, value), input_columns=[outer])
        documents = [
            Document(f"{split}/{index}", self._text(row)) for index, row in enumerate(islice(rows, self._max_documents))
        ]
        if not documents:
            of = "" if column is None else f" where {column} is {value!r}"
            raise ValueError(f"The split {split!r} of {self.name} has no rows{of}: choose another, or other data.")
        return documents

    def _loaded(self, load: dict[str, Any], split: str) -> Any:
        """Return the dataset's `split`, as rows."""
        try:
            return load_dataset(**load, split=split)
        except (ConnectionError, DatasetNotFoundError) as error:
            if is_local(load):
                raise
            raise ValueError(f"{error}. {_offline(self._load)}") from error
        except DatasetGenerationError as error:
            raise ValueError(f"{self.name} cannot be read: {error.__cause__ or error} Correct the file.") from error
        except ValueError as error:
            if not str(error).startswith(("Unknown split", "Bad split")):
                raise
            raise ValueError(f"{error} Set data.corpus.splits to splits that {self.name} has, or to null.") from error
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            raise ValueError(
                f"{self.name} is read by a program of its own, which datasets does not run any more. Choose a copy of "
                "it in plain files, or try data.corpus.load.revision=refs/convert/parquet."
            ) from error

    def _text(self, row: Mapping[str, Any]) -> str:
        """Return the text of a row."""
        return "\n\n".join(self._texts(self._field(row, self._text_column)))

    def _texts(self, value: Any) -> Iterator[str]:
        """Yield the texts of a value: itself, or those of a list, or of a list of lists."""
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            for part in value:
                yield from self._texts(part)
        else:
            raise ValueError(
                f"The column {self._text_column!r} of {self.name} needs to hold text; a row holds "
                f"{type(value).__name__}. Choose another text_column, or clean the dataset."
            )

    def _field(self, row: Mapping[str, Any], column: str) -> Any:
        """Return what a row has in a column, or in a field of it."""
        try:
            return _value(row, column)
        except KeyError as error:
            raise ValueError(
                f"The column {column!r} was asked for; {self.name} has the columns {', '.join(_columns(row))}. "
                "Set data.corpus.text_column to the one that holds the text; data.corpus.where may choose rows by one."
            ) from error


def _value(row: Any, column: str) -> Any:
    """Return the value of `a.b` in a row. Raise a KeyError if there is none."""
    if isinstance(row, list):
        return [_value(one, column) for one in row]
    if not isinstance(row, Mapping):
        raise KeyError(column)
    if column in row:
        return row[column]
    outer, _, inner = column.partition(".")
    return _value(row[outer], inner)


def _columns(row: Mapping[str, Any]) -> list[str]:
    """Return the names of a row's columns, and of fields as `a.b`, sorted."""
    names = []
    for name, value in row.items():
        one = value[0] if isinstance(value, list) and value else value
        names += [f"{name}.{inner}" for inner in _columns(one)] if isinstance(one, Mapping) else [name]
    return sorted(names)


def _holds(outer: str, column: str, value: Any, found: Any) -> bool:
    """Return whether a row that has `found` in the column `outer` has the value in `column`, a field of it maybe."""
    try:
        return _value({outer: found}, column) == value
    except KeyError:  # a row whose outer column is empty
        return False


def _offline(load: Mapping[str, Any]) -> str:
    """Return what to put where, so that a dataset of the hub is read without a network."""
    repositories = _repositories(load)
    name, read = load["path"], "data.corpus.load.path=DIR data.corpus.load.revision=null"
    if repositories:
        name, read = repositories[0], "data.corpus.load.data_files={train:DIR/...,test:DIR/...}, its files there"
    return f"{without_network(name, read, load.get('revision'))} What was read before is found with HF_HUB_OFFLINE=1."


def _label(load: Mapping[str, Any]) -> str:
    """Return path and configuration of a hub dataset, or the files of a local one, as a name for records."""
    files, repositories = file_names(load.get("data_files")), _repositories(load)
    if files and len(repositories) != 1:
        return ",".join(files)
    return "/".join(part for part in (*(repositories or [load["path"]]), load.get("name")) if part)


def _repositories(load: Mapping[str, Any]) -> list[str]:
    """Return the repositories of the hub whose files `data_files` names."""
    files = file_names(load.get("data_files"))
    return sorted({"/".join(name.split("/")[3:5]) for name in files if name.startswith("hf://datasets/")})
