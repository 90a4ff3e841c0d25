"""Position in hidden states: how first tokens differ from later ones (LM-Infinite, arXiv:2308.16137, section 3.4)."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from jaxtyping import Bool, Float, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Reading, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, rows_at_once
from lcx_lightning.evaluation.mechanism.sampling import evenly_spaced, with_last
from lcx_lightning.results.metrics import Metric
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PLANE = 2  # principal components, as the paper's figure shows
METRICS = {
    "hidden_states/position": Metric("share of position in variance"),
    "hidden_states/plane": Metric("share of the leading plane in variance"),
    "hidden_states/first_tokens": Metric("share of first against later tokens in the variance of the leading plane"),
}


class HiddenStates(AtMultiples):
    """How much of the variance of a layer's hidden states is due to position, at sampled positions of all windows.

    Protocol `hidden_states`; each number is a share of variance. `position`: the variance between positions, over
    windows of different text, corrected for chance (epsilon squared): 0 if only the text matters, 1 if only the
    position does. `plane`: the variance of the two leading principal components. `first_tokens`: within that plane, the
    variance between the first tokens and the others, as the paper's figure shows; 1 if they are two points.

    BOS is left out: it is the same in every window, and known by its own token, not by its position.

    Args:
        multiples: Context lengths in units of the pretraining length L.
        first_tokens: Number of positions after BOS, all of which are used.
        later_tokens: Number of positions after those, drawn at random.
        layers: Number of layers, evenly spaced, with the first and the last among them. Hidden states are their output.
        windows: Number of windows, at least 2, from different documents as far as there are enough.
        split: Split of the corpus: test for results, validation for choosing recipes.
        seed: Seed for choosing the windows and the positions.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there is nothing to compare.
    """

    @checked
    def __init__(
        self,
        *,
        multiples: Multiples,
        first_tokens: PositiveInt,
        later_tokens: PositiveInt,
        layers: PositiveInt,
        windows: Annotated[int, Ge(2)],
        split: Split,
        seed: NonNegativeInt,
        batch_tokens: PositiveInt,
    ) -> None:
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
        return [self._work_unit(data, windows, length) for length in self.served(pretrain_length, max_context)]

    def metrics(self) -> dict[str, Metric]:
        return METRICS

    def _work_unit(self, data: LongContextData, windows: list[Window], length: int) -> WorkUnit:
        rows = [self._row(data, length, 0, "position")]
        at_once = rows_at_once(len(windows), length, self._batch_tokens)
        compute = partial(self._compute, data=data, windows=windows, length=length, known=rows)
        return WorkUnit(rows, compute, [Reading(len(windows), length, at_once, None)])

    def _row(self, data: LongContextData, length: int, layer: int, metric: str) -> Record:
        return {
            "evaluation": "hidden_states",
            "protocol": "hidden_states",
            "dataset": f"{data.corpus.name}/{self._split}",
            "document": f"{self._windows} windows",
            "context_length": length,
            "metric": metric,
            "n": 1,
            "at": {"layer": layer, "first_tokens": self._first},
            "details": {"later_tokens": self._later},
        }

    @torch.no_grad()
    def _compute(
        self, model: "PreTrainedModel", data: LongContextData, windows: list[Window], length: int, known: list[Record]
    ) -> list[Record]:
        later = np.random.default_rng([self._seed, length]).choice(length - 1 - self._first, self._later, replace=False)
        places = torch.cat([torch.arange(self._first), self._first + torch.from_numpy(np.sort(later))]) + 1
        layers = evenly_spaced(self._layers, model.config.num_hidden_layers)
        with states_of(model, layers, places.to(model.device)) as states:
            for batch in batches(windows, length, self._batch_tokens):
                model.base_model(input_ids=data.window_ids(batch, length).to(model.device), use_cache=False)
        first = torch.arange(len(places)) < self._first
        rows = [
            self._row(data, length, layer, metric) | {"value": value}
            for layer in layers
            for metric, value in shares(torch.cat(states[layer]), first).items()
        ]
        return with_last(rows, known)


@contextmanager
def states_of(
    model: "PreTrainedModel", layers: list[int], places: Int[Tensor, " places"]
) -> Iterator[dict[int, list[Float[Tensor, "rows places features"]]]]:
    """Collect the output of layers at some places, float64 in main memory, from every pass inside this context."""
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

    Epsilon squared is (between - (places - 1) / (places (windows - 1)) within) / total, where all are sums of squares:
    the share between places minus what chance would put there.
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
