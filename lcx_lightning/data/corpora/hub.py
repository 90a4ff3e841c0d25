"""Documents read with `datasets.load_dataset`: from the Hugging Face hub, or local JSON, parquet and text files."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from pydantic import NonNegativeInt, PositiveInt

from lcx_lightning.data.corpora.base import SPLITS, Corpus, Document, HashSplit
from lcx_lightning.data.corpora.loading import ABOUT_SPLITS, load_rows, placed, readable
from lcx_lightning.data.corpora.paths import file_names, is_local, resolve, without_network
from lcx_lightning.data.hub_access import why_missing
from lcx_lightning.schema.checked import checked


class HubCorpus(Corpus):
    """A dataset as a corpus: every row is a document, named by its file and its row there, as in `books/a.jsonl/12`.

    A file that is one document has no row in its name, and a dataset of the hub has no files: there a document is named
    by the split that it is in and its row in the dataset's own split, such as `test/12`.

    Args:
        load: Arguments of `load_dataset` without `split`: path, name, data_files, revision, streaming and so on. The
            path is a dataset of the hub, a local folder, file or pattern for files; see `resolve`. `datasets` runs no
            loading scripts. With `streaming: true`, rows beyond `max_documents` are not downloaded.
        splits: Name of the dataset's split for each of train, validation and test. If validation or test is None, it is
            taken from train, document by document; if train is None, there is no training split.
        where: Filter of rows: a `column`, and the value that it `equals`. With column None all rows are read.
        text_column: Name of the column that holds the text. `a.b` is the field b of the column a. Lists of texts are
            joined by blank lines.
        minimum_characters: Smallest number of characters of a document; shorter ones are left out.
        max_documents: Number of rows read from each split of the dataset, short ones included. None reads all.
        skip_null: Whether rows without a text (null) are left out, and counted in the data report. If False, they are
            refused.
        held_out: Shares and seed of the splits taken from train. The share of a split that the dataset has is ignored.

    Raises:
        ValueError: If the splits are not train, validation and test, or two of them are the same split of the dataset,
            or max_documents is below 1.
    """

    @checked
    def __init__(
        self,
        load: Mapping[str, Any],
        splits: Mapping[str, str | None],
        where: Mapping[str, Any],
        text_column: str,
        minimum_characters: NonNegativeInt,
        max_documents: PositiveInt | None,
        skip_null: bool,
        held_out: HashSplit,
    ) -> None:
        if set(splits) != set(SPLITS) or not any(splits.values()):
            raise ValueError(
                f"`splits` needs the keys {', '.join(SPLITS)}, and at least one split of the dataset, got "
                f"{dict(splits)}. Name the dataset's own splits, and set those that it lacks to null."
            )
        named = [split for split in splits.values() if split]
        if len(named) != len(set(named)):
            raise ValueError(
                f"Two splits must not be the same split of the dataset, got {dict(splits)}: set one to null, and it is "
                "taken from train, document by document."
            )
        self._load, self._splits, self._text_column = dict(load), dict(splits), text_column
        self._where, self.minimum_characters, self._max_documents = dict(where), minimum_characters, max_documents
        missing = {split for split in SPLITS if splits[split] is None}
        self._held_out = HashSplit(
            held_out.validation_share if "validation" in missing else 0.0,
            held_out.test_share if "test" in missing else 0.0,
            held_out.seed,
        )
        self._skip_null, self._without_text = skip_null, Counter[str]()
        self.name = _label(self._load)

    def read(self) -> dict[str, list[Document]]:
        """Return the documents by split, in the dataset's order.

        Raises:
            ValueError: If files, splits or columns do not exist, a column holds something else than text, or the hub
                cannot be reached.
        """
        load = resolve(self._load, [name for name in self._splits.values() if name])
        named = {split: self._rows(load, split, name) for split, name in self._splits.items() if name is not None}
        return {part: [d for rows in named.values() for place, d in rows if place == part] for part in SPLITS}

    def without_text(self, split: str) -> int:
        return self._without_text[split] if self._read else 0

    def _rows(self, load: dict[str, Any], split: str, own: str) -> list[tuple[str, Document]]:
        """Return the documents of `split` from the dataset's `own` one, with the split that each is in."""
        rows = self._loaded(load, own)
        column, value = self._where["column"], self._where["equals"]
        if column is not None:
            self._field(next(readable(rows, load), {column: None}), column)
            outer = column.partition(".")[0]
            rows = rows.filter(partial(_holds, outer, column, value), input_columns=[outer])
        documents, read, folder = [], 0, Path(str(self._load["path"])).expanduser()
        for read, (place, row) in enumerate(islice(placed(rows, load, own, folder), self._max_documents), start=1):
            part = self._held_out.split(f"{own}/{read - 1}") if split == "train" else split
            name = place or f"{part}/{read - 1}"
            texts = list(self._texts(self._field(row, self._text_column), name))
            if None not in texts:
                documents.append((part, Document(name, "\n\n".join(map(str, texts)))))
            elif self._skip_null:
                self._without_text[part] += 1
            else:
                raise ValueError(
                    f"Row {name} of {self.name}, counted from 0, has no text (null) in the column "
                    f"{self._text_column!r}. Leave such rows out with data.corpus.skip_null=true, or correct the data."
                )
        if not read:
            rows = "no rows" if column is None else f"no rows where {column} is {value!r}"
            raise ValueError(f"The split {own!r} of {self.name} has {rows}: choose another split, or other data.")
        return documents

    def _loaded(self, load: dict[str, Any], split: str) -> Any:
        """Return the rows of the dataset's `split`."""
        try:
            return load_rows(load, split)
        except (ConnectionError, DatasetNotFoundError) as error:
            if is_local(load):
                raise
            raise ValueError(f"{why_missing(self.name, error)}. {_offline(self._load)}") from error
        except DatasetGenerationError as error:
            raise ValueError(f"{self.name} cannot be read: {error.__cause__ or error} Correct its file.") from error
        except ValueError as error:
            if not str(error).startswith(ABOUT_SPLITS):
                raise
            raise ValueError(f"{error} Set data.corpus.splits to splits of {self.name}, or to null.") from error
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            raise ValueError(
                f"{self.name} is read by a loading script, which the library datasets no longer runs. Choose a copy in "
                "plain files, or try data.corpus.load.revision=refs/convert/parquet."
            ) from error

    def _texts(self, value: Any, name: str) -> Iterator[str | None]:
        """Yield the texts of a value in the row of a name, None where there is none: itself, or those of lists."""
        if value is None or isinstance(value, str):
            yield value
        elif isinstance(value, list):
            for part in value:
                yield from self._texts(part, name)
        else:
            raise ValueError(
                f"The column {self._text_column!r} of {self.name} must hold text, but the row {name} "
                f"holds {type(value).__name__}. Choose another text_column, or clean the dataset."
            )

    def _field(self, row: Mapping[str, Any], column: str) -> Any:
        """Return the value of a row in a column, or in a field `a.b` of a column."""
        try:
            return _value(row, column)
        except KeyError as error:
            raise ValueError(
                f"There is no column {column!r}: {self.name} has the columns {', '.join(_columns(row))}. Set "
                "data.corpus.text_column, or data.corpus.where.column, to one of them."
            ) from error


