"""Bounds of attention scores, inside and beyond pretraining, of a model's own weights (PI, arXiv:2306.15595).

Section 2.3 and appendix A. The score of a query and a key at distance s is a(s) = Re sum_j h_j exp(i s theta_j), where
h_j is the product of pair j of the query, as a complex number, and that of the key, conjugate.

Extrapolation: |a(s)| <= 2 max|h_j| B(s), where B(s) = sum_k |sum_(j < k) exp(i s theta_j)| over k = 1 .. d/2.
Interpolation: between two whole distances a(s) is no farther from a straight line than max|h_j| sum_j theta_j^2 / 8.
The paper puts d / (4 ln base) in the place of that sum, the integral that it is an upper sum of: 13% less at d = 128
and base 10 000. With B(s) >= d, found numerically, its ratio is 64 ln(base), "600x". There, with the sum itself, the
ratio is 571 or more between 2048 and 4096 tokens; at some distances up to 32 768 B(s) is 0.63 d, and the ratio 322.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from annotated_types import MinLen
from jaxtyping import Complex, Float, Int
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from lcx_lightning.attention.capture import AttentionInputs
from lcx_lightning.data.corpora.base import Split
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.windows import Window
from lcx_lightning.evaluation.base import AtMultiples, Record, WorkUnit
from lcx_lightning.evaluation.batching import batches, one_batch
from lcx_lightning.evaluation.mechanism.sampling import evenly_spaced, with_last
from lcx_lightning.models.attached import listening, method_of
from lcx_lightning.results.metrics import Metric
from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.kinds import Factor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HELD = 2**19  # complex numbers at once: 8 MiB
METRICS = {
    "score_bounds/extrapolated_score": Metric("largest score beyond L (logits)"),
    "score_bounds/extrapolation_bound": Metric("bound of scores beyond L (logits)"),
    "score_bounds/interpolation_error": Metric("distance of scores from a straight line (logits)"),
    "score_bounds/interpolation_bound": Metric("bound of the distance from a straight line (logits)"),
    "score_bounds/largest_h": Metric("largest product of a pair, max|h_j| (logits)"),
    "score_bounds/least_ratio": Metric("least ratio of the bounds"),
    "score_bounds/claimed_ratio": Metric("ratio of the bounds that the paper claims"),
}


class ScoreBounds(AtMultiples):
    """Scores and their bounds, for pairs of a query and a key that were read at the pretraining length L.

    Protocol `score_bounds`: the pairs are put at other distances than their own, at the pretrained frequencies. Scores
    are in units of logits, with the model's own scale and without temperature. Sums over pairs, by layer, head and
    context length n: `extrapolated_score`, the largest |a(s)| at whole distances s from L to n, and
    `extrapolation_bound`, its bound there; `interpolation_error`, how far a(s) is from a straight line half-way between
    whole distances below L, and `interpolation_bound`; `largest_h`, max|h_j|, of which both bounds are multiples. From
    the frequencies alone: `least_ratio`, the ratio of the bounds at the distance from L to n where it is least, and
    `claimed_ratio`, the 64 ln(base) of the paper.

    Args:
        multiples: Context lengths in units of the pretraining length L, at least 1.
        pairs: Number of pairs of a window, each of a query and a key at or before it.
        layers: Number of layers, evenly spaced, with the first and the last among them. A layer without rotary
            embedding has no bounds.
        heads: Number of heads of a layer, evenly spaced.
        windows: Number of windows of L tokens, from different documents as far as there are enough.
        split: Split of the corpus: test for results, validation for choosing recipes.
        seed: Seed for choosing the windows and the pairs.
        batch_tokens: Tokens of a batch.

    Raises:
        ValueError: If there is nothing to measure.
    """

    @checked
    def __init__(
        self,
        *,
        multiples: Annotated[Sequence[Factor], MinLen(1)],
        pairs: PositiveInt,
        layers: PositiveInt,
        heads: PositiveInt,
        windows: PositiveInt,
        split: Split,
        seed: NonNegativeInt,
        batch_tokens: PositiveInt,
    ) -> None:
        self._multiples, self._pairs, self._layers, self._heads = sorted(multiples), pairs, layers, heads
        self._windows, self._split, self._seed, self._batch_tokens = windows, split, seed, batch_tokens

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        lengths = self.served(pretrain_length, max_context)
        if not lengths:
            return []
        windows = data.evaluation_windows(self._split, pretrain_length, self._windows, self._seed)
        known = [_row(n, "claimed_ratio") for n in lengths]
        of_frequencies = WorkUnit(known, partial(_ratios, lengths=lengths))
        return [of_frequencies] + [
            self._work_unit(data, batch, lengths, pretrain_length)
            for batch in batches(windows, pretrain_length, self._batch_tokens)
        ]

    def metrics(self) -> dict[str, Metric]:
        return METRICS

    def _work_unit(
        self, data: LongContextData, windows: list[Window], lengths: list[int], pretrain_length: int
    ) -> WorkUnit:
        rows = [self._row(data, window, n, 0, 0, "largest_h") for window in windows for n in lengths]
        compute = partial(self._compute, data=data, windows=windows, lengths=lengths, known=rows)
        return WorkUnit(rows, compute, one_batch(windows, pretrain_length))

    def _row(self, data: LongContextData, window: Window, length: int, layer: int, head: int, metric: str) -> Record:
        text = {"dataset": f"{data.corpus.name}/{self._split}", "document": window.document}
        at = {"window": window.end, "layer": layer, "head": head}
        return _row(length, metric) | text | {"n": self._pairs, "at": at}

    @torch.no_grad()
    def _compute(
        self,
        model: "PreTrainedModel",
        data: LongContextData,
        windows: list[Window],
        lengths: list[int],
        known: list[Record],
    ) -> list[Record]:
        spec = method_of(model).scaling.spec
        layers, rows = evenly_spaced(self._layers, model.config.num_hidden_layers), []
        drawn = np.random.default_rng([self._seed, spec.pretrain_length])
        query = drawn.integers(1, spec.pretrain_length, self._pairs)
        key = drawn.integers(0, query + 1)
        bounds = Bounds(spec.inv_freq().double().to(model.device), spec.pretrain_length, lengths)

        def watch(attended: AttentionInputs) -> None:
            if attended.layer in layers and attended.rope.query_tables[0].cos.shape[-1]:
                heads = evenly_spaced(self._heads, attended.q.shape[1])
                products = products_of(attended, heads, query, key) * spec.feature_scale**2
                for row, window in enumerate(windows):
                    for column, head in enumerate(heads):
                        for length, metric, value in bounds.of(products[row, column]):
                            found = self._row(data, window, length, attended.layer, head, metric)
                            rows.append(found | {"value": value})

        with listening(model.base_model, watch):
            ids = data.window_ids(windows, spec.pretrain_length)
            model.base_model(input_ids=ids.to(model.device), use_cache=False)
        return with_last(rows, known)


class Bounds:
    """Bounds and scores of pairs with given products, up to each of several distances.

    Args:
        inv_freq: Frequencies in radians per token, float64.
        start: First distance beyond pretraining, in tokens.
        lengths: Farthest distances, shortest first, at least `start`.

    Attributes:
        interpolation: Bound of the distance from a straight line, per max|h_j|.
        extrapolation: Bound of the score by length, at the distance up to it where the bound is largest, per max|h_j|.
        least: The same, at the distance where the bound is least.
    """

    def __init__(self, inv_freq: Float[Tensor, " pairs"], start: int, lengths: list[int]) -> None:
        self._inv_freq, self._start, self._lengths = inv_freq, start, lengths
        sums = self._over(start, lengths[-1] + 1, lambda turned: turned.cumsum(dim=-1).abs().sum(dim=-1))
        self.interpolation = float(inv_freq.square().sum() / 8)
        self.extrapolation = {n: 2 * float(sums[: n - start + 1].max()) for n in lengths}
        self.least = {n: 2 * float(sums[: n - start + 1].min()) for n in lengths}

    def of(self, products: Complex[Tensor, "some pairs"]) -> list[tuple[int, str, float]]:
        """Return length, metric and sum over pairs of a query and a key, `largest_h` last."""

        def scores(turned: Complex[Tensor, "distances pairs"]) -> Float[Tensor, "distances some"]:
            return (turned @ products.T).real

        largest = float(products.abs().amax(dim=-1).sum())
        beyond = self._over(self._start, self._lengths[-1] + 1, scores).abs()
        fine = self._over(0, 2 * self._start - 1, scores, step=0.5)
        error = (fine[1::2] - (fine[:-1:2] + fine[2::2]) / 2).abs().amax(dim=0).sum()
        found = {
            n: {
                "extrapolated_score": float(beyond[: n - self._start + 1].amax(dim=0).sum()),
                "extrapolation_bound": self.extrapolation[n] * largest,
                "interpolation_error": float(error),
                "interpolation_bound": self.interpolation * largest,
                "largest_h": largest,
            }
            for n in self._lengths
        }
        return [(n, metric, value) for n, values in found.items() for metric, value in values.items()]

    def _over(self, first: int, last: int, function: Callable[[Tensor], Tensor], step: float = 1.0) -> Tensor:
        """Return a function of exp(i s theta_j) at the distances s = first * step ... (last - 1) * step, one a row."""
        places = torch.arange(first, last, device=self._inv_freq.device, dtype=torch.float64) * step
        some = max(1, HELD // len(self._inv_freq))
        turned = (part[:, None] * self._inv_freq for part in places.split(some))
        return torch.cat([function(torch.polar(torch.ones_like(angle), angle)) for angle in turned])


def products_of(
    attended: AttentionInputs, heads: list[int], query: Int[np.ndarray, " some"], key: Int[np.ndarray, " some"]
) -> Complex[Tensor, "rows heads some pairs"]:
    """Return h_j of some pairs of a query and a key, times the scale of the logits."""
    pairs = attended.rope.inv_freq.shape[-1]
    shared = attended.q.shape[1] // attended.k.shape[1]

    def as_complex(x: Tensor) -> Tensor:
        a, b = x[..., : 2 * pairs].double().split(pairs, dim=-1)
        return torch.complex(a, b)

    q = as_complex(attended.q[:, heads][:, :, query])
    k = as_complex(attended.k[:, [head // shared for head in heads]][:, :, key])
    return q * k.conj() * attended.scale


def _row(length: int, metric: str) -> Record:
    return {
        "evaluation": "score_bounds",
        "protocol": "score_bounds",
        "dataset": None,
        "document": None,
        "context_length": length,
        "metric": metric,
        "n": 1,
        "at": {},
    }


@torch.no_grad()
def _ratios(model: "PreTrainedModel", lengths: list[int]) -> list[Record]:
    """Return the rows that depend on the frequencies alone: ratios of the bounds."""
    spec = method_of(model).scaling.spec
    bounds = Bounds(spec.inv_freq().double(), spec.pretrain_length, lengths)
    least = [_row(n, "least_ratio") | {"value": bounds.least[n] / bounds.interpolation} for n in lengths]
    return least + [_row(n, "claimed_ratio") | {"value": 64 * math.log(spec.base)} for n in lengths]
