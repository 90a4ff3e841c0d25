"""The LightningDataModule of one training stage: step-indexed training batches and a fixed set of validation rows."""

import torch
from lightning import LightningDataModule

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.step_loader import Batch, StepLoader, check_shares


class LongContextDataModule(LightningDataModule):
    """Batches for `Trainer.fit`. Each rank makes the global batch and keeps its own rows: ranks change nothing.

    Nor do micro-batches (`accumulate_grad_batches` of the Trainer): they share the rows of a step.

    Args:
        data: The source of the rows.
        seed: Of all rows, training and validation.
        rows: Rows of a global batch.
        length: Tokens of a row.
        steps: Training batches.
        validation_steps: Validation batches, of the same shape.
        context: Ranks that follow each other and share every row.
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
        """Return by row the names of the documents of a training batch, the rows of all ranks."""
        return self._data.documents(step, self._seed, self._rows, self._length)

    def val_dataloader(self) -> StepLoader:
        """Return the validation micro-batches, the same at every validation."""
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
        """Return what a checkpoint counts batches in."""
        return {"micro_batches": self._micro_batches}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Raise a ValueError if a checkpoint counts other batches."""
        if state_dict["micro_batches"] != self._micro_batches:
            raise ValueError(
                f"The checkpoint is of a run with {state_dict['micro_batches']} micro-batches a step, this one has "
                f"{self._micro_batches}. Go on with accumulate_grad_batches={state_dict['micro_batches']}."
            )

    @property
    def _micro_batches(self) -> int:
        """Micro-batches of a step."""
        return self.trainer.accumulate_grad_batches if self.trainer else 1

    def _own_rows(self, batch: dict[str, torch.Tensor], micro: int) -> Batch:
        """Return this rank's rows of one micro-batch of a global batch."""
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        rank, ranks = rank // self._context, ranks // self._context
        shares = check_shares(self._rows, ranks, self._micro_batches)
        return {name: ids[micro * ranks + rank :: shares] for name, ids in batch.items()}
