"""What W&B shows of experiments, as plain data: in groups, each with a caption, the panels of a page's figures."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from lcx_lightning.results.comparable import parts_of
from lcx_lightning.results.knobs import knobs
from lcx_lightning.results.logged import DEPTH, KNOBS, name_of, relative, stands_by_length
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report import wandb_charts as charts
from lcx_lightning.results.report.labels import NOT_EVALUATED, described, pretrain_length, seconds_text, titled
from lcx_lightning.results.report.tables import Cell, Table, escaped
from lcx_lightning.results.report.views import Section, sections_of

STEP = "trainer/global_step"
MATRICES = (("window", "sink_tokens"), ("ode_width", "max_factor"), ("scaling", "pattern"), ("factor", "train_length"))
TRAINING = ("train/loss", "validation/loss", "train/grad_norm", "train/lr/weights", "train/tokens_per_second")
KINDS = ("Perplexity", "Retrieval and tasks", "Ablations", "Quality against cost", "Mechanism", "Training", "Runs")
LENGTH, RETRIEVAL, ABLATIONS, COST, MECHANISM, TRAINED, RUNS = KINDS
OF_COST = ("_seconds", "_per_second", "_bytes")  # how names of metrics of what a run takes end
SAFE = re.compile(r"[\w.+-]+")  # names that may stand in an expression of a chart
STAGES = ("extend", "evaluate")
SHORT = 8  # characters of a commit
COST_OF_RUN = "cost/device_seconds"


class Lines(NamedTuple):
    """One line an arm, the mean over seeds with its standard error."""

    title: str
    x: str
    y: str
    x_title: str
    log_x: bool = False
    log_y: bool = False


class Bars(NamedTuple):
    """One bar an arm, the mean over seeds with its standard error."""

    title: str
    metric: str


class Points(NamedTuple):
    """One point a run."""

    title: str
    x: str
    y: str
    log_y: bool


class Parallel(NamedTuple):
    """One line a run over the knobs that differ, to the result."""

    title: str
    knobs: list[str]
    result: str
    log: bool


class Importance(NamedTuple):
    """How much knobs say of a result."""

    result: str


class Chart(NamedTuple):
    """One of the charts of lcx: what stands in place of its fields and its words."""

    name: str
    fields: dict[str, str]
    words: dict[str, str]


class Comparison(NamedTuple):
    """The configurations and numbers of runs side by side, what differs first."""


Panel = Lines | Bars | Points | Parallel | Importance | Chart | Comparison


class Group(NamedTuple):
    """Panels under one heading, what they show in Markdown, and the tables of the same numbers."""

    heading: str
    caption: str
    panels: list[Panel]
    tables: list[Table]


class Part(NamedTuple):
    """Runs of one base and one corpus, and what is shown of them.

    `key` is the same whatever other parts there are. `name` is empty if there are none. `runs` are ids in W&B.
    """

    key: str
    name: str
    runs: list[str]
    sentences: list[str]
    groups: list[Group]


def parts_shown(experiment: Experiment) -> list[Part]:
    """The parts of an experiment as W&B shows them."""
    found, taken = [], Counter[str]()
    for part, section in zip(parts_of(experiment).parts, sections_of(experiment), strict=True):
        known = knobs(part.runs[0].info)
        key = " ".join(str(known[name]) for name in ("model", "data", "corpus", "pretrain_length"))
        taken[key] += 1
        key += f" {taken[key]}" if taken[key] > 1 else ""
        found.append(Part(key, part.part, _ids(part), section.sentences, groups_of(part, section)))
    return found


def groups_of(part: Experiment, section: Section) -> list[Group]:
    """The groups of a part, those without a panel left out."""
    tables: dict[str, list[Table]] = {}
    for view in section.views:
        tables.setdefault(_kind(part, view.measure), []).extend(view.tables)
    tables[RUNS] = [_runs_table(part)]
    panels = {kind: [*_panels(part, kind)] for kind in KINDS}
    return [Group(kind, _caption(part, kind), panels[kind], tables.get(kind, [])) for kind in KINDS if panels[kind]]


def _ids(part: Experiment) -> list[str]:
    """The ids of runs in W&B, where they may differ from those in records."""
    return [(run.info.get("wandb") or {}).get("id") or str(run.info.get("run")) for run in part.runs]


def _kind(part: Experiment, measure: Measure) -> str:
    """The group that a measure belongs to."""
    metric = part.metric(measure)
    if metric.display == "perplexity":
        return LENGTH
    if metric.better == "higher":
        return RETRIEVAL
    return COST if measure.metric.endswith(OF_COST) else MECHANISM


def _panels(part: Experiment, kind: str) -> Iterator[Panel]:
    for measure in part.measures():
        if _kind(part, measure) == kind:
            yield from _of_measure(part, measure)
    if kind == ABLATIONS:
        yield from _ablations(part)
    if kind == COST and any(run.info.get("device_seconds") for run in part.runs) and (found := _result(part)):
        measure, result, _ = found
        yield Points(f"{result} against device seconds", COST_OF_RUN, result, part.metric(measure).logarithmic)
    if kind == TRAINED and any(run.info.get("train_length") for run in part.runs):
        for name in TRAINING:
            yield Lines(name, STEP, name, "optimizer steps")
    if kind == RUNS:
        yield Comparison()


def _of_measure(part: Experiment, measure: Measure) -> Iterator[Panel]:
    """The figures of a measure: lines by what it stands by, with intervals, relative to L, and by depth."""
    metric, name = part.metric(measure), name_of(measure)
    title, log = f"{metric.title}, {measure.protocol}", metric.logarithmic
    if not stands_by_length(part, measure):
        key = metric.axis.key
        yield Lines(title, key, f"by_{key}/{name}", metric.axis.title, metric.axis.is_length, log)
        return
    yield Lines(title, "length", f"cells/{name}", "context length", log_x=True, log_y=log)
    at_lengths = _lengths(part, measure)
    if at_lengths and SAFE.fullmatch(measure.protocol):
        words = _words(part, measure) | {"pretrain_length": str(pretrain_length(part) or min(at_lengths))}
        yield Chart(charts.LENGTH, {**charts.FIELDS}, words)
    if pretrain_length(part) in at_lengths and log:
        ratio = f"ratio/{measure.protocol}"
        yield Lines(f"{title}, over that at L", "length", f"cells/{ratio}", "context length", log_x=True, log_y=True)
        if longest := relative(_usual_longest(at_lengths), pretrain_length(part)):
            yield Bars(f"{title}, at {longest} over that at L", f"{ratio}/{longest}")
    rows = [row for run in part.runs for row in run.rows if (row["protocol"], row["metric"]) == measure]
    if any(row["at"].get(DEPTH) is not None for row in rows) and SAFE.fullmatch(measure.protocol):
        yield Chart(charts.DEPTH, {**charts.FIELDS}, _words(part, measure))


def _words(part: Experiment, measure: Measure) -> dict[str, str]:
    metric = part.metric(measure)
    title = "".join(sign for sign in metric.title if sign not in '"\\$')  # it stands inside JSON
    scale = "log" if metric.logarithmic else "linear"
    return {"protocol": measure.protocol, "metric": measure.metric, "title": title, "scale": scale}


def _ablations(part: Experiment) -> Iterator[Panel]:
    """Heatmaps over two knobs, parallel coordinates over all that differ, and how much each says of the result."""
    found, varied = _result(part), _varied(part)
    if not found or not varied:
        return
    measure, result, length = found
    for x, y in MATRICES:
        if x in varied and y in varied and SAFE.fullmatch(measure.protocol):
            words = _words(part, measure) | {"length": str(length), "x": x, "y": y}
            yield Chart(charts.HEAT, charts.FIELDS | {"x": x, "y": y}, words)
    yield Parallel(f"{result} over the knobs that differ", varied, result, part.metric(measure).logarithmic)
    yield Importance(result)


def _varied(part: Experiment) -> list[str]:
    """The knobs that not all arms have the same value of."""
    every = [knobs(run.info) for run in part.runs]
    return [name for name in ("method", *KNOBS) if len({repr(one[name]) for one in every}) > 1]


def _result(part: Experiment) -> tuple[Measure, str, int] | None:
    """The measure by which arms are compared, its name in the summary at the usual longest length, and that length."""
    for measure in part.measures():
        at_lengths = _lengths(part, measure) if stands_by_length(part, measure) else None
        if at_lengths and part.metric(measure).better:
            longest = _usual_longest(at_lengths)
            return measure, f"{name_of(measure)}/{relative(longest, pretrain_length(part)) or longest}", longest
    return None


def _lengths(part: Experiment, measure: Measure) -> Counter[int]:
    """How many runs have numbers of a measure, by length."""
    found: Counter[int] = Counter()
    for run in part.runs:
        found.update({row["context_length"] for row in run.rows if (row["protocol"], row["metric"]) == measure})
    return found


def _usual_longest(at_lengths: Counter[int]) -> int:
    """The longest of the lengths that most runs have."""
    return max(at_lengths, key=lambda length: (at_lengths[length], length))


def _runs_table(part: Experiment) -> Table:
    """Every run: how it ended, and what computed it where."""
    rows = []
    for run in part.runs:
        info = run.info
        by = (info.get("computed_by") or [{}])[-1]
        state = ": ".join(filter(None, [info.get("state", "unknown"), info.get("reason")]))
        times = [
            seconds_text(spent) if (spent := (info.get("seconds") or {}).get(name)) else NOT_EVALUATED
            for name in STAGES
        ]
        hardware = ", ".join(str(value) for value in (by.get("hardware") or {}).values())
        commit = str(by.get("git_commit") or "")[:SHORT]
        rows.append(
            [Cell(text or NOT_EVALUATED) for text in (run.arm, str(info["seed"]), state, *times, hardware, commit)]
        )
    header = ["arm", "seed", "state", *STAGES, "hardware", "commit"]
    return Table(titled(part, "what ran where"), header, rows, [], sentences=True)


def _caption(part: Experiment, kind: str) -> str:
    """What the panels of a group show, in Markdown: measures, arms, seeds and documents."""
    measures = [measure for measure in part.measures() if _kind(part, measure) == kind]
    lines = [f"- {escaped(f'{measure.protocol}: {described(part, measure)}')}" for measure in measures]
    seeds, length = part.seeds(), pretrain_length(part)
    documents = {(row.get("dataset"), row["document"]) for run in part.runs for row in run.rows}
    n = f"{len(part.arms())} arms, seeds {', '.join(map(str, seeds))}, {len(documents):,} documents"
    n += f", L = {length:,} tokens." if length else "."
    spread = "Lines and bars: mean over seeds, with the standard error. Bands: the seeds' intervals of 95%, together."
    return "\n".join([f"{n} {spread}" if lines else n, "", *lines]).rstrip()
