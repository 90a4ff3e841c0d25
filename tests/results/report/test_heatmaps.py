"""What stands where: scores by depth, k_max and tasks, checked against trials made by hand."""

import json
from pathlib import Path

import pytest
from support.experiment_files import make_row, shown, write_run

from lcx_lightning.results import records
from lcx_lightning.results.analysis.k_max import k_max
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.report.command import report
from lcx_lightning.results.report.figures import length_figure
from lcx_lightning.results.report.heatmaps import depth_figure
from lcx_lightning.results.report.labels import NOT_EVALUATED
from lcx_lightning.results.report.score_tables import k_max_table, task_table
from lcx_lightning.results.report.screen import screen
from lcx_lightning.results.report.tables import length_table, thinned
from lcx_lightning.results.report.terminal import TerminalTable

PASSKEY = Measure("passkey", "accuracy")


def trial(at=None, **changes):
    """One trial of a passkey that was found."""
    row = make_row(evaluation="retrieval", protocol="passkey", metric="accuracy", value=1.0, n=1, at=at or {})
    return row | changes


def experiment_of(folder, rows, arms=("pi",)):
    for order, arm in enumerate(arms):
        write_run(folder, arm, rows=False, order=order)
        own = [row | {"run": f"{arm}-0", "arm": arm, "document": f"trial {i}"} for i, row in enumerate(rows)]
        records.append(folder / f"{arm}-0" / "records.jsonl", own)
    return records.read_experiment(folder)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({8: [1, 1, 1, 1, 1], 16: [0, 0, 0, 0, 1], 24: [1, 0, 0, 0, 0]}, 24),  # a fifth is enough
        ({8: [1, 1, 1, 1, 1], 16: [0, 0, 0, 0, 0], 24: [1, 1, 1, 1, 1]}, 8),  # what lies beyond a gap does not count
        ({8: [0, 0, 0, 0, 0], 16: [1, 1, 1, 1, 1]}, 0),
    ],
)
def test_k_max_is_the_largest_distance_up_to_which_a_fifth_of_the_trials_succeed(found, expected):
    rows = [trial({"distance": k}, value=float(hit)) for k, hits in reversed(found.items()) for hit in hits]
    assert k_max(rows) == expected
    assert k_max([trial({"depth": 0.5})]) is None


def test_the_table_of_k_max_has_a_column_by_length(tmp_path):
    rows = [
        trial({"distance": k}, context_length=n, value=float(k <= 64)) for n in (128, 256) for k in range(32, n + 1, 32)
    ]
    text = shown(TerminalTable(k_max_table(experiment_of(tmp_path, rows), PASSKEY)))
    assert text.split().count("64") == 2
    assert k_max_table(experiment_of(tmp_path / "depths", [trial({"depth": 0.5})]), PASSKEY) is None


def test_the_figure_by_depth_has_the_mean_of_every_cell_of_every_arm(tmp_path):
    rows = [
        trial({"depth": d}, context_length=n, value=float(i < 3 * d))
        for n in (128, 256)
        for d in (0.0, 1 / 3, 1.0)
        for i in range(3)
    ]
    chart = depth_figure(experiment_of(tmp_path, rows, ("pi", "yarn")), PASSKEY).to_dict()
    (values,) = chart["datasets"].values() if "datasets" in chart else [chart["data"]["values"]]
    assert len(values) == 2 * 2 * 3
    assert {(point["depth"], round(point["score"])) for point in values} == {("0%", 0), ("33%", 33), ("100%", 100)}
    assert depth_figure(experiment_of(tmp_path / "none", [trial()]), PASSKEY) is None


def test_losses_have_no_figure_by_depth(tmp_path):
    rows = [trial({"depth": d}, metric="nll", value=2.0, n=5) for d in (0.1, 0.9)]
    assert depth_figure(experiment_of(tmp_path, rows), Measure("passkey")) is None


