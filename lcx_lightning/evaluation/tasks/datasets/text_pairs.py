"""Examples from two columns of a dataset: a text and the reference for it, such as reports and their summaries."""

from collections.abc import Mapping
from typing import Any

from lcx_lightning.evaluation.tasks.datasets.base import Example, ExampleSource, Row, loaded, source_of, unique
from lcx_lightning.schema.checked import checked


class TextPairs(ExampleSource):
    """Each row is an example, named by its index in the split or by a column.

    Args:
        name: Name of the dataset in records.
        load: Arguments of `datasets.load_dataset`, a split among them. The path may be a local file, pattern or folder,
            as that of `HubCorpus`.
        context: Column of the text.
        answer: Column of the reference.
        id_column: Column of the names. None to use the index in the split.
    """

    @checked
    def __init__(self, *, name: str, load: Mapping[str, Any], context: str, answer: str, id_column: str | None) -> None:
        self.name, self._load = name, {key: value for key, value in load.items() if value is not None}
        self._context, self._answer, self._id_column = context, answer, id_column

    def read(self, task: str) -> list[Example]:
        """Return the examples, whatever the task is called."""
        return unique((self._example(*numbered) for numbered in enumerate(loaded(self._load))), source_of(self._load))

    def _example(self, place: int, row: Row) -> Example:
        name = str(place) if self._id_column is None else row.name(self._id_column)
        return Example(name, {"context": row.text(self._context)}, (row.text(self._answer),))
