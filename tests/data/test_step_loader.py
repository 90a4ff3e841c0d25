"""The loader under Lightning, which resumes at the batch where it stopped."""

from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from support.text_corpora import BOS, text_of

from lcx_lightning.data.datamodule import LongContextDataModule
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.step_loader import StepLoader


class Recorder(lightning.LightningModule):
    """A model that notes the batches it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[list[list[int]]] = []
        self.validated: list[list[list[int]]] = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["input_ids"].tolist())
        return self.weight.square().sum()

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch["input_ids"].tolist())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: LongContextData, folder: Path, max_steps: int, accumulate: int, ckpt_path: Path | None) -> Recorder:
    """Return the model after training to `max_steps` steps of a run of 12."""
    model = Recorder()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=max_steps,
        accumulate_grad_batches=accumulate,
        val_check_interval=4,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        callbacks=[ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")],
        default_root_dir=folder,
    )
    module = LongContextDataModule(data, seed=5, rows=2, length=64, steps=12, validation_steps=2)
    trainer.fit(model, datamodule=module, ckpt_path=ckpt_path)
    return model


# A resumed run writes into the folder of the run it goes on with, which is what it should do.
resuming = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning")


@resuming
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_sees_exactly_the_batches_of_an_uninterrupted_one(data, tmp_path, accumulate):
    whole = fit(data, tmp_path / "whole", 12, accumulate, None)
    steps = [data.batch(i, seed=5, rows=2, length=64)["input_ids"] for i in range(12)]
    assert whole.seen == [rows.tolist() for step in steps for rows in step.split(2 // accumulate)]
    for stop in (1, 6, 11):
        folder = tmp_path / f"stopped-{stop}"
        first = fit(data, folder, stop, accumulate, None)
        second = fit(data, folder, 12, accumulate, folder / f"step={stop}.ckpt")
        assert first.seen + second.seen == whole.seen


@resuming
def test_a_checkpoint_of_the_middle_of_a_run_resumes_at_the_next_batch(data, tmp_path):
    whole = fit(data, tmp_path, 12, 1, None)
    for step in (3, 4, 8):
        resumed = fit(data, tmp_path, 12, 1, tmp_path / f"step={step}.ckpt")
        assert resumed.seen == whole.seen[step:]


def test_validation_rows_are_the_same_every_time_and_of_the_validation_split(data, stdlib, tmp_path):
    validated = fit(data, tmp_path, 12, 1, None).validated
    assert len(validated) == 1 + 3 * 2
    assert validated[1:3] == validated[3:5] == validated[5:7]
    assert validated[1] != validated[2]
    joined = "\0".join(document.text.encode().decode("latin-1") for document in stdlib.documents("validation"))
    assert all(text_of(row[1:]) in joined for batch in validated for row in batch if BOS not in row[1:])


def test_ranks_share_the_rows_of_a_global_batch(data, tmp_path):
    class Rank:
        world_size, accumulate_grad_batches = 2, 1

        def __init__(self, rank: int) -> None:
            self.global_rank = rank

    settings = {"seed": 5, "length": 64, "steps": 1, "validation_steps": 1}
    parts = []
    for rank in range(2):
        module = LongContextDataModule(data, rows=4, **settings)
        module.trainer = Rank(rank)
        parts.append(next(iter(module.train_dataloader()))["input_ids"])
    whole = data.batch(0, seed=5, rows=4, length=64)["input_ids"]
    assert sorted(torch.cat(parts).tolist()) == sorted(whole.tolist())
    module = LongContextDataModule(data, rows=3, **settings)
    module.trainer = Rank(0)
    with pytest.raises(ValueError, match="3 rows were given to 2 ranks"):
        next(iter(module.train_dataloader()))


def test_a_loader_has_a_length_and_a_second_pass_starts_again():
    loader = StepLoader(lambda step: {"step": step}, steps=4)
    assert len(loader) == 4
    assert [batch["step"] for batch in loader] == [0, 1, 2, 3]
    loader.load_state_dict({"batches": 3})
    assert loader.state_dict() == {"batches": 3}
    assert [batch["step"] for batch in loader] == [3]
    assert [batch["step"] for batch in loader] == [0, 1, 2, 3]


def test_the_train_loader_hands_out_the_batches_of_its_steps(data):
    loader = data.train_loader(seed=1, rows=2, length=64, steps=3)
    assert [b["input_ids"].tolist() for b in loader] == [
        data.batch(i, 1, 2, 64)["input_ids"].tolist() for i in range(3)
    ]


@resuming
def test_a_checkpoint_that_counts_other_micro_batches_is_refused_with_what_to_do(data, tmp_path):
    fit(data, tmp_path, 3, 2, None)
    with pytest.raises(ValueError, match="Go on with accumulate_grad_batches=2"):
        fit(data, tmp_path, 12, 1, tmp_path / "step=2.ckpt")
