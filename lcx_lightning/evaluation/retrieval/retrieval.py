"""Retrieval: prompts that ask for something hidden in a long context, by length of the context and place in it."""

import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby, product
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Le, MinLen
from pydantic import NonNegativeInt, PositiveInt

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, one_batch
from lcx_lightning.evaluation.retrieval.answer_likelihood import given_answers
from lcx_lightning.evaluation.retrieval.prompts.base import Place, Prompt, RetrievalTask
from lcx_lightning.models.generation import continuations
from lcx_lightning.results.metrics import Metric, percentage, perplexity
from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.kinds import Share

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Many = Annotated[int, Ge(1), Le(10_000)]
"""Number of places, or of prompts at each."""

MICRO = 1_000_000  # a seed is made of integers: depths are rounded to millionths


class Trial(NamedTuple):
    """One prompt of a task."""

    task: str
    length: int  # tokens of the prompt with the room for its answer
    place: Place
    number: int

    @property
    def name(self) -> str:
        """Name by which the trials of arms are paired."""
        depth, distance = self.place
        place = [f"depth {depth:.3g}"] if depth is not None else []
        place += [f"distance {distance}"] if distance is not None else []
        return ", ".join([self.task, *place, f"trial {self.number}"])


class Retrieval(AtMultiples):
    """Tasks that are asked in contexts of several lengths, with the needle at several places, several times each.

    A prompt with the room for its answer has exactly as many tokens as the context length, BOS first. An answer
    is scored in one of two ways, named by `scored` in the details of its rows. `exact`: the answer is right if greedy
    generation gives all of its tokens, metric `accuracy`, 0 or 1; its negative log-likelihood comes from the same
    passes, metric `nll`. `contains`: greedy generation fills the room, and its `accuracy` is the share of the wanted
    strings that its text contains, ignoring case, as in RULER (arXiv:2404.06654). Prompts depend on nothing but the
    data, the seed, the task, the length, the place and the number of the trial.

    Args:
        protocol: Name of the protocol in records.
        tasks: Tasks by name.
        multiples: Context lengths in units of the pretraining length L.
        depths: Shares of the text before the needle. None if `distances` are given, or to draw places at random.
        distances: Number of distances from the needle to the end: the multiples of the length divided by this number
            (32 in Position Interpolation, arXiv:2306.15595, section 3.3). None if depths are given, or to draw places
            at random.
        trials: Number of prompts of each task at each place.
        seed: Seed for drawing the prompts.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there is nothing to ask, or both depths and distances are given.
    """

    @checked
    def __init__(
        self,
        *,
        protocol: str,
        tasks: Annotated[Mapping[str, RetrievalTask], MinLen(1)],
        multiples: Multiples,
        depths: Annotated[Sequence[Share], MinLen(1)] | None,
        distances: Many | None,
        trials: Many,
        seed: NonNegativeInt,
        batch_tokens: PositiveInt,
    ) -> None:
        if depths and distances:
            raise ValueError(f"Needles stand at depths or at distances, not at both, got {depths=}, {distances=}.")
        self._protocol, self._tasks, self._multiples = protocol, dict(tasks), sorted(multiples)
        self._depths, self._distances = depths, distances
        self._trials, self._seed, self._batch_tokens = trials, seed, batch_tokens

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        served = self.served(pretrain_length, max_context)
        for name in self._tasks if served else ():
            for place in self._places(served[0]):  # the tightest
                self._prompt(data, Trial(name, served[0], place, 0))
        work_units = []
        for length, name in product(served, self._tasks):
            trials = [Trial(name, length, p, n) for p in self._places(length) for n in range(self._trials)]
            for batch in batches(trials, length, self._batch_tokens):
                rows = [self._row(data, trial, metric) for trial in batch for metric in self._metrics(trial)]
                compute = partial(self._compute, data=data, trials=batch)
                work_units.append(WorkUnit(rows, compute, one_batch(batch, length, length)))
        return work_units

    def metrics(self) -> dict[str, Metric]:
        declared = {"accuracy": percentage("accuracy", trials=True), "nll": perplexity()}
        return {f"{self._protocol}/{name}": metric for name, metric in declared.items()}

    def _places(self, length: int) -> list[Place]:
        if self._depths:
            return [Place(depth=depth) for depth in self._depths]
        if self._distances:
            return [Place(distance=round(length * i / self._distances)) for i in range(1, self._distances + 1)]
        return [Place()]

    def _prompt(self, data: LongContextData, trial: Trial) -> Prompt:
        depth, distance = trial.place
        place = [round(depth * MICRO) if depth is not None else 0, distance or 0]
        name = zlib.crc32(trial.task.encode())
        rng = np.random.default_rng([self._seed, name, trial.length, *place, trial.number])
        task = self._tasks[trial.task]
        try:
            prompt = task.prompt(data, trial.length - data.ahead + 1, trial.place, rng)
        except ValueError as error:
            raise ValueError(f"{self._protocol}, {trial.task}: {error}") from error
        if task.room is not None and task.room < len(prompt.answer):
            raise ValueError(
                f"{self._protocol}, {trial.task}: the answer has {len(prompt.answer)} tokens with this tokenizer, and "
                f"room={task.room} keeps fewer for it. Raise room."
            )
        return prompt

    def _metrics(self, trial: Trial) -> tuple[str, ...]:
        return ("accuracy", "nll") if self._tasks[trial.task].room is None else ("accuracy",)

    def _row(self, data: LongContextData, trial: Trial, metric: str) -> Record:
        task = self._tasks[trial.task]
        place = {name: value for name, value in trial.place._asdict().items() if value is not None}
        return {
            "evaluation": "retrieval",
            "protocol": self._protocol,
            "dataset": f"{data.corpus.name}/{task.split}" if task.split else "generated",
            "document": trial.name,
            "context_length": trial.length,
            "metric": metric,
            "at": {"task": trial.task, **place, "trial": trial.number},
            "details": {"asks": task.asks, "scored": "exact" if task.room is None else "contains"},
        }

    def _compute(self, model: "PreTrainedModel", data: LongContextData, trials: list[Trial]) -> list[Record]:
        asked = [(trial, self._prompt(data, trial)) for trial in trials]
        rows = []
        for _, group in groupby(sorted(asked, key=_tokens), key=_tokens):
            rows += self._answered(model, data, list(group))
        found = {(row["document"], row["metric"]): row for row in rows}
        return [found[trial.name, metric] for trial in trials for metric in self._metrics(trial)]

    def _answered(
        self, model: "PreTrainedModel", data: LongContextData, asked: list[tuple[Trial, Prompt]]
    ) -> list[Record]:
        """Return the rows of prompts of one length, to answers of one length."""
        ids = _stacked([prompt.ids for _, prompt in asked]).to(model.device)
        room, rows = self._tasks[asked[0][0].task].room, []
        if room is None:
            answers = _stacked([prompt.answer for _, prompt in asked]).to(model.device)
            losses, right = given_answers(model, ids, answers)
            nats, correct = losses.cpu().double().sum(dim=1).tolist(), right.all(dim=1).tolist()
            for (trial, _), nll, hit in zip(asked, nats, correct, strict=True):
                rows.append(self._row(data, trial, "accuracy") | {"value": float(hit), "n": 1})
                rows.append(self._row(data, trial, "nll") | {"value": nll, "n": answers.shape[1]})
            return rows
        answers = continuations(model, ids.tolist(), room, chunk=ids.shape[1])
        for (trial, prompt), answer in zip(asked, answers, strict=True):
            share = contained(prompt.wanted, data.tokens.decode(answer))
            rows.append(self._row(data, trial, "accuracy") | {"value": share, "n": 1})
        return rows


def contained(wanted: Sequence[str], text: str) -> float:
    """Return the share of the wanted strings that a text contains, ignoring case."""
    return sum(one.lower() in text.lower() for one in wanted) / len(wanted)


def _tokens(asked: tuple[Trial, Prompt]) -> int:
    return len(asked[1].ids)


def _stacked(rows: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(rows))
