"""Evaluations that write text, through all stages of an arm to records."""

import pytest
from support.lab import TINY, folders, results, run_here, runs
from support.task_files import LONGBENCH, save_tasks

EVALUATIONS = "evaluation=[longbench,qasper,gov_report,milestones,short_context]"
SMALL = [
    *(o for o in TINY if not o.startswith("evaluation.")),
    "evaluation.longbench.multiples=[1]",
    "evaluation.qasper.multiples=[1]",
    "evaluation.gov_report.multiples=[2]",
    "evaluation.milestones.multiples=[1]",
    "evaluation.milestones.windows=2",
    "evaluation.milestones.new_tokens=4",
    "evaluation.short_context.windows=2",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("tasks")
    run_here(EVALUATIONS, "method=lm_infinite", *SMALL, *save_tasks(root / "files"), *folders(root))
    (found,) = runs(results(root)).values()
    return found


def test_every_example_of_every_task_has_its_rows(run):
    counts = {}
    for row in run.rows:
        place = row["evaluation"], row["dataset"], row["metric"], row["context_length"]
        counts[place] = counts.get(place, 0) + 1
    metrics = dict.fromkeys(LONGBENCH, "f1") | {"trec": "accuracy", "passage_retrieval_en": "accuracy"}
    metrics |= {"samsum": "rouge_l", "lcc": "edit_similarity"}
    assert counts == {
        **{("longbench", f"longbench/{task}", metrics[task], 64): 3 for task in LONGBENCH},
        ("qasper", "qasper", "f1", 64): 3,
        **{("gov_report", "gov_report", f"rouge_{kind}", 128): 2 for kind in "12l"},
        **{("milestones", "sympy/test", metric, 64): 2 for metric in ("bleu", "rouge_l")},
        ("short_context", "sympy/test", "nll", 64): 2,
    }
    assert all(0 <= row["value"] <= row["n"] == 1 for row in run.rows if row["metric"] != "nll")
    assert run.finished
