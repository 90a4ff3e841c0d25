"""What records say of claims: the verdict on each, on every model that has the records for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lcx_lightning.results.analysis.estimates import (
    Estimate,
    Sample,
    estimate,
    paired,
    paired_sample,
    ratio_sample,
    sample,
)
from lcx_lightning.results.analysis.verdicts import NOT_TESTED, Bounds, verdicts
from lcx_lightning.results.claims import Claim, Side
from lcx_lightning.results.comparable import groups_of, parts_of
from lcx_lightning.results.metrics import Metric
from lcx_lightning.results.records import Experiment, Run


@dataclass(frozen=True)
class Finding:
    """What the records of one model say of a claim.

    Attributes:
        verdict: reproduced, not reproduced, not distinguishable, or not tested.
        estimate: The number at the length where the claim is least supported; None if it is not tested.
        at: Length of the estimate in units of L; None if the claim is not tested.
        p: Corrected p-value of the test that came closer to rejecting; None if the claim is not tested.
        reason: Reason why the claim is not tested; empty if it is.
    """

    verdict: str
    estimate: Estimate | None = None
    at: float | None = None
    p: float | None = None
    reason: str = ""


class _Test(NamedTuple):
    """The statistics of a claim: p-values of its statement, and the estimate where it is least supported."""

    inside: float
    outside: float
    estimate: Estimate
    at: float


def findings(claims: Sequence[Claim], part: Experiment) -> list[Finding]:
    """The finding on each claim from runs of one base and corpus, the p-values of those tested corrected together."""
    found = [_tested_somewhere(claim, part) for claim in claims]
    tests = [one for one in found if isinstance(one, _Test)]
    said = iter(verdicts([one.inside for one in tests], [one.outside for one in tests]))
    return [_finding(one, *next(said)) if isinstance(one, _Test) else Finding(NOT_TESTED, reason=one) for one in found]


def _finding(test: _Test, verdict: str, p: float) -> Finding:
    return Finding(verdict, test.estimate, test.at, p)


def models_of(experiment: Experiment) -> list[Experiment]:
    """The parts of an experiment that each are of one base model and one corpus."""
    return parts_of(experiment).parts


def _tested_somewhere(claim: Claim, part: Experiment) -> _Test | str:
    """The statistics of a claim at its lengths, or where these are not measured at those that it names instead."""
    found = _tested(claim, part)
    if isinstance(found, _Test) or not claim.or_at:
        return found
    other = _tested(claim.elsewhere(), part)
    return other if isinstance(other, _Test) else found


def _tested(claim: Claim, part: Experiment) -> _Test | str:
    """The statistics of a claim where it has most seeds and then most documents, or why there are none."""
    sides = [side for side in (claim.arm, claim.against) if side]
    tests, absent, several, words = [], {*range(len(sides))}, "", []
    for group in groups_of(part, claim.measure).parts:
        measured = [run for run in group.runs if run.finished and _measured(run, claim)]
        runs = [[run for run in measured if side.matches(run)] for side in sides]
        arms = [dict.fromkeys(run.arm for run in some) for some in runs]
        several = several or next((", ".join(some) for some in arms if len(some) > 1), "")
        absent -= {i for i, some in enumerate(runs) if some}
        if all(len(some) == 1 for some in arms) and (test := _test(claim, runs, group.metric(claim.measure))):
            tests.append(test)
        words.append(group.part)
    if tests:
        return max(tests, key=lambda test: (test.estimate.n_seeds, test.estimate.n_documents))
    if several:
        return f"several arms could be meant: {several}"
    if absent:
        return f"no records of {said_of(sides[min(absent)])}"
    if len(words) > 1:
        return f"its two sides are in parts that cannot be compared: {' | '.join(words)}"
    return "no records of these lengths, or of seeds and documents that both sides have"


def _test(claim: Claim, runs: Sequence[Sequence[Run]], metric: Metric) -> _Test | None:
    """The statistics of a claim from the runs of its sides; None if they do not have all of its numbers in common."""
    tests = []
    for places in zip(*_places(claim), strict=True):
        rows = [_rows(some, at, claim) for some, at in zip(runs, places, strict=True)]
        if not all(rows) or (len(rows) == 2 and not _in_common(*rows)):
            return None
        found, shown = _statistics(claim, rows, metric)
        bounds = _bounds(claim, metric)
        tests.append(_Test(bounds.p_inside(found), bounds.p_outside(found), shown, places[0]))
    least = max(tests, key=lambda test: test.inside)
    return least._replace(outside=min(1.0, len(tests) * min(test.outside for test in tests)))


def _statistics(claim: Claim, rows: Sequence[list[dict]], metric: Metric) -> tuple[Sample, Estimate]:
    """What is known of the number, difference or ratio that a claim is about, and how it is shown."""
    if len(rows) == 1:
        return sample(rows[0]), estimate(rows[0], metric)
    arm, against = rows
    shown = paired(arm, against, metric)
    if metric.logarithmic or not claim.ratio:  # the difference of nats is the logarithm of a ratio
        return paired_sample(arm, against), shown
    found = ratio_sample(arm, against)
    low, high = found.interval()
    return found, replace(shown, value=math.exp(found.mean), low=math.exp(low), high=math.exp(high))


def _bounds(claim: Claim, metric: Metric) -> Bounds:
    """The bounds of a mean as it is recorded: logarithms of perplexities and of ratios, 0.9 for 90%."""
    logarithmic = metric.display == "perplexity" or (claim.ratio and claim.against is not None)
    bounds = claim.expect.bounds(logarithmic)
    percent = metric.display == "percent" and not logarithmic
    return replace(bounds, least=bounds.least / 100, most=bounds.most / 100) if percent else bounds


def _places(claim: Claim) -> list[list[float]]:
    """The lengths of each side, in units of L."""
    here = list(claim.arm.at)
    if claim.against is None:
        return [here]
    there = list(claim.against.at)
    return [here, there * len(here) if len(there) == 1 else there]


def _measured(run: Run, claim: Claim) -> bool:
    return any((row["protocol"], row["metric"]) == claim.measure for row in run.rows)


def _rows(runs: Sequence[Run], at: float, claim: Claim) -> list[dict]:
    rows = [(row, at * run.info["pretrain_length"]) for run in runs for row in run.rows]
    return [row for row, n in rows if (row["protocol"], row["metric"]) == claim.measure and row["context_length"] == n]


def _in_common(rows: list[dict], others: list[dict]) -> set[tuple]:
    """The seeds and documents that both have."""
    first, second = ({(row["seed"], row.get("dataset"), row["document"]) for row in some} for some in (rows, others))
    return first & second


def said_of(side: Side) -> str:
    """An arm and its lengths, in words."""
    trained = "zero-shot" if side.trained_at is None else f"trained at {side.trained_at:g}L"
    settings = [f"{key.rpartition('.')[2]}={value}" for key, value in (side.settings or {}).items()]
    return " ".join([side.method, *settings, f"({trained})", "at", ", ".join(f"{at:g}L" for at in side.at)])
