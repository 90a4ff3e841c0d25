"""Tasks that the configurations offer: their groups, and prompts that fit."""

import pytest
from support.lab import composed
from support.made import made
from support.task_files import LONG, save_tasks
from support.text_corpora import CORPUS_ONLY, Books

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens
from lcx_lightning.evaluation.tasks.datasets.base import Example
from lcx_lightning.evaluation.tasks.task import TextTask


@pytest.fixture(scope="module")
def data():
    return LongContextData(Books(), ByteTokens(), CORPUS_ONLY)


@pytest.mark.parametrize("name", ["longbench", "qasper", "gov_report"])
def test_every_task_of_a_configuration_makes_prompts_that_fit_the_embedded_model(tmp_path, data, name):
    config = composed(f"evaluation={name}", *(o for o in save_tasks(tmp_path) if o.startswith(f"evaluation.{name}.")))
    evaluation = made(config.evaluation[name])
    work_units = evaluation.work_units(data, 128, None)
    assert {row["context_length"] for unit in work_units for row in unit.rows} == set(evaluation.lengths(128))
    fields = {"context": LONG * 30, "input": "Which?"}
    for settings in config.evaluation[name].tasks.values():
        asked = TextTask(**{**config.evaluation[name].every_task, **settings})
        for length in evaluation.lengths(128):
            ids = asked.ids(Example("one", fields, ()), data.tokens, length)
            assert length - asked.answer_tokens(length) - 7 < len(ids) <= length - asked.answer_tokens(length)


def test_longbench_has_sixteen_tasks_in_six_groups():
    settings = composed("evaluation=longbench").evaluation.longbench
    groups = [task.group for task in settings.tasks.values()]
    assert {group: groups.count(group) for group in groups} == {
        "single-document QA": 3,
        "multi-document QA": 3,
        "summarization": 3,
        "few-shot learning": 3,
        "synthetic": 2,
        "code completion": 2,
    }
    with pytest.raises(ValueError, match=r"longbench\.chosen has nothing; choose from narrativeqa, qasper"):
        made(composed("evaluation=longbench", "evaluation.longbench.chosen=[nothing]").evaluation.longbench)
