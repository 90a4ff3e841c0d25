"""The LightningDataModule of a training stage: training batches indexed by step, and fixed validation batches."""

import torch
from lightning import LightningDataModule

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.step_loader import Batch, StepLoader, check_shares


class LongContextDataModule(LightningDataModule):
    """Batches for `Trainer.fit` that do not depend on the number of ranks and micro-batches.

    Each rank makes the global batch of a step and keeps its own rows. Micro-batches (`accumulate_grad_batches` of the
    Trainer) divide the rows of a step.

    Args:
        data: Source of the rows.
        seed: Seed for all rows, training and validation.
        rows: Number of rows in a global batch.
        length: Length of a row in tokens.
        steps: Number of training batches.
        validation_steps: Number of validation batches, which have the same shape.
        context: Number of consecutive ranks that share every row.
    """

    def __init__(
        self,
        data: LongContextData,
        *,
        seed: int,
        rows: int,
        length: int,
        steps: int,
        validation_steps: int,
        context: int = 1,
    ) -> None:
        super().__init__()
        self._data, self._seed, self._rows, self._length = data, seed, rows, length
        self._steps, self._validation_steps, self._context = steps, validation_steps, context

    def train_dataloader(self) -> StepLoader:
        """Return the training micro-batches, resumable at any step."""

        def micro_batch(number: int) -> Batch:
            step, micro = divmod(number, self._micro_batches)
            return self._own_rows(self._data.batch(step, self._seed, self._rows, self._length), micro)

        return StepLoader(micro_batch, self._steps * self._micro_batches)

    def documents(self, step: int) -> list[list[str]]:
        """Return the names of the documents in each row of a global training batch."""
        return self._data.documents(step, self._seed, self._rows, self._length)

    def val_dataloader(self) -> StepLoader:
        """Return the validation micro-batches, which are the same at every validation."""
        rows = self._rows * self._validation_steps
        whole = self._data.validation_batch(rows, self._length, self._seed)
        batches = [
            {name: x[start : start + self._rows] for name, x in whole.items()} for start in range(0, rows, self._rows)
        ]

        def micro_batch(number: int) -> Batch:
            step, micro = divmod(number, self._micro_batches)
            return self._own_rows(batches[step], micro)

        return StepLoader(micro_batch, self._validation_steps * self._micro_batches)

    def state_dict(self) -> dict[str, int]:
        """Return the number of micro-batches in a step, which checkpoints count in."""
        return {"micro_batches": self._micro_batches}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Raise a ValueError if a checkpoint has another number of micro-batches in a step."""
        if state_dict["micro_batches"] != self._micro_batches:
            raise ValueError(
                f"The checkpoint is of a run with {state_dict['micro_batches']} micro-batches per step, this run has "
                f"{self._micro_batches}. Go on with accumulate_grad_batches={state_dict['micro_batches']}."
            )

    @property
    def _micro_batches(self) -> int:
        """Number of micro-batches in a step."""
        return self.trainer.accumulate_grad_batches if self.trainer else 1

    def _own_rows(self, batch: dict[str, torch.Tensor], micro: int) -> Batch:
        """Return this rank's rows of one micro-batch of a global batch, and under `placement_rows` their numbers."""
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        rank, ranks = rank // self._context, ranks // self._context
        shares = check_shares(self._rows, ranks, self._micro_batches)
        numbered = batch | {"placement_rows": torch.arange(self._rows)}
        return {name: rows[micro * ranks + rank :: shares] for name, rows in numbered.items()}
