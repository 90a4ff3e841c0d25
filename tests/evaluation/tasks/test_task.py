"""Tasks of text: their values are checked when they are made."""

import pytest
from support.refusals import COUNT, refusal

from lcx_lightning.evaluation.tasks.task import TextTask
from lcx_lightning.schema.checked import section

SHORT = {
    "prompt": "Say: {input}",
    "answer_tokens": 5,
    "metrics": {"f1": "qa_f1"},
    "cut": "middle",
    "chat": False,
    "chat_arguments": {},
    "one_line": False,
    "first_line": False,
    "tag": None,
    "group": None,
}


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"cut": "start"}, "middle or end_of_context"),
        ({"answer_tokens": 0}, COUNT),
        ({"metrics": {}}, "a mapping, not empty"),
        ({"chat": 1}, "true or false"),
        ({"tag": 7}, "a text or null"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_its_key(changes, allowed):
    ((name, value),) = changes.items()
    assert section(TextTask, SHORT, "tasks.short")
    with pytest.raises(ValueError, match=refusal({f"tasks.short.{name}": value}, allowed)):
        section(TextTask, SHORT | changes, "tasks.short")


def test_a_score_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"metrics from .*qa_f1.*; got metrics=.'f1': 'f2'"):
        TextTask(**SHORT | {"metrics": {"f1": "f2"}})
