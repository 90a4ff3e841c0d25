"""What W&B is told of a run: label, summary, rows by length, a table of cells, and files; from its records alone."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lcx_lightning.results.analysis.effective_context import change_from, effective_contexts
from lcx_lightning.results.analysis.estimates import Estimate, arm_rows, estimate, estimates
from lcx_lightning.results.analysis.k_max import k_max
from lcx_lightning.results.archive import places_of, portable
from lcx_lightning.results.knobs import knobs
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import EXPERIMENT, RECORDS, RUN, Experiment, Run

DEPTH = "depth"  # key of `at` in records: the place of a needle, as a share of the context
KNOBS = ("factor", "train_length", "window", "sink_tokens", "distance_limit", "group_size", "top_k", "max_factor")
KNOBS += (
    "ode_width",
    "ode_steps",
    "ode_solver",
    "ode_activation",
    "scaling",
    "positions",
    "pattern",
    "temperature",
    "lr",
)
OF_ARM = ("arm", "method", "seed", *KNOBS)
NAMED = ("method", "factor", "seed")  # what the name of a run says without the name of the value
OF_CELL = ("protocol", "metric", "length", "multiple", "depth", "shown", "value", "low", "high", "n")
COLUMNS = (*OF_ARM, *OF_CELL)
RECORDS_TYPE = "records"  # of an artifact that holds the files of a run


class Label(NamedTuple):
    """How a run is called and grouped."""

    name: str
    job_type: str  # zero-shot, fine-tuned, base
    tags: list[str]


@dataclass(frozen=True)
class NewRun:
    """What W&B is told of a run before there are numbers.

    Attributes:
        id: Id of the run; one that goes on continues under it.
        label: Name, job type and tags.
        group: Name of the group.
        config: What W&B shows as the configuration.
        leads: Whether the run is that of the cell of a sweep, if the command is one; others are runs beside it.
        on_stop: Function that is called, in another thread, when W&B asks the run to stop.
    """

    id: str
    label: Label
    group: str
    config: dict[str, Any]
    leads: bool
    on_stop: Callable[[], None]


def label(known: Mapping[str, Any], turned: Sequence[str] = ()) -> Label:
    """The label of an arm, such as `yarn x4 s0`, or `clex x8 width=4 s0` where a cell of a sweep turns the width.

    Args:
        known: Knobs of the arm.
        turned: What its cell turns.
    """
    factor, arm = known["factor"], known["arm"]
    pairs = [(key.lstrip("+").rpartition(".")[2], value) for key, _, value in (word.partition("=") for word in turned)]
    words = [f"{key}={value}" for key, value in pairs if key not in NAMED and value != arm]
    words = [word for word in words if word not in arm.split(" ")]
    said = factor is None or "factor=" in arm
    name = " ".join([arm, *([] if said else [f"x{factor:g}"]), *words, f"s{known['seed']}"])
    job_type = "fine-tuned" if known["trained"] else "zero-shot"
    tags = [*str(known["method"]).split("+"), job_type, known["model"], known["data"]]
    return Label(name, job_type, [tag for tag in dict.fromkeys(tags) if tag])


def label_of_base(known: Mapping[str, Any]) -> Label:
    """The label of the base that an arm extends, from the knobs of the arm."""
    tags = ["base", known["model"], known["data"]]
    return Label(f"base {known['model']} s{known['seed']}", "base", [tag for tag in tags if tag])


def artifact_of(run: str) -> str:
    """The name of the artifact with the files of a run, by its id in records."""
    return f"records-{run}"


def files(folder: Path) -> dict[str, str]:
    """The texts of the files of a run by their names in the folder of its experiment; they name no place of a machine.

    Of run.json what is said of W&B is left out: who reads it back knows that better.
    """
    info = json.loads((folder / RUN).read_text())
    places = places_of([info.get("config") or {}])
    texts = {f"{folder.name}/{RUN}": portable(folder / RUN, places, without=("checkpoint", "wandb"))}
    if (folder / RECORDS).exists():
        texts[f"{folder.name}/{RECORDS}"] = (folder / RECORDS).read_text()
    about = folder.parent / EXPERIMENT
    return texts | ({EXPERIMENT: portable(about, places)} if about.exists() else {})


def relative(length: float, pretrain_length: int | None) -> str | None:
    """A length in units of L, such as `4L`; None if L is unknown."""
    return f"{length / pretrain_length:.6g}L" if pretrain_length else None


def summary(run: Run) -> dict[str, Any]:
    """Every number of a run by name.

    `perplexity/last_k/512` is by the place on the axis of its metric, `perplexity/last_k/4L` the same by multiples of
    L, with `/low` and `/high`, its 95% interval. `ratio/last_k/4L` is the perplexity over the own one at L,
    `holds_to/last_k` the effective context in units of L, `accuracy/passkey/4L/depth_0.5` of needles at one depth,
    `k_max/passkey/4L` the largest distance in tokens up to which a fifth of the needles are found at every distance.
    """
    alone, length = Experiment(run.folder, {}, [run]), run.info.get("pretrain_length")
    found: dict[str, Any] = {}
    for measure in alone.measures():
        for (_, place), one in estimates(alone, measure).items():
            found[f"{name_of(measure)}/{place}"] = one.value
        if stands_by_length(alone, measure) and length:
            found |= _by_multiples(alone, measure, length)
    found |= _costs(run) | _not_evaluated(run)
    return {name: value for name, value in found.items() if value is not None}


def by_length(run: Run) -> list[dict[str, Any]]:
    """One row for each length, ascending: `length`, `multiple` and `cells/perplexity/last_k` with its interval."""
    alone, pretrained = Experiment(run.folder, {}, [run]), run.info.get("pretrain_length")
    rows: dict[float, dict[str, Any]] = {}
    for measure in alone.measures():
        if stands_by_length(alone, measure):
            for (_, length), one in estimates(alone, measure).items():
                row = rows.setdefault(length, {"length": length, "multiple": pretrained and length / pretrained})
                row.update(_with_ends(f"cells/{name_of(measure)}", one))
            for length, one in _ratios(alone, measure, pretrained).items():
                rows[length].update(_with_ends(f"cells/ratio/{measure.protocol}", one))
    return [rows[length] for length in sorted(rows)]


def by_place(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Of measures that stand by something else, such as positions, one row for each place: by the key of their axis.

    A row holds the place under that key, and the numbers there as `by_position/perplexity/positions`.
    """
    alone = Experiment(run.folder, {}, [run])
    found: dict[str, dict[float, dict[str, Any]]] = {}
    for measure in alone.measures():
        if not stands_by_length(alone, measure):
            key = alone.metric(measure).axis.key
            for (_, place), one in estimates(alone, measure).items():
                row = found.setdefault(key, {}).setdefault(place, {key: place})
                row.update(_with_ends(f"by_{key}/{name_of(measure)}", one))
    return {key: [rows[place] for place in sorted(rows)] for key, rows in found.items()}


