"""The LightningDataModule of one training stage: step-indexed training batches and a fixed set of validation rows."""

import torch
from lightning import LightningDataModule

from lcx_lightning.data.loader import Batch, StepLoader
from lcx_lightning.data.source import LongContextData


class LongContextDataModule(LightningDataModule):
    """Batches for `Trainer.fit`. Each rank makes the global batch and keeps its own rows: ranks change nothing.

    Args:
        data: The source of the rows.
        seed: Of all rows, training and validation.
        rows: Rows of a global batch.
        length: Tokens of a row.
        steps: Training batches.
        validation_steps: Validation batches, of the same shape.
    """

    def __init__(
        self, data: LongContextData, *, seed: int, rows: int, length: int, steps: int, validation_steps: int
    ) -> None:
        super().__init__()
        self._data, self._seed, self._rows, self._length = data, seed, rows, length
        self._steps, self._validation_steps = steps, validation_steps

    def train_dataloader(self) -> StepLoader:
        """Return the training batches, resumable at any step."""
        return StepLoader(
            lambda step: self._own_rows(self._data.batch(step, self._seed, self._rows, self._length)), self._steps
        )

    def documents(self, step: int) -> list[list[str]]:
        """Return by row the names of the documents of a training batch, the rows of all ranks."""
        return self._data.documents(step, self._seed, self._rows, self._length)

    def val_dataloader(self) -> StepLoader:
        """Return the validation batches, the same at every validation."""
        rows = self._rows * self._validation_steps
        batches = self._data.validation_batch(rows, self._length, self._seed)["input_ids"].split(self._rows)
        return StepLoader(lambda step: self._own_rows({"input_ids": batches[step]}), self._validation_steps)

    def _own_rows(self, batch: dict[str, torch.Tensor]) -> Batch:
        """Return this rank's rows of a global batch."""
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if self._rows % ranks:
            raise ValueError(
                f"The rows of a batch need to be shared equally; {self._rows} rows were given to {ranks} ranks. "
                f"Take a multiple of {ranks} rows."
            )
        return {name: ids[rank::ranks] for name, ids in batch.items()}
