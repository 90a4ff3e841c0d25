"""The table of claims: what a paper says, its numbers, and on every model ours with the verdict."""

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from lcx_lightning.results.analysis.intervals import LEVEL
from lcx_lightning.results.analysis.verdicts import NOT_TESTED
from lcx_lightning.results.claims import Claim, Paper
from lcx_lightning.results.findings import Finding, findings, models_of, said_of
from lcx_lightning.results.metrics import Metric
from lcx_lightning.results.naming import settings
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.labels import NOT_EVALUATED, pretrain_length
from lcx_lightning.results.report.relative import estimate_with_interval
from lcx_lightning.results.report.tables import Cell, Table

NOTE = (
    "Verdicts: reproduced, if a test rejects that the number is outside of what the statement says; not reproduced, if "
    "one rejects that it is inside; else not distinguishable. One-sided tests at "
    f"{(1 - LEVEL) / 2:.1%}, paired by seed and document: t tests over seeds, or a bootstrap over documents with one "
    "seed. The p-values of a paper's claims on one model are corrected by Holm's method; p is the smaller one of "
    "the two tests of a claim. Of several lengths the least supported one is shown. Intervals are of 95%, each by "
    "itself and not corrected, so one may exclude what its claim cannot."
)
LEAST_P = 0.001


def claims_tables(papers: Sequence[Paper], experiment: Experiment) -> list[Table]:
    """A table for each paper, a column for each model."""
    models = models_of(experiment)
    return [_table(paper, models) for paper in papers]


def verdicts_table(papers: Sequence[Paper], experiment: Experiment) -> Table:
    """One short table of all papers: the claims, and on each model the verdict with its number."""
    models, rows = models_of(experiment), []
    for paper in papers:
        found = [findings(paper.claims, model) for model in models]
        for i, claim in enumerate(paper.claims):
            said = [_text(claim, some[i], model).split("\n") for some, model in zip(found, models, strict=True)]
            cells = [NOT_EVALUATED if verdict == NOT_TESTED else f"{verdict}: {number}" for verdict, number, *_ in said]
            rows.append([Cell(paper.title.partition(" (")[0]), Cell(claim.claim), *map(Cell, cells)])
    return Table("Verdicts", ["paper", "claim", *map(_model_name, models)], rows, [NOTE], sentences=True)


def _table(paper: Paper, models: Sequence[Experiment]) -> Table:
    every = [findings(paper.claims, model) for model in models]
    rows = []
    for i, claim in enumerate(paper.claims):
        cells = [Cell(_text(claim, found[i], model)) for found, model in zip(every, models, strict=True)]
        source = f" ({claim.source})" if claim.source else ""
        rows.append([Cell(f"{claim.claim}{source}"), Cell(_statement(claim, models)), Cell(claim.paper), *cells])
    names = [_model_name(model) for model in models]
    numbers = [
        _number(paper, claim, name, model, found[i])
        for found, name, model in zip(every, names, models, strict=True)
        for i, claim in enumerate(paper.claims)
    ]
    end = "_" + "_".join(re.findall(r"\w+", paper.title.partition(" (")[0].lower()))
    header = ["claim", "statement", "paper", *names]
    return Table(paper.title, header, rows, [NOTE], sentences=True, end=end, numbers=numbers)


def _number(paper: Paper, claim: Claim, name: str, model: Experiment, found: Finding) -> dict[str, Any]:
    """The finding on a claim in full, as a row of a file; `at` is in units of L."""
    said = {"paper": paper.title, "claim": claim.claim, "statement": _statement(claim, [model]), "numbers": claim.paper}
    what = {"model": name, "verdict": found.verdict, "reason": found.reason, "at": found.at, "p": found.p}
    return said | what | (asdict(found.estimate) if found.estimate else {})


def _statement(claim: Claim, models: Sequence[Experiment]) -> str:
    """What is tested, in words."""
    declaring = (model for model in models if any(claim.measure.key in run.metrics for run in model.runs))
    title = next(declaring, models[0]).metric(claim.measure).title
    over = f", {'over' if claim.ratio else 'less'} that of {said_of(claim.against)}" if claim.against else ""
    instead = f", or at {', '.join(f'{at:g}L' for at in claim.or_at)} where these are not measured" * bool(claim.or_at)
    return f"{title} of {said_of(claim.arm)}{over}{instead}: {claim.expect.text}"


def _model_name(model: Experiment) -> str:
    """Name of a model, with its L and what else sets it apart from other models of the table."""
    name, length = settings(model.runs[0].info).get("model", "model"), pretrain_length(model)
    return f"{name} (L = {length:,})" if length else str(name)


def _text(claim: Claim, found: Finding, model: Experiment) -> str:
    if found.estimate is None or found.at is None or found.p is None:
        return f"{NOT_TESTED}\n{found.reason}"
    metric: Metric = model.metric(claim.measure)
    if claim.ratio and claim.against:  # of times and bytes as of perplexities, without a unit
        metric = replace(metric, display="perplexity")
    number = estimate_with_interval(found.estimate, metric, compared=claim.against is not None)
    seeds, documents = found.estimate.n_seeds, found.estimate.n_documents
    n = f"{seeds} seed{'s' * (seeds > 1)}, {documents} document{'s' * (documents > 1)}"
    p = f"p = {found.p:.2g}" if found.p >= LEAST_P else f"p < {LEAST_P}"
    return f"{found.verdict}\n{number} at {found.at:g}L{_among(claim, found.at)}\n{p}, {n}"


def _among(claim: Claim, at: float) -> str:
    """The lengths of a claim on several, where the one that is shown is the least supported."""
    lengths = claim.arm.at if at in claim.arm.at else claim.or_at
    return f", the weakest of {min(lengths):g}L to {max(lengths):g}L" if len(lengths) > 1 else ""