def cells(run: Run) -> list[list[Any]]:
    """Rows of a table with the columns COLUMNS: each measure at each length, and at each depth of a needle.

    `shown` is the word for what `value` is, such as perplexity; `multiple` is in units of L.
    """
    alone, pretrained, known = Experiment(run.folder, {}, [run]), run.info.get("pretrain_length"), knobs(run.info)
    head = [known[name] for name in OF_ARM]
    table = []
    for measure in alone.measures():
        if not stands_by_length(alone, measure):
            continue
        found = [(length, None, one) for (_, length), one in estimates(alone, measure).items()]
        found += [(length, depth, one) for (length, depth), one in _by_depth(alone, measure).items()]
        for length, depth, one in sorted(found, key=lambda cell: (cell[0], cell[1] is not None, cell[1] or 0)):
            place = [length, pretrained and length / pretrained, depth]
            ends = [_finite(one.low), _finite(one.high)]
            table.append([*head, *measure, *place, _kind(measure), one.value, *ends, one.n_scored])
    return table


def _by_multiples(alone: Experiment, measure: Measure, length: int) -> dict[str, Any]:
    kind, found = name_of(measure), dict[str, Any]()
    for (_, place), one in estimates(alone, measure).items():
        found |= _with_ends(f"{kind}/{relative(place, length)}", one)
    for (place, depth), one in _by_depth(alone, measure).items():
        found[f"{kind}/{relative(place, length)}/depth_{depth:g}"] = one.value
    rows = arm_rows(alone, alone.arms()[0], measure)
    for place in sorted({row["context_length"] for row in rows}) if alone.metric(measure).trials else ():
        if (reached := k_max([row for row in rows if row["context_length"] == place])) is not None:
            found[f"k_max/{measure.protocol}/{relative(place, length)}"] = reached
    for place, change in _ratios(alone, measure, length).items():
        found |= _with_ends(f"ratio/{measure.protocol}/{relative(place, length)}", change)
    for effective in effective_contexts(alone, measure).values():
        found[f"holds_to/{measure.protocol}"] = effective.length / length
    return found


