"""Questions about papers in the format of Qasper (arXiv:2105.03011), each with the answers of all its annotators."""

from collections.abc import Iterator, Mapping
from typing import Any

from lcx_lightning.evaluation.tasks.datasets.base import Example, ExampleSource, column, loaded, unique


class Qasper(ExampleSource):
    """A row is a paper with its sections and questions, in the columns of the hub's `allenai/qasper`.

    An answer is yes or no, `unanswerable`, the annotator's own words, or the spans of the paper joined by spaces.

    Args:
        load: Arguments of `datasets.load_dataset`, a split among them. The path may be a local file, pattern or folder,
            as that of `HubCorpus`.
    """

    name = "qasper"

    def __init__(self, *, load: Mapping[str, Any]) -> None:
        self._load = {key: value for key, value in load.items() if value is not None}

    def read(self, task: str) -> list[Example]:
        """Return all questions, named by their `question_id`, whatever the task is called."""
        return unique((example for row in loaded(self._load) for example in _questions(row)), self.name)


def _questions(row: Mapping[str, Any]) -> Iterator[Example]:
    paper, asked = column(row, "full_text", "qasper"), column(row, "qas", "qasper")
    sections = zip(paper["section_name"], paper["paragraphs"], strict=True)
    context = " ".join(f"{name or ''} {' '.join(paragraphs)}" for name, paragraphs in sections)
    for question, name, answers in zip(asked["question"], asked["question_id"], asked["answers"], strict=True):
        fields = {"context": context, "input": question}
        yield Example(name, fields, tuple(_answer(one) for one in answers["answer"]))


def _answer(given: Mapping[str, Any]) -> str:
    if given["yes_no"] is not None:
        return "yes" if given["yes_no"] else "no"
    if given["unanswerable"]:
        return "unanswerable"
    return given["free_form_answer"] or " ".join(given["extractive_spans"])