def _value(row: Any, column: str) -> Any:
    """Return the value of `a.b` in a row, None if `a` is None. Raise a KeyError if there is no such column."""
    if row is None:
        return None
    if isinstance(row, list):
        return [_value(one, column) for one in row]
    if not isinstance(row, Mapping):
        raise KeyError(column)
    if column in row:
        return row[column]
    outer, _, inner = column.partition(".")
    return _value(row[outer], inner)


def _columns(row: Mapping[str, Any]) -> list[str]:
    """Return the sorted names of a row's columns, with fields as `a.b`."""
    names = []
    for name, value in row.items():
        inner = value[0] if isinstance(value, list) and value else value
        names += [f"{name}.{field}" for field in _columns(inner)] if isinstance(inner, Mapping) else [name]
    return sorted(names)


def _holds(outer: str, column: str, value: Any, found: Any) -> bool:
    """Return whether a row has the value in `column`, which is `outer` or a field of it; the row has `found` there."""
    try:
        return _value({outer: found}, column) == value
    except KeyError:  # a row whose outer column is empty
        return False


def _offline(load: Mapping[str, Any]) -> str:
    """Return instructions for reading a dataset of the hub without a network."""
    repositories = _repositories(load)
    name, settings = load["path"], "data.corpus.load.path=DIR data.corpus.load.revision=null"
    if repositories:
        name = repositories[0]
        settings = "data.corpus.load.data_files={train:DIR/...,test:DIR/...} with the names of its files"
    return without_network(name, settings, load.get("revision"))


def _label(load: Mapping[str, Any]) -> str:
    """Return the name for records: path and configuration of a hub dataset, or the files of a local one."""
    files, repositories = file_names(load.get("data_files")), _repositories(load)
    if files and len(repositories) != 1:
        return ",".join(files)
    return "/".join(part for part in (*(repositories or [load["path"]]), load.get("name")) if part)


def _repositories(load: Mapping[str, Any]) -> list[str]:
    """Return the repositories of the hub that the files in `data_files` belong to."""
    files = file_names(load.get("data_files"))
    return sorted({"/".join(name.split("/")[3:5]) for name in files if name.startswith("hf://datasets/")})