def _ratios(alone: Experiment, measure: Measure, length: int | None) -> dict[float, Estimate]:
    """By length, the perplexity over the own one at L; none if there is no such."""
    rows, metric = arm_rows(alone, alone.arms()[0], measure), alone.metric(measure)
    at_start = [row for row in rows if row["context_length"] == length]
    places = sorted({row["context_length"] for row in rows}) if at_start and metric.logarithmic else []
    at = {place: [row for row in rows if row["context_length"] == place] for place in places}
    return {place: change_from(at_start, some, metric) for place, some in at.items()}


def _by_depth(alone: Experiment, measure: Measure) -> dict[tuple[float, float], Estimate]:
    """What was measured with needles at one depth, by length and depth."""
    rows = [row for row in arm_rows(alone, alone.arms()[0], measure) if row["at"].get(DEPTH) is not None and row["n"]]
    places = sorted({(row["context_length"], row["at"][DEPTH]) for row in rows})
    return {place: estimate(_at(rows, place), alone.metric(measure)) for place in places}


def _at(rows: list[dict], place: tuple[float, float]) -> list[dict]:
    return [row for row in rows if (row["context_length"], row["at"][DEPTH]) == place]


def _with_ends(name: str, one: Estimate) -> dict[str, float]:
    ends = {"low": _finite(one.low), "high": _finite(one.high)}
    return {name: one.value} | {f"{name}/{end}": x for end, x in ends.items() if x is not None}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def name_of(measure: Measure) -> str:
    """What a measure is called: `perplexity/last_k`."""
    return f"{_kind(measure)}/{measure.protocol}"


def _kind(measure: Measure) -> str:
    return "perplexity" if measure.metric == "nll" else measure.metric


def stands_by_length(alone: Experiment, measure: Measure) -> bool:
    """Whether the numbers of a measure stand by context length."""
    return alone.metric(measure).axis.key == "context_length"


def _costs(run: Run) -> dict[str, Any]:
    """What base, training and evaluation took, as far as run.json says."""
    base = run.info.get("base") or {}
    found = {f"throughput/{name}": value for name, value in (run.info.get("throughput") or {}).items()}
    found |= {f"base/{name}": base[name] for name in ("validation_loss", "seconds") if base.get(name)}
    spent = run.info.get("device_seconds")
    return found | ({} if spent is None else {"cost/device_seconds": spent})


def _not_evaluated(run: Run) -> dict[str, str]:
    absent, length = run.info.get("not_evaluated") or {}, run.info.get("pretrain_length")
    return {f"not_evaluated/{relative(int(place), length) or place}": reason for place, reason in absent.items()}
