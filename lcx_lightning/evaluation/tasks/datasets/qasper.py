"""Questions about papers in the format of Qasper (arXiv:2105.03011), each with the answers of all its annotators."""

from collections.abc import Iterator, Mapping
from typing import Any

from lcx_lightning.evaluation.tasks.datasets.base import Example, ExampleSource, Row, loaded, source_of, unique
from lcx_lightning.schema.checked import checked


class Qasper(ExampleSource):
    """A row is a paper with its sections and questions, in the columns of the hub's `allenai/qasper`.

    An answer is yes or no, `unanswerable`, the annotator's own words, or the spans of the paper joined by spaces.

    Args:
        load: Arguments of `datasets.load_dataset`, a split among them. The path may be a local file, pattern or folder,
            as that of `HubCorpus`.
    """

    name = "qasper"

    @checked
    def __init__(self, *, load: Mapping[str, Any]) -> None:
        self._load = {key: value for key, value in load.items() if value is not None}

    def read(self, task: str) -> list[Example]:
        """Return all questions, named by their `question_id`, whatever the task is called."""
        return unique((example for row in loaded(self._load) for example in _questions(row)), source_of(self._load))


def _questions(row: Row) -> Iterator[Example]:
    paper, asked = row.row("full_text"), row.row("qas")
    sections = [
        f"{name or ''} {' '.join(Row({'paragraphs': paragraphs}, paper.place).texts('paragraphs', least=0))}"
        for name, paragraphs in paper.lists("section_name", "paragraphs")
    ]
    for question, name, answers in asked.lists("question", "question_id", "answers"):
        one = Row({"question": question, "question_id": name, "answers": answers}, f"{asked.place}, {name}")
        fields = {"context": " ".join(sections), "input": one.text("question")}
        found = [Row({"answer": given}, one.place).row("answer") for (given,) in one.row("answers").lists("answer")]
        if not found:
            raise ValueError(f"{one.place} has no answer: a question needs at least one. Correct the file.")
        yield Example(one.name("question_id"), fields, tuple(map(_answer, found)))


def _answer(given: Row) -> str:
    if given.value("yes_no") is not None:
        return "yes" if given.flag("yes_no") else "no"
    if given.flag("unanswerable"):
        return "unanswerable"
    return given.text("free_form_answer") or " ".join(given.texts("extractive_spans", least=0))
