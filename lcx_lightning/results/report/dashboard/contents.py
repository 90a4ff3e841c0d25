"""What the page shows: its numbers once, as columns, the charts that draw them, and the tables of the report."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from lcx_lightning.results.analysis.estimates import Estimate, estimates
from lcx_lightning.results.metrics import Metric
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.dashboard.arms import arms_of, key_of, knobs_of, numbers_of, settings_of
from lcx_lightning.results.report.dashboard.charts.cost import cost
from lcx_lightning.results.report.dashboard.charts.heatmaps import depths, matrix
from lcx_lightning.results.report.dashboard.charts.lines import lines
from lcx_lightning.results.report.dashboard.charts.parallel import parallel
from lcx_lightning.results.report.dashboard.matrices import matrices
from lcx_lightning.results.report.dashboard.numbers import COSTS, columns, depth_columns
from lcx_lightning.results.report.labels import described, measured_places, pretrain_length, train_lengths
from lcx_lightning.results.report.relative import comparisons, reference_of
from lcx_lightning.results.report.tables import thinned
from lcx_lightning.results.report.views import Section, View

AXES = 7  # of parallel coordinates, the measure not counted


class Chart(NamedTuple):
    """One chart: what it draws, and what is said of it."""

    id: str
    kind: str  # lines, depths, matrix, cost or parallel
    view: str  # of which numbers
    title: str
    caption: str
    spec: dict[str, Any]
    more: dict[str, Any]  # of its kind


class Contents(NamedTuple):
    """The data that scripts read, and the charts of each view and of the page as a whole."""

    data: dict[str, Any]
    of_view: dict[str, list[Chart]]
    ablations: list[Chart]
    costs: list[Chart]


def contents(experiment: Experiment, sections: Sequence[Section], sources: Sequence[Experiment]) -> Contents:
    """Everything that the page shows of its sections.

    Args:
        experiment: All runs.
        sections: What the report shows of them.
        sources: The experiments that they were read from.
    """
    numbers, knobs = numbers_of(experiment), knobs_of(experiment)
    origin = {key_of(run): source for source in reversed(sources) for run in source.runs}
    arms = arms_of(experiment, origin)
    views: dict[str, Any] = {}
    of_view: dict[str, list[Chart]] = {}
    ablations: list[Chart] = []
    spent: list[Chart] = []
    names = [str(experiment.runs_of(arm)[0].info.get("method") or arm) for arm in experiment.arms()]
    for section in sections:
        for view in section.views:
            here = {arm: numbers[key_of(view.experiment.runs_of(arm)[0])] for arm in view.experiment.arms()}
            found = _Numbers(view, here, reference_of(experiment, view.experiment))
            views[view.name] = found.data()
            of_view[view.name] = found.charts()
        for view in _main(section.views):
            ablations += _ablations(view, views[view.name], knobs, names)
            spent += _costs(view, arms)
    _shorten(arms, views)
    data = {"arms": arms, "knobs": knobs, "settings": settings_of(experiment), "views": views}
    every = [chart for charts in [*of_view.values(), ablations, spent] for chart in charts]
    data["charts"] = {one.id: {"kind": one.kind, "view": one.view, "spec": one.spec} | one.more for one in every}
    data["costs"] = COSTS
    return Contents(data, of_view, ablations, spent)


def _shorten(arms: list[dict[str, Any]], views: dict[str, Any]) -> None:
    """Give arms the names that they have where they can be compared, if no other arm has the same elsewhere."""
    first: dict[int, str] = {}
    for view in views.values():
        for number, name in view["labels"].items():
            first.setdefault(number, name)
    counts = Counter(first.values())
    for number, name in first.items():
        if counts[name] == 1:
            arms[number]["label"] = f"{name} ({arms[number]['state']})" if arms[number]["state"] else name


class _Numbers:
    """The numbers of one view, and its charts."""

    def __init__(self, view: View, arms: dict[str, int], reference: str | None) -> None:
        self.view, self.arms, self.reference = view, arms, reference
        self.experiment, self.measure = view.experiment, view.measure
        self.metric: Metric = self.experiment.metric(self.measure)
        self.found = estimates(self.experiment, self.measure)
        has = reference and self.metric.better
        self.compared = comparisons(self.experiment, self.measure, str(reference)) if has else {}
        self.depths = depth_columns(self.experiment, self.measure, arms)
        self.places = measured_places(self.experiment, self.measure)

    def data(self) -> dict[str, Any]:
        """What scripts read."""
        metric = self.metric
        trained = {self.arms[arm]: sorted(train_lengths(self.experiment.runs_of(arm))) for arm in self.arms}
        return {
            "title": metric.title, "protocol": self.measure.protocol, "better": metric.better,
            "logarithmic": _is_log(metric, self.found), "length": metric.axis.key == "context_length",
            "labels": {number: arm for arm, number in self.arms.items()}, "places": thinned(self.places),
            "L": pretrain_length(self.experiment) if metric.axis.in_tokens else None,
            "trained": {arm: at for arm, at in trained.items() if at} if metric.axis.is_length else {},
            "values": columns(self.found, metric, self.arms),
            "relative": columns(self.compared, metric, self.arms, compared=True) if self.compared else None,
            "depths": self.depths,
        }  # fmt: skip

    def charts(self) -> list[Chart]:
        """Its lines, those relative to the reference, and the heatmap of depths; none without a finite number."""
        name, said = self.view.name, described(self.experiment, self.measure)
        said = said[0].upper() + said[1:]
        finite = [one for one in self.found.values() if abs(one.value) != float("inf") and one.value == one.value]
        charts = []
        if finite:
            charts.append(self._lines("values", said, self.found, self.metric.title))
        if self.compared and finite:
            title = f"{self.metric.title}, {'over' if self._ratio else 'less'} that of {self.reference}"
            charts.append(self._lines("relative", f"The same relative to {self.reference}", self.compared, title))
        if self.depths:
            whole = 100 if self.metric.display == "percent" else 1
            caption = "Mean over trials and seeds. Chosen arms are drawn, or else the first twelve."
            spec = depths(self.metric.title, whole)
            charts.append(Chart(f"{name}-depths", "depths", name, f"{said}, by length and depth", caption, spec, {}))
        return charts

    @property
    def _ratio(self) -> bool:
        return self.metric.display == "perplexity"

    def _lines(self, kind: str, title: str, found: dict[tuple[str, float], Estimate], axis: str) -> Chart:
        better = f" ({self.metric.better} is better)" if self.metric.better and kind == "values" else ""
        spec = lines(self.experiment, self.measure, thinned(self.places), axis + better, _is_log(self.metric, found))
        caption = f"{_interval(found)} Ring: the length the arm was trained at. Protocol: {self.measure.protocol}."
        name = f"{self.view.name}-{kind}"
        return Chart(name, "lines", self.view.name, title, caption, spec, {"values": kind})


def _is_log(metric: Metric, found: dict[tuple[str, float], Estimate]) -> bool:
    return metric.logarithmic and all(one.value > 0 for one in found.values() if one.value == one.value)


def _interval(found: dict[tuple[str, float], Estimate]) -> str:
    """What the bands are of."""
    seeds = {one.n_seeds for one in found.values()}
    documents = sorted({one.n_documents for one in found.values()})
    band = f"t interval over {_span(sorted(n for n in seeds if n > 1))} seeds" if max(seeds) > 1 else ""
    alone = "interval over documents" if not band else "over documents where there is one seed"
    said = ", ".join(filter(None, [band, alone if 1 in seeds else ""]))
    return f"Band: 95% {said} (n = {_span(documents)} documents)."


def _span(numbers: list[int]) -> str:
    return f"{numbers[0]:,}" if numbers[0] == numbers[-1] else f"{numbers[0]:,} to {numbers[-1]:,}"


def _main(views: Sequence[View]) -> list[View]:
    """The views that arms are judged by: the first of those where less is better, and where more is, by length.

    Perplexity is before other measures, such as seconds.
    """
    by_length = sorted(filter(_is_by_length, views), key=lambda view: not _is_perplexity(view))
    better = {view.experiment.metric(view.measure).better: view for view in reversed(by_length)}
    return [view for view in by_length if view.name in {better[key].name for key in better if key}]


def _ablations(view: View, data: dict[str, Any], knobs: dict[str, list], names: list[str]) -> list[Chart]:
    """The matrices of two knobs, and parallel coordinates, of the arms of one view."""
    arms, metric = sorted(data["labels"]), view.experiment.metric(view.measure)
    charts = []
    for number, one in enumerate(matrices(knobs, names, arms)):
        title = f"{metric.title.capitalize()} by {one.across} and {one.down}: {one.of}".rstrip(": ")
        caption = f"At the chosen length, or the longest. Protocol: {view.measure.protocol}."
        cells = [[arm, str(across), str(down)] for arm, across, down in one.cells]
        longest = max(len(across) for _, across, _ in cells)
        spec = matrix(one.across, one.down, metric.title, data["logarithmic"], longest)
        order = {side: _ordered([cell[place] for cell in one.cells]) for side, place in (("across", 1), ("down", 2))}
        more = {"cells": cells, "order": order}
        charts.append(Chart(f"{view.name}-matrix-{number}", "matrix", view.name, title, caption, spec, more))
    turned = [name for name in knobs if len({repr(knobs[name][arm]) for arm in arms}) > 1][:AXES]
    if len(turned) > 1 and len(arms) > 2:
        caption = (
            "One line an arm. Numbers stand in their order, at even distances; the last axis is the number itself."
        )
        more = {"axes": {name: _ordered([knobs[name][arm] for arm in arms]) for name in turned}}
        title = f"{metric.title.capitalize()} over the knobs that arms differ in ({view.measure.protocol})"
        spec = parallel([*turned, metric.title])
        charts.append(Chart(f"{view.name}-parallel", "parallel", view.name, title, caption, spec, more))
    return charts


def _ordered(values: list[Any]) -> list[str]:
    """Distinct values as texts, numbers ascending, None first."""
    distinct = {str(value): value for value in values}
    numeric = all(isinstance(value, int | float) or value is None for value in distinct.values())

    def rank(text: str) -> tuple:
        value = distinct[text]
        return (value is not None, value or 0) if numeric else (value is not None, text)

    return sorted(distinct, key=rank)


def _costs(view: View, arms: list[dict[str, Any]]) -> list[Chart]:
    metric = view.experiment.metric(view.measure)
    kinds = {name for name in COSTS for arm in arms if arm["cost"][name]}
    if not kinds:
        return []
    better = f" ({metric.better} is better)" if metric.better else ""
    title = f"{metric.title.capitalize()} against cost ({view.measure.protocol})"
    caption = (
        "A point an arm, at the chosen length or the longest. Dashed: the frontier of arms that none beats in both."
    )
    more = {"kinds": [name for name in COSTS if name in kinds]}
    logarithmic = metric.logarithmic
    return [
        Chart(f"{view.name}-cost", "cost", view.name, title, caption, cost(metric.title + better, logarithmic), more)
    ]


def main_view(sections: Sequence[Section], several: bool = False) -> View | None:
    """The view that the overview shows: the first, as the experiment has it.

    `several`: of several experiments, perplexity against length, if there is any, of the most arms and lengths.
    """
    views = [view for section in sections for view in section.views]
    found = [view for view in views if _is_by_length(view) and _is_perplexity(view)] if several else []
    return (
        max(found, key=lambda view: len(estimates(view.experiment, view.measure))) if found else next(iter(views), None)
    )


def _is_by_length(view: View) -> bool:
    return view.experiment.metric(view.measure).axis.key == "context_length"


def _is_perplexity(view: View) -> bool:
    return view.experiment.metric(view.measure).display == "perplexity"
