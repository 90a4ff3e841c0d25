"""Metrics: what the mean of a record's values is shown as, and how it reads."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

AXES = {  # what the numbers of a protocol stand by, at the longest context; those of all others stand by its length
    "positions": "position",
    "attention_logits": "distance",
    "attention_sinks": "first_tokens",
    "frequency_spectrum": "pair",
    "ode_drift": "pair",
}
IN_TOKENS = ("context_length", "position", "distance")
OF_LENGTH = ("context_length", "position")  # among which a training length has its place


class Measure(NamedTuple):
    """What a table or a figure is of: the rows of one metric under one protocol."""

    protocol: str
    metric: str = "nll"

    @property
    def name(self) -> str:
        """For files: the protocol, with the metric where that is not the usual one."""
        return self.protocol if self.metric == "nll" else f"{self.protocol}_{self.metric}"

    @property
    def axis(self) -> str:
        """Key of a row by which its numbers stand beside each other."""
        return AXES.get(self.protocol, "context_length")


def place_of(row: dict) -> int:
    """Where a row stands on the axis of its measure."""
    return row[AXES.get(row["protocol"], "context_length")]


@dataclass(frozen=True)
class Metric:
    """How the mean of values per thing (sum of `value` over sum of `n`) is shown.

    Attributes:
        title: What is shown.
        better: "lower", "higher", or "" where neither is.
        shown: The mean as it is shown; increasing.
        text: A shown number, and its spread if there is one, for reading.
        logarithmic: Whether its axis is, and whether two of them are compared by their ratio.
    """

    title: str
    better: str
    shown: Callable[[float], float]
    text: Callable[[float, float | None], str]
    logarithmic: bool = False


def metric(name: str) -> Metric:
    """Return how a metric of records is shown; one that is not known by name is shown as it is."""
    return METRICS.get(name) or Metric(name.replace("_", " "), "", float, _plain_text)


def perplexity_text(value: float, spread: float | None = None) -> str:
    """At three figures, "4.31", "51.2", "1,234" or "1.2e+06", with "±" and the spread at the same precision."""
    style = ".2f" if value < 9.995 else ".1f" if value < 99.95 else ",.0f" if value < 99_999.5 else ".1e"
    return f"{value:{style}}" + (f" ±{spread:{style}}" if spread is not None else "")


def exp(x: float) -> float:
    """e to the x, infinite where that is too large for a number."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _percent(share: float) -> float:
    return 100 * share


def _percent_text(value: float, spread: float | None = None) -> str:
    return f"{value:.1f}" + (f" ±{spread:.1f}" if spread is not None else "")


def _plain_text(value: float, spread: float | None = None) -> str:
    return f"{value:.3g}" + (f" ±{spread:.2g}" if spread is not None else "")


def _share(title: str) -> Metric:
    return Metric(f"{title} (%)", "higher", _percent, _percent_text)


METRICS = {
    "nll": Metric("perplexity", "lower", exp, perplexity_text, logarithmic=True),
    "accuracy": _share("accuracy"),
    "f1": _share("F1"),
    "rouge_1": _share("ROUGE-1"),
    "rouge_2": _share("ROUGE-2"),
    "rouge_l": _share("ROUGE-L"),
    "bleu": _share("BLEU"),
    "edit_similarity": _share("edit similarity"),
    "inv_freq": Metric("frequency (radians per token)", "", float, _plain_text, logarithmic=True),
}
