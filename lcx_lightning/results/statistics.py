"""Statistics of records: perplexity with an interval over seeds or over documents, and paired ratios."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lcx_lightning.results.records import Experiment

LEVEL = 0.95  # of every interval
RESAMPLES = 1000  # of every bootstrap


@dataclass(frozen=True)
class Estimate:
    """A perplexity, or a ratio of two, with its 95% interval; low and high are nan where nothing can be resampled.

    n_documents counts distinct documents, n_tokens the tokens scored over all seeds.
    """

    value: float
    low: float
    high: float
    n_seeds: int
    n_documents: int
    n_tokens: int


def perplexity(rows: Iterable[dict]) -> float:
    """exp(sum of nats / number of tokens) over all rows of NLL."""
    rows = [row for row in rows if row["metric"] == "nll"]
    n_tokens = sum(row["n"] for row in rows)
    if not n_tokens:
        raise ValueError("At least one scored token is needed for a perplexity; these rows hold none.")
    return _exp(sum(row["value"] for row in rows) / n_tokens)


def estimate(rows: Iterable[dict]) -> Estimate:
    """Perplexity of the rows of one arm, protocol and length, with its interval.

    With several seeds it is exp(mean over seeds of NLL per token), the geometric mean of their perplexities, and a t
    interval of the same mean. With one seed the interval is a bootstrap over documents.
    """
    per_seed = _sums(rows)
    if not per_seed:
        raise ValueError("At least one scored token is needed for a perplexity; these rows hold none.")
    means = [_mean_nll(documents) for documents in per_seed.values()]
    draws = _resampled(_arrays(next(iter(per_seed.values())))) if len(per_seed) == 1 else None
    return _estimate(means, draws, list(per_seed.values()))


def paired_ratio(rows_a: Iterable[dict], rows_b: Iterable[dict]) -> Estimate:
    """Perplexity of a over perplexity of b on the (seed, document) pairs that both have; below 1, a is better.

    With several seeds a t interval of the mean difference of NLL over seeds, else a bootstrap that draws the same
    documents for both. Counts of documents and tokens are a's, after pairing.
    """
    a, b = _sums(rows_a), _sums(rows_b)
    common = {seed: a[seed].keys() & b[seed].keys() for seed in sorted(a.keys() & b.keys())}
    common = {seed: documents for seed, documents in common.items() if documents}
    if not common:
        raise ValueError(
            f"Rows that share a seed and a document are needed for a paired ratio; seeds {sorted(a)} and {sorted(b)} "
            "share none. Evaluate both arms with the same seeds and data."
        )
    a, b = ({seed: {key: x[seed][key] for key in keys} for seed, keys in common.items()} for x in (a, b))
    differences = [_mean_nll(a[seed]) - _mean_nll(b[seed]) for seed in common]
    seed = next(iter(common))
    draws = _resampled(_arrays(a[seed])) - _resampled(_arrays(b[seed])) if len(common) == 1 else None
    return _estimate(differences, draws, list(a.values()))


def arm_rows(experiment: Experiment, arm: str, protocol: str) -> list[dict]:
    """Rows of NLL of the arm's finished runs, or of the unfinished ones where no run has finished.

    Unfinished runs have read a part of the documents only, so their numbers are never averaged with finished ones.
    """
    runs = experiment.runs_of(arm)
    runs = [run for run in runs if run.finished] or runs
    return [row for run in runs for row in run.rows if row["metric"] == "nll" and row["protocol"] == protocol]


def estimates(experiment: Experiment, protocol: str) -> dict[tuple[str, int], Estimate]:
    """Perplexity per (arm, context length), arms in the order of the grid and lengths ascending."""
    result = {}
    for arm in experiment.arms():
        rows = arm_rows(experiment, arm, protocol)
        for length in sorted({row["context_length"] for row in rows}):
            result[arm, length] = estimate(row for row in rows if row["context_length"] == length)
    return result


def _sums(rows: Iterable[dict]) -> dict[int, dict[tuple, tuple[float, int]]]:
    """{seed: {document: (nats, tokens)}}: the windows of a document are one unit, being alike."""
    sums: dict[int, dict[tuple, tuple[float, int]]] = {}
    for row in rows:
        if row["metric"] == "nll" and row["n"]:
            documents = sums.setdefault(row["seed"], {})
            key = (row.get("dataset"), row["document"])
            nats, tokens = documents.get(key, (0.0, 0))
            documents[key] = (nats + row["value"], tokens + row["n"])
    return sums


def _mean_nll(documents: dict[tuple, tuple[float, int]]) -> float:
    nats, tokens = _arrays(documents)
    return float(nats.sum() / tokens.sum())


def _arrays(documents: dict[tuple, tuple[float, int]]) -> np.ndarray:
    """Nats and tokens per document (2, documents), in an order that does not depend on that of the rows."""
    return np.array([documents[key] for key in sorted(documents, key=str)], dtype=np.float64).T


def _resampled(sums: np.ndarray) -> np.ndarray:
    """NLL per token of RESAMPLES draws of the documents with replacement; the same draws for the same number."""
    n_documents = sums.shape[1]
    generator = np.random.default_rng(0)
    counts = generator.multinomial(n_documents, np.full(n_documents, 1 / n_documents), size=RESAMPLES)
    with np.errstate(invalid="ignore"):  # a model that diverged has infinite NLL, and its interval is nan
        return (counts @ sums[0]) / (counts @ sums[1])


def _estimate(means: list[float], draws: np.ndarray | None, per_seed: list[dict]) -> Estimate:
    """The estimate whose logarithm is the mean of `means`; draws are those of the bootstrap, None for a t interval."""
    mean = float(np.mean(means))
    n_documents = len(set().union(*per_seed))
    if draws is None:
        with np.errstate(invalid="ignore"):
            half = _t_quantile(len(means) - 1) * float(np.std(means, ddof=1)) / math.sqrt(len(means))
        low, high = mean - half, mean + half
    elif n_documents == 1:
        low = high = math.nan
    else:
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    n_tokens = sum(tokens for documents in per_seed for _, tokens in documents.values())
    return Estimate(_exp(mean), _exp(low), _exp(high), len(means), n_documents, n_tokens)


def _t_quantile(freedom: int) -> float:
    from scipy.special import stdtrit  # 0.5 s that `import lcx_lightning.results` should not cost

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf
