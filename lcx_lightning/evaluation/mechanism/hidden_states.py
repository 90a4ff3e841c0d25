"""Position in hidden states: what tells first tokens from later ones (LM-Infinite, arXiv:2308.16137, section 3.4)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Reading, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, rows_at_once
from lcx_lightning.evaluation.mechanism.sampling import evenly_spaced, with_last

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PLANE = 2  # principal components, as the paper's figure shows


class HiddenStates(AtMultiples):
    """How much of the variance of a layer's hidden states is position, at a sample of places in all windows together.

    Protocol `hidden_states`, each number a share of variance. `position`: what differs between places, over windows of
    different text, corrected for chance (epsilon squared): 0 if text is all that differs, 1 if place is.
    `plane`: what the two leading principal components hold. `first_tokens`: within that plane, what differs between
    the first tokens and the others, as the paper's figure shows; 1 if they are two points.

    BOS is left out: it is the same in every window, and told by its own token, not by its place.

    Args:
        multiples: Context lengths in units of the pretraining length L.
        first_tokens: Places after BOS that are looked at, all of them.
        later_tokens: Places after those, drawn at random.
        layers: Evenly spread, the first and the last among them; hidden states are what a layer hands on.
        windows: At least 2, of different documents as far as those reach.
        split: Of the corpus: test for results, validation for choosing recipes.
        seed: Of the choice of windows and of places.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there is nothing to compare.
    """

    def __init__(
        self,
        *,
        multiples: Sequence[float],
        first_tokens: int,
        later_tokens: int,
        layers: int,
        windows: int,
        split: str,
        seed: int,
        batch_tokens: int,
    ) -> None:
        if not multiples or min(multiples) <= 0 or min(first_tokens, later_tokens, layers) < 1 or windows < 2:
            raise ValueError(
                "Hidden states need multiples of the pretraining length, first_tokens, later_tokens and layers >= 1 "
                f"and windows >= 2, got multiples={list(multiples)}, {first_tokens=}, {later_tokens=}, {layers=}, "
                f"{windows=}."
            )
        self._multiples, self._first, self._later = sorted(multiples), first_tokens, later_tokens
        self._layers, self._windows, self._split = layers, windows, split
        self._seed, self._batch_tokens = seed, batch_tokens

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        lengths = self.lengths(pretrain_length)
        if lengths[0] < 1 + self._first + self._later:
            raise ValueError(
                f"Every context must hold BOS, {self._first} first and {self._later} later tokens, but the shortest "
                f"has {lengths[0]} tokens. Lower later_tokens, or raise the least of multiples."
            )
        windows = data.evaluation_windows(self._split, lengths[-1], self._windows, self._seed)
        return [
            WorkUnit([self._row(data, n, 0, "position")], partial(self._compute, data=data, windows=windows, length=n))
            for n in self.served(pretrain_length, max_context)
        ]

    def readings(self, pretrain_length: int, max_context: int | None) -> list[Reading]:
        return [
            Reading(self._windows, n, rows_at_once(self._windows, n, self._batch_tokens), None)
            for n in self.served(pretrain_length, max_context)
        ]

    def _row(self, data: LongContextData, length: int, layer: int, metric: str) -> Record:
        return {
            "evaluation": "hidden_states",
            "protocol": "hidden_states",
            "dataset": f"{data.corpus.name}/{self._split}",
            "document": f"{self._windows} windows",
            "window": None,
            "context_length": length,
            "layer": layer,
            "first_tokens": self._first,
            "later_tokens": self._later,
            "metric": metric,
            "n": 1,
        }

    @torch.no_grad()
    def _compute(
        self, model: "PreTrainedModel", data: LongContextData, windows: list[Window], length: int
    ) -> list[Record]:
        later = np.random.default_rng([self._seed, length]).choice(length - 1 - self._first, self._later, replace=False)
        places = torch.cat([torch.arange(self._first), self._first + torch.from_numpy(np.sort(later))]) + 1
        layers = evenly_spaced(self._layers, model.config.num_hidden_layers)
        with states_of(model, layers, places.to(model.device)) as states:
            for some in batches(windows, length, self._batch_tokens):
                model.base_model(input_ids=data.window_ids(some, length).to(model.device), use_cache=False)
        first = torch.arange(len(places)) < self._first
        rows = [
            self._row(data, length, layer, metric) | {"value": value}
            for layer in layers
            for metric, value in shares(torch.cat(states[layer]), first).items()
        ]
        return with_last(rows, [self._row(data, length, 0, "position")])


@contextmanager
def states_of(
    model: "PreTrainedModel", layers: list[int], places: Int[Tensor, " places"]
) -> Iterator[dict[int, list[Float[Tensor, "rows places features"]]]]:
    """Collect by layer what it hands on at some places, float64 in main memory, of every pass inside this context."""
    found, modules = defaultdict(list), list(model.base_model.get_submodule("layers").children())

    def keep(layer: int, _module: Any, _args: Any, out: Any) -> None:
        hidden = out if isinstance(out, Tensor) else out[0]
        found[layer].append(hidden[:, places].double().cpu())

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(modules[layer].register_forward_hook(partial(keep, layer)).remove)
        yield found


def shares(states: Float[Tensor, "windows places features"], first: Bool[Tensor, " places"]) -> dict[str, float]:
    """Return the shares of variance that HiddenStates describes.

    epsilon squared is (between - (places - 1) / (places (windows - 1)) within) / total, of sums of squares: the share
    between places less what chance would put there.
    """
    windows, places, _ = states.shape
    centred = states - states.mean(dim=(0, 1))
    total = centred.square().sum()
    within = (states - states.mean(dim=0)).square().sum()
    between = total - within
    chance = (places - 1) / (places * (windows - 1)) * within
    u, values, _ = torch.linalg.svd(centred.flatten(0, 1), full_matrices=False)
    plane = (u[:, :PLANE] * values[:PLANE]).view(windows, places, -1)
    apart = sum(
        part.shape[1] * windows * part.mean(dim=(0, 1)).square().sum() for part in (plane[:, first], plane[:, ~first])
    )
    return {
        "position": float((between - chance) / total),
        "plane": float(values[:PLANE].square().sum() / total),
        "first_tokens": float(apart / plane.square().sum()),
    }