def test_tasks_have_a_column_each_and_one_task_has_no_table(tmp_path):
    rows = [
        trial({"task": task}, value=float(task == "vt"), context_length=n) for n in (128, 256) for task in ("vt", "cwe")
    ]
    rows += [trial({"task": "vt"}, metric="nll", value=3.0), trial({"task": "qa"}, metric="f1", value=0.25)]
    found = task_table(experiment_of(tmp_path, rows), "passkey")
    assert found.header == ["arm, length", "vt", "cwe", "qa", "mean"]
    assert [[cell.text for cell in row] for row in found.rows] == [
        ["pi, 128", "100.0", "0.0", "25.0", "41.7"],
        ["pi, 256", "100.0", "0.0", NOT_EVALUATED, NOT_EVALUATED],
    ]
    assert found.notes[0].startswith("Scores: F1 (%), accuracy (%).")
    assert task_table(experiment_of(tmp_path / "one", [trial({"task": "vt"})]), "passkey") is None


def test_the_best_of_a_task_at_a_length_is_marked(tmp_path):
    rows = [trial({"task": task}, context_length=128) for task in ("vt", "cwe") for _ in range(12)]
    experiment_of(tmp_path, rows)
    worse = [row | {"value": float(row["at"]["task"] == "cwe")} for row in rows]
    experiment = experiment_of(tmp_path, worse, ("yarn",))
    found = task_table(experiment, "passkey")
    marked = {row[0].text: [cell.best for cell in row] for row in found.rows}
    assert marked == {"pi, 128": [False, True, False, False], "yarn, 128": [False, False, False, False]}
    assert "best number of a column at a length" in found.notes[-1]


def test_losses_by_position_stand_by_position_and_not_by_length(tmp_path):
    rows = [
        make_row(protocol="positions", context_length=4096, at={"position": p}, document=f"{d}", value=p / 1000, n=1)
        for p in range(128, 4097, 128)
        for d in range(2)
    ]
    experiment, measure = experiment_of(tmp_path, rows), Measure("positions")
    found = length_table(experiment, measure)
    assert found.header[1:13] == [f"{p} ({p // 128}L)" for p in thinned(list(range(128, 4097, 128)))]
    assert (found.header[1], found.header[12]) == ("128 (1L)", "4096 (32L)")
    assert "holds to" not in found.header
    assert found.rows[0][1].text == "1.14"  # exp(.128)
    drawing = length_figure(experiment, measure).to_dict()
    assert drawing["layer"][0]["encoding"]["x"]["title"] == "position (tokens)"


def test_logits_stand_by_distance_at_the_longest_context(tmp_path):
    logits = {"protocol": "attention_logits", "metric": "largest_logit", "n": 2}
    rows = [
        make_row(**logits, context_length=n, at={"distance": k}, value=n + k) for n in (128, 256) for k in (0, 1, 64)
    ]
    experiment, measure = experiment_of(tmp_path, rows), Measure("attention_logits", "largest_logit")
    found = length_table(experiment, measure)
    assert found.header[1:4] == ["distance 0", "distance 1", "distance 64"]
    assert [cell.text for cell in found.rows[0][1:4]] == ["128", "128", "160"]
    assert length_figure(experiment, measure).to_dict()["layer"][0]["encoding"]["x"]["scale"]["type"] == "symlog"


def test_the_report_shows_them_all(tmp_path):
    rows = [
        trial({"depth": d, "task": t}, context_length=n) for n in (128, 256) for d in (0.1, 0.9) for t in ("a", "b")
    ]
    rows += [trial({"distance": k, "task": "a"}) for k in (64, 128)]
    experiment_of(tmp_path, rows)
    console = screen()
    with console.capture() as printed:
        paths = report(tmp_path, console)
    assert {Path(path).name for path in paths} >= {"passkey_accuracy.svg", "passkey_accuracy_depth.svg", "index.html"}
    for words in ("k_max of", "by task", "holds to"):
        assert words in " ".join(printed.get().split())
    page = (tmp_path / "index.html").read_text()
    assert all(f'<figure class="{kind}">' in page for kind in ("lines", "depths"))
    assert "Accuracy (%), protocol passkey" in page
    assert json.dumps("k_max")[1:-1] in page
