"""Statistics of records: a metric with an interval over seeds or over documents, and paired comparisons."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from lcx_lightning.results.analysis.intervals import LEVEL, t_interval, t_p_value, wilson
from lcx_lightning.results.metrics import Measure, Metric
from lcx_lightning.results.records import Experiment

RESAMPLES = 1000  # draws of every bootstrap


@dataclass(frozen=True)
class Estimate:
    """A number as its metric is shown, or a comparison of two, with its 95% interval.

    low and high are nan if nothing can be resampled. n_documents counts distinct documents, n_scored the tokens or
    trials over all seeds.
    """

    value: float
    low: float
    high: float
    n_seeds: int
    n_documents: int
    n_scored: int


@dataclass(frozen=True)
class Sample:
    """What is known of a mean: the mean of each seed and, with one seed, draws of a bootstrap over its documents."""

    by_seed: list[float]
    draws: np.ndarray | None = None

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.by_seed))

    def interval(self) -> tuple[float, float]:
        """A t interval over seeds, or that of the bootstrap; nan if nothing can be resampled."""
        if len(self.by_seed) > 1:
            return t_interval(self.by_seed)
        return (math.nan, math.nan) if self.draws is None else _quantiles(self.draws)

    def p_above(self, bound: float) -> float:
        """The p-value of the mean being above a bound: how likely such a sample is where it is not; 1 if unknown."""
        if len(self.by_seed) > 1:
            return t_p_value(np.asarray(self.by_seed) - bound)
        if self.draws is None or not np.isfinite(self.draws).all():
            return 1.0
        return (1 + int((self.draws <= bound).sum())) / (1 + len(self.draws))

    def p_below(self, bound: float) -> float:
        """The p-value of the mean being below a bound."""
        return replace(self, by_seed=[-x for x in self.by_seed], draws=_negative(self.draws)).p_above(-bound)


def score(rows: Iterable[dict], metric: Metric) -> float:
    """The mean of the rows of one metric, as it is shown: for NLL exp(sum of nats / number of tokens).

    Raises:
        ValueError: If nothing was scored, or the rows are of several metrics.
    """
    _, per_seed = _sums(rows)
    every = [sums for documents in per_seed.values() for sums in documents.values()]
    return metric.shown(sum(value for value, _ in every) / sum(n for _, n in every))


def estimate(rows: Iterable[dict], metric: Metric) -> Estimate:
    """The mean of the rows of one arm, measure and length, with its interval.

    With several seeds it is the mean over seeds of the mean per token (or trial), shown as the metric is (for NLL the
    geometric mean of perplexities), and a t interval of the same mean. With one seed the interval is a bootstrap over
    documents, or Wilson's (1927) if each document is one trial that failed or succeeded.

    Raises:
        ValueError: If nothing was scored, or the rows are of several metrics.
    """
    _, per_seed = _sums(rows)
    found, first = _sample(per_seed), _arrays(next(iter(per_seed.values())))
    low, high = found.interval()
    if found.draws is not None and metric.trials and _are_trials(first):
        low, high = wilson(*first.sum(axis=1).tolist())
    return _estimate(metric.shown, found.mean, low, high, list(per_seed.values()))


def sample(rows: Iterable[dict]) -> Sample:
    """What is known of the mean of the rows of one arm, measure and length."""
    return _sample(_sums(rows)[1])


def paired(rows_a: Iterable[dict], rows_b: Iterable[dict], metric: Metric) -> Estimate:
    """a against b on the (seed, document) pairs that both have: for NLL the perplexity of a over that of b, below 1 if
    a is better; for other metrics a minus b, as shown.

    With several seeds a t interval of the mean difference over seeds, else a bootstrap that draws the same documents
    for both. Counts of documents and of what was scored are a's, after pairing.

    Raises:
        ValueError: If they share no seed and document, or differ in metric.
    """
    a, b = _paired(rows_a, rows_b)
    return _difference(metric, a, b, draw_of_b=0)


def paired_sample(rows_a: Iterable[dict], rows_b: Iterable[dict]) -> Sample:
    """What is known of the mean of a minus b, on the (seed, document) pairs that both have; of NLL, in nats.

    Raises:
        ValueError: As `paired`.
    """
    return _difference_sample(*_paired(rows_a, rows_b))


def ratio_sample(rows_a: Iterable[dict], rows_b: Iterable[dict]) -> Sample:
    """What is known of the logarithm of the mean of a over that of b, on the pairs that both have; nan unless above 0.

    Raises:
        ValueError: As `paired`.
    """
    a, b = _paired(rows_a, rows_b)
    logs = [{seed: _log(x) for seed, x in one.items()} for one in (a, b)]
    found = [logs[0][seed] - logs[1][seed] for seed in a]
    if len(found) > 1 or min(len(next(iter(one.values()))) for one in (a, b)) == 1:
        return Sample([float(x) for x in found])
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = [np.log(_resampled(_arrays(next(iter(one.values()))))) for one in (a, b)]
    return Sample([float(x) for x in found], draws[0] - draws[1])


def _log(documents: dict[tuple, tuple[float, int]]) -> float:
    mean = _mean(documents)
    return math.log(mean) if mean > 0 else math.nan


def _paired(rows_a: Iterable[dict], rows_b: Iterable[dict]) -> tuple[dict[int, dict], dict[int, dict]]:
    """The sums of both by seed and document, of the pairs that both have."""
    (name, a), (other, b) = _sums(rows_a), _sums(rows_b)
    common = {seed: a[seed].keys() & b[seed].keys() for seed in sorted(a.keys() & b.keys())}
    common = {seed: documents for seed, documents in common.items() if documents}
    if not common or name != other:
        raise ValueError(
            f"Rows of one metric that share a seed and a document are needed for a comparison; {name} of seeds "
            f"{sorted(a)} and {other} of seeds {sorted(b)} share none. Evaluate both arms with the same seeds and data."
        )
    a, b = (
        {seed: {key: sums for key, sums in x[seed].items() if key in keys} for seed, keys in common.items()}
        for x in (a, b)
    )
    return a, b


def unpaired(rows_a: Iterable[dict], rows_b: Iterable[dict], metric: Metric) -> Estimate:
    """As `paired`, for rows that share seeds but no documents: the documents of a and b are drawn separately."""
    (_, a), (_, b) = _sums(rows_a), _sums(rows_b)
    common = sorted(a.keys() & b.keys())
    return _difference(metric, {seed: a[seed] for seed in common}, {seed: b[seed] for seed in common}, draw_of_b=1)


def _difference(metric: Metric, a: dict[int, dict], b: dict[int, dict], draw_of_b: int) -> Estimate:
    """a minus b, for the same seeds; with `draw_of_b` 0 the same documents are drawn for both."""
    found = _difference_sample(a, b, draw_of_b)
    return _estimate(metric.shown, found.mean, *found.interval(), list(a.values()))


def _sample(per_seed: dict[int, dict]) -> Sample:
    means, first = [_mean(documents) for documents in per_seed.values()], _arrays(next(iter(per_seed.values())))
    return Sample(means, None if len(means) > 1 or first.shape[1] == 1 else _resampled(first))


def _difference_sample(a: dict[int, dict], b: dict[int, dict], draw_of_b: int = 0) -> Sample:
    """What is known of the mean of a minus b, for the same seeds."""
    differences, seed = [_mean(a[seed]) - _mean(b[seed]) for seed in a], next(iter(a))
    if len(a) > 1 or min(len(a[seed]), len(b[seed])) == 1:
        return Sample(differences)
    with np.errstate(invalid="ignore"):
        return Sample(differences, _resampled(_arrays(a[seed])) - _resampled(_arrays(b[seed]), draw_of_b))


def arm_rows(experiment: Experiment, arm: str, measure: Measure) -> list[dict]:
    """Rows of a measure from the arm's finished runs, or from the unfinished ones if no run has finished.

    If numbers do not stand by context length, only those of the longest context. Unfinished runs have read only a part
    of the documents, so their numbers are never averaged with those of finished runs.
    """
    return experiment.once(("arm_rows", arm, measure), lambda: _arm_rows(experiment, arm, measure))


def _arm_rows(experiment: Experiment, arm: str, measure: Measure) -> list[dict]:
    runs = experiment.runs_of(arm)
    runs = [run for run in runs if run.finished] or runs
    rows = [row for run in runs for row in run.rows if (row["protocol"], row["metric"]) == measure]
    longest = max((row["context_length"] for row in rows), default=0)
    if experiment.metric(measure).axis.key == "context_length":
        return rows
    return [row for row in rows if row["context_length"] == longest]


def rows_by_place(experiment: Experiment, arm: str, measure: Measure) -> dict[float, list[dict]]:
    """The rows of `arm_rows` by their place on the axis of the measure, ascending."""
    return experiment.once(("rows_by_place", arm, measure), lambda: _rows_by_place(experiment, arm, measure))


def _rows_by_place(experiment: Experiment, arm: str, measure: Measure) -> dict[float, list[dict]]:
    found, metric = dict[float, list[dict]](), experiment.metric(measure)
    for row in arm_rows(experiment, arm, measure):
        found.setdefault(metric.place(row), []).append(row)
    return {place: found[place] for place in sorted(found)}


def estimates(experiment: Experiment, measure: Measure) -> dict[tuple[str, float], Estimate]:
    """The measure by (arm, place on its axis), arms in the order of the grid and places ascending."""
    return experiment.once(("estimates", measure), lambda: _estimates(experiment, measure))


def _estimates(experiment: Experiment, measure: Measure) -> dict[tuple[str, float], Estimate]:
    metric = experiment.metric(measure)
    return {
        (arm, place): estimate(rows, metric)
        for arm in experiment.arms()
        for place, rows in rows_by_place(experiment, arm, measure).items()
    }


def _sums(rows: Iterable[dict]) -> tuple[str, dict[int, dict[tuple, tuple[float, int]]]]:
    """The metric, and {seed: {document: (value, n)}}: the windows of a document are one unit, being alike.

    Documents are in an order that does not depend on that of the rows, so that draws of them do not either.
    """
    sums: dict[int, dict[tuple, tuple[float, int]]] = {}
    names = set()
    for row in rows:
        if row["n"]:
            names.add(row["metric"])
            documents = sums.setdefault(row["seed"], {})
            key = (row.get("dataset"), row["document"])
            value, n = documents.get(key, (0.0, 0))
            documents[key] = (value + row["value"], n + row["n"])
    if len(names) != 1:
        raise ValueError(
            f"At least one scored token or trial of one metric is needed; these rows hold {sorted(names)}."
        )
    return names.pop(), {seed: {key: found[key] for key in sorted(found, key=str)} for seed, found in sums.items()}


def _mean(documents: dict[tuple, tuple[float, int]]) -> float:
    values, counts = _arrays(documents)
    return float(values.sum() / counts.sum())


def _arrays(documents: dict[tuple, tuple[float, int]]) -> np.ndarray:
    """Values and counts per document (2, documents)."""
    return np.array([*documents.values()], dtype=np.float64).T


def _resampled(sums: np.ndarray, seed: int = 0) -> np.ndarray:
    """Means of RESAMPLES draws of the documents with replacement; the same draws for the same number and seed."""
    counts = _draws(sums.shape[1], seed)
    with np.errstate(invalid="ignore"):  # a model that diverged has infinite NLL, and its interval is nan
        return (counts @ sums[0]) / (counts @ sums[1])


@lru_cache(maxsize=8)
def _draws(n_documents: int, seed: int) -> np.ndarray:
    """How often each of RESAMPLES draws with replacement holds each document (RESAMPLES, documents)."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(n_documents, np.full(n_documents, 1 / n_documents), size=RESAMPLES)
    return counts.astype(np.float64)  # for a product by BLAS; counts are whole numbers in it


def _quantiles(draws: np.ndarray) -> tuple[float, float]:
    with np.errstate(invalid="ignore"):  # a model that diverged has infinite NLL, and its interval is nan
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return low, high


def _negative(draws: np.ndarray | None) -> np.ndarray | None:
    return None if draws is None else -draws


def _are_trials(sums: np.ndarray) -> bool:
    """Whether every document is one trial with the outcome 0 or 1: a bootstrap of few may draw but one kind."""
    return bool((sums[1] == 1).all() and np.isin(sums[0], (0, 1)).all())


def _estimate(shown: Callable[[float], float], mean: float, low: float, high: float, per_seed: list[dict]) -> Estimate:
    """The estimate of a mean with the ends of its interval, as it is shown."""
    n_documents = len(set().union(*per_seed))
    n_scored = sum(n for documents in per_seed for _, n in documents.values())
    return Estimate(shown(mean), shown(low), shown(high), len(per_seed), n_documents, n_scored)
