"""How the numbers of records are shown: what an evaluation declares of each of its metrics, as plain data."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from lcx_lightning.schema.checked import check_fields


class Measure(NamedTuple):
    """What a table or a figure shows: the rows of one metric under one protocol."""

    protocol: str
    metric: str = "nll"

    @property
    def name(self) -> str:
        """Name for files: the protocol, with the metric where that is not the usual one."""
        return self.protocol if self.metric == "nll" else f"{self.protocol}_{self.metric}"

    @property
    def key(self) -> str:
        """Key of its declaration."""
        return f"{self.protocol}/{self.metric}"


@dataclass(frozen=True)
class Axis:
    """What the numbers of a metric stand by: the columns of its table and the horizontal axis of its figure.

    Attributes:
        key: `context_length`, or a key of `at` in records. Numbers that stand by such a key are shown at the longest
            context that was evaluated.
        title: Name of the axis.
        in_tokens: Whether the places on it are numbers of tokens. The pretraining length is marked on such an axis.
        is_length: Whether the places on it are lengths of a text. The training length is marked among such places.
    """

    key: str
    title: str
    in_tokens: bool = False
    is_length: bool = False


CONTEXT_LENGTH = Axis("context_length", "context length", in_tokens=True, is_length=True)


@dataclass(frozen=True)
class Metric:
    """How the mean of a metric (sum of `value` over sum of `n`) is shown. Plain data, kept in run.json.

    Attributes:
        title: Name of what is shown, with its unit.
        better: lower, higher, or empty if neither is better.
        display: How a mean is turned into what is shown and written: one of DISPLAYS.
        logarithmic: Whether its axis is logarithmic, and whether two numbers are compared by their ratio.
        trials: Whether every `value` is one trial, 1 for success and 0 for failure: intervals are then Wilson's.
        scored: What is scored, in words; the name of the protocol if empty.
        axis: What the numbers stand by.

    Raises:
        ValueError: If `better` or `display` is unknown.
    """

    title: str
    better: str = ""
    display: str = "plain"
    logarithmic: bool = False
    trials: bool = False
    scored: str = ""
    axis: Axis = CONTEXT_LENGTH

    def __post_init__(self) -> None:
        if self.display not in DISPLAYS or self.better not in ("", "lower", "higher"):
            raise ValueError(
                f"The metric {self.title!r} needs a display from {', '.join(DISPLAYS)}, and better from lower, higher "
                f"or an empty text; got display={self.display!r}, better={self.better!r}."
            )

    def shown(self, mean: float) -> float:
        """The mean as it is shown; it increases with the mean."""
        return DISPLAYS[self.display].shown(mean)

    def text(self, value: float, spread: float | None = None) -> str:
        """A shown number for reading, with its spread if there is one."""
        return DISPLAYS[self.display].text(value, spread)

    def place(self, row: Mapping[str, Any]) -> float:
        """The place of a row on the axis of the metric; ValueError if the row has none."""
        places = row if self.axis.key in row else row["at"]
        if self.axis.key not in places:
            raise ValueError(
                f"Rows of {row['protocol']}/{row['metric']} are declared to stand by {self.axis.key!r}; there is one "
                f"that has only {', '.join(row['at']) or 'nothing'} in `at`. Correct the axis that its evaluation "
                "declares, and run the arm again."
            )
        return places[self.axis.key]


def perplexity(scored: str = "", axis: Axis = CONTEXT_LENGTH) -> Metric:
    """Declare a negative log-likelihood in nats, which is shown as perplexity."""
    return Metric("perplexity", "lower", "perplexity", logarithmic=True, scored=scored, axis=axis)


def percentage(title: str, trials: bool = False) -> Metric:
    """Declare a score from 0 to 1, which is shown in per cent."""
    return Metric(f"{title} (%)", "higher", "percent", trials=trials)


def undeclared(name: str) -> Metric:
    """How a metric is shown that no evaluation has declared: as it is, under its own name."""
    return Metric(name.replace("_", " "))


def as_data(metrics: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
    """The declarations as plain data, for JSON."""
    return {name: asdict(metric) for name, metric in metrics.items()}


def from_data(declared: Mapping[str, Mapping[str, Any]]) -> dict[str, Metric]:
    """The declarations in plain data; ValueError if they are not such."""
    try:
        found = {name: Metric(**{**given, "axis": Axis(**given["axis"])}) for name, given in declared.items()}
        for metric in found.values():
            check_fields(metric)
            check_fields(metric.axis)
        return found
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"`metrics` needs the declaration of each metric by protocol/metric: {error}") from error


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


class Display(NamedTuple):
    """A way to show a mean."""

    shown: Callable[[float], float]
    text: Callable[[float, float | None], str]


def _percent(share: float) -> float:
    return 100 * share


def _percent_text(value: float, spread: float | None) -> str:
    return f"{value:.1f}" + (f" ±{spread:.1f}" if spread is not None else "")


def _plain_text(value: float, spread: float | None) -> str:
    return f"{value:.3g}" + (f" ±{spread:.2g}" if spread is not None else "")


DISPLAYS = {
    "plain": Display(float, _plain_text),
    "percent": Display(_percent, _percent_text),
    "perplexity": Display(exp, perplexity_text),
}
