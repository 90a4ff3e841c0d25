"""Names of arms, measures and places in tables and figures."""

from lcx_lightning.results.analysis.estimates import rows_by_place
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import Experiment, Run

NOT_EVALUATED = "\N{EN DASH}"
HASH = 6  # characters of a fingerprint in the table: two of 100 methods share them by accident once in 3,000 tables


def described(experiment: Experiment, measure: Measure) -> str:
    """What a measure shows, in words: "perplexity of all tokens of windows of this length"."""
    metric = experiment.metric(measure)
    return f"{metric.title} of {metric.scored or measure.protocol}"


def titled(experiment: Experiment, words: str) -> str:
    """Title of a table: the experiment, what all of its runs share if it is a part of one, and what is shown."""
    return f"{experiment.name}{f', {experiment.part}' if experiment.part else ''}: {words}"


def lengths(experiment: Experiment) -> list[int]:
    """Every context length that a run has evaluated, was to evaluate, or cannot evaluate; ascending."""
    found = {row["context_length"] for run in experiment.runs for row in run.rows}
    for run in experiment.runs:
        found.update(run.info.get("lengths") or (), map(int, run.info.get("not_evaluated") or ()))
    return sorted(found)


def measured_places(experiment: Experiment, measure: Measure) -> list[float]:
    """The places on the axis of a measure that any arm has; all lengths of the experiment if no arm has any yet."""
    places = {place for arm in experiment.arms() for place in rows_by_place(experiment, arm, measure)}
    return sorted(places) or [*lengths(experiment)]


def place_header(experiment: Experiment, measure: Measure, place: float) -> str:
    """A place on the axis of a measure; a length or a position with its multiple of L."""
    axis = experiment.metric(measure).axis
    return length_header(experiment, place) if axis.is_length else f"{axis.title} {place}"


def length_header(experiment: Experiment, length: float) -> str:
    """A length with its multiple of L, if all arms have the same L."""
    pretrained = pretrain_length(experiment)
    return f"{length} ({length / pretrained:.3g}L)" if pretrained else str(length)


def pretrain_length(experiment: Experiment) -> int | None:
    """The pretraining length of all arms. None if they differ or it is unknown."""
    found = {run.info.get("pretrain_length") for run in experiment.runs}
    return found.pop() if len(found) == 1 else None


def train_lengths(runs: list[Run]) -> set[int]:
    """Lengths the runs were trained at; empty for a zero-shot arm."""
    return {run.info["train_length"] for run in runs if run.info.get("train_length")}


def status(runs: list[Run]) -> str:
    """State of the arm's first run; empty if a run of the arm has finished."""
    return "" if any(run.finished for run in runs) else runs[0].info.get("state", "unfinished")


def arm_label(runs: list[Run]) -> str:
    """The arm's name, with its state if no run has finished."""
    return f"{runs[0].arm} ({status(runs)})" if status(runs) else runs[0].arm


def fingerprint_text(runs: list[Run]) -> str:
    """The start of the arm's fingerprint; "differ" if its seeds do not agree, a dash if they have none."""
    found = {run.info["fingerprint"][:HASH] for run in runs if run.info.get("fingerprint")}
    return NOT_EVALUATED if not found else found.pop() if len(found) == 1 else "differ"


def seconds_text(seconds: float) -> str:
    """Rounded for reading: "0.4 s", "35 s", "6.8 min", "2.3 h"."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if 0 < seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3570 else f"{seconds / 3600:.1f} h"
