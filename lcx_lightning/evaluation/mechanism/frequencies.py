"""Frequencies of a method by length, and how far learned ones are from their start (CLEX, arXiv:2310.16450)."""

from functools import partial
from typing import TYPE_CHECKING

import torch

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.base import AtMultiples, Multiples, Record, WorkUnit
from lcx_lightning.evaluation.mechanism.sampling import with_last
from lcx_lightning.models.attached import method_of
from lcx_lightning.results.metrics import Axis, Metric
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAIR = Axis("pair", "pair")
METRICS = {
    "frequency_spectrum/inv_freq": Metric("frequency (radians per token)", logarithmic=True, axis=PAIR),
    "ode_drift/drift": Metric("drift", axis=PAIR),
}


class Frequencies(AtMultiples):
    """The frequencies of every pair at every length, as the method has them now. No text is read.

    Protocol `frequency_spectrum`: `inv_freq`, radians per token. Protocol `ode_drift`, for a scaling that learns:
    `drift`, ln(theta) minus its value before training, which for CLEX is that of NTK-aware scaling at the same factor.
    `scale_factor` in the details of a row is the factor s at which a context of the length is read.

    Args:
        multiples: Context lengths in units of the pretraining length L.

    Raises:
        ValueError: If there are no multiples.
    """

    @checked
    def __init__(self, *, multiples: Multiples) -> None:
        self._multiples = sorted(multiples)

    def work_units(self, data: LongContextData, pretrain_length: int, max_context: int | None) -> list[WorkUnit]:
        return [
            WorkUnit([_row(n, "frequency_spectrum", "inv_freq", 0)], partial(_compute, length=n))
            for n in self.served(pretrain_length, max_context)
        ]

    def metrics(self) -> dict[str, Metric]:
        return METRICS


def _row(length: int, protocol: str, metric: str, pair: int) -> Record:
    return {
        "evaluation": "frequencies",
        "protocol": protocol,
        "dataset": None,
        "document": None,
        "context_length": length,
        "metric": metric,
        "n": 1,
        "at": {"pair": pair},
    }


@torch.no_grad()
def _compute(model: "PreTrainedModel", length: int) -> list[Record]:
    method = method_of(model)
    scaling, lengths = method.scaling, torch.tensor([length], device=model.device)
    factor = method.positions.evaluation_factor(lengths, scaling.spec.pretrain_length).float()
    now, start = scaling(factor), scaling.start(factor)
    found = {("frequency_spectrum", "inv_freq"): now}
    if start is not None:
        found["ode_drift", "drift"] = now.log() - start.log()
    details = {"scale_factor": float(factor[0])}
    rows = [
        _row(length, *what, pair) | {"value": value, "details": details}
        for what, values in found.items()
        for pair, value in enumerate(values[0].double().tolist())
    ]
    return with_last(rows, [_row(length, "frequency_spectrum", "inv_freq", 0)])
