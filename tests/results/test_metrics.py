"""Metrics: what an evaluation declares is what its table, its figure and the page show, without another edit."""

import json

import pytest
from support.experiment_files import make_row, write_run
from support.losses_by_hand import Letters, all_rows
from support.text_corpora import CORPUS_ONLY, Books

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.base import Evaluation, WorkUnit
from lcx_lightning.evaluation.suite import EvaluationSuite
from lcx_lightning.results import records
from lcx_lightning.results.metrics import Axis, Measure, Metric, as_data, from_data, percentage, perplexity
from lcx_lightning.results.report.command import report
from lcx_lightning.results.report.figures import length_figure
from lcx_lightning.results.report.screen import screen
from lcx_lightning.results.report.tables import length_table

GLOW = Measure("glow", "warmth")


class Glow(Evaluation):
    """An evaluation of a user's own: how warm each layer is, at two depths of the context."""

    def lengths(self, pretrain_length):
        return [pretrain_length, 2 * pretrain_length]

    def work_units(self, data, pretrain_length, max_context):
        row = {"evaluation": "glow", "protocol": "glow", "dataset": data.corpus.name, "document": "all", "n": 2}
        row |= {"metric": "warmth"}
        work_units = []
        for length in self.served(pretrain_length, max_context):
            rows = [row | {"context_length": length, "at": {"layer": layer}} for layer in (1, 2, 4)]
            values = [one | {"value": float(length)} for one in rows]
            work_units.append(WorkUnit(rows, lambda _, values=values: values))
        return work_units

    def metrics(self):
        layer = Axis("layer", "layer of the model")
        return {GLOW.key: Metric("warmth (kelvin)", "lower", scored="the tokens of a fire", axis=layer)}


@pytest.fixture
def experiment(tmp_path):
    """What one arm's own evaluation leaves, as the program writes it."""
    suite = EvaluationSuite({"glow": Glow()})
    data = LongContextData(Books(), Letters(), CORPUS_ONLY)
    write_run(tmp_path, "pi", rows=False, metrics=json.loads(json.dumps(as_data(suite.metrics()))))
    head = {"run": "pi-0", "arm": "pi", "seed": 0}
    rows = [head | row for row in all_rows(suite.work_units(data, 128, None), None)]
    records.append(tmp_path / "pi-0" / "records.jsonl", rows)
    return records.read_experiment(tmp_path)


def test_an_evaluation_of_ones_own_has_its_title_and_its_axis_in_every_view(experiment, tmp_path):
    assert experiment.measures() == [GLOW]
    table = length_table(experiment, GLOW)
    assert table.header[1:4] == ["layer of the model 1", "layer of the model 2", "layer of the model 4"]
    assert [cell.text for cell in table.rows[0][1:4]] == ["128"] * 3  # 256 over n = 2, at the longest context
    assert table.title.endswith("warmth (kelvin) of the tokens of a fire")
    encoding = length_figure(experiment, GLOW).to_dict()["layer"][0]["encoding"]
    assert encoding["x"]["title"] == "layer of the model"
    assert encoding["y"]["title"] == "warmth (kelvin) (lower is better)"
    console = screen()
    with console.capture() as printed:
        report(tmp_path, console)
    assert "warmth (kelvin) of the tokens of a fire" in printed.get()
    page = (tmp_path / "index.html").read_text()
    assert "<h2>Warmth (kelvin), protocol glow</h2>" in page
    assert '"title":"layer of the model"' in page  # the axis of the chart


def test_a_metric_that_nobody_declared_is_shown_as_it_is(tmp_path):
    write_run(tmp_path, "pi", rows=False, metrics={})
    records.append(tmp_path / "pi-0" / "records.jsonl", [make_row(metric="some_number", value=3.0, n=2)])
    experiment = records.read_experiment(tmp_path)
    metric = experiment.metric(Measure("last_k", "some_number"))
    assert metric == Metric("some number")
    assert length_table(experiment, Measure("last_k", "some_number")).rows[0][1].text == "1.5"


def test_a_row_that_has_no_place_on_the_declared_axis_is_named(experiment):
    metric = experiment.metric(GLOW)
    with pytest.raises(ValueError, match=r"glow/warmth are declared to stand by 'layer'; .* only depth in `at`"):
        metric.place({"protocol": "glow", "metric": "warmth", "context_length": 128, "at": {"depth": 0.5}})


@pytest.mark.parametrize("changes", [{"display": "fancy"}, {"better": "more"}])
def test_declarations_that_mean_nothing_are_refused(changes):
    with pytest.raises(ValueError, match="needs a display from plain, percent, perplexity, and better from lower"):
        Metric("speed", **changes)


def test_declarations_survive_json():
    declared = {"a/nll": perplexity("some tokens"), "b/f1": percentage("F1"), "c/x": Metric("x", axis=Axis("y", "z"))}
    assert from_data(json.loads(json.dumps(as_data(declared)))) == declared
