"""Every protocol of perplexity, and cost, through all stages of an arm at tiny sizes."""

from support.lab import BASE, SIZES, folders, results, run_here, runs

CHOSEN = ("sliding", "documents", "documents_one_pass", "positions", "joined_stream", "cost")
LINE = [
    *(f"model.source.architecture.{name}={size}" for name, size in SIZES.items()),
    *(*BASE, "model.recipe.schedule.warmup=1", "method=dynamic_ntk", f"evaluation=[{','.join(CHOSEN)}]"),
    *(f"evaluation.{name}.multiples=[1,2]" for name in CHOSEN),
    *(f"evaluation.{name}.texts=2" for name in CHOSEN[:4]),
    *("evaluation.sliding.text=3", "evaluation.cost.repeats=1", "evaluation.cost.new_tokens=4"),
]


def test_all_protocols_of_one_arm_leave_rows_that_are_told_apart(tmp_path):
    run_here(*LINE, *folders(tmp_path))
    (run,) = runs(results(tmp_path)).values()
    written = next(tmp_path.glob("results/*/*/records.jsonl")).read_text().splitlines()
    assert len(written) == len(run.rows)
    counts = {name: sum(row["evaluation"] == name for row in run.rows) for name in CHOSEN}
    assert counts == {
        "sliding": 2 * 2,
        "documents": 2 * (2 + 1),
        "documents_one_pass": 2 * (2 + 1),
        "positions": 2 * 8,
        "joined_stream": 2,
        "cost": 2 * 5,
    }
    assert {row["context_length"] for row in run.rows} == {64, 128}
