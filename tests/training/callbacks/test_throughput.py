"""What training took: tokens, FLOPs, utilisation, waiting and writing, on a clock that tests move."""

import pytest
import torch
from support.six_step_training import LENGTH, ROWS, STEPS, train
from support.trainable_model import load

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.runner.hardware import entry_of, hardware_of, peak_flops, table
from lcx_lightning.training.callbacks import throughput
from lcx_lightning.training.callbacks.checkpoint import WholeCheckpoints
from lcx_lightning.training.flops import STEP, forward_flops
from lcx_lightning.training.module import LongContextModule

BATCH, WRITE, COMPUTE = 2.0, 8.0, 16.0  # seconds of a batch, of a checkpoint, of a step


@pytest.fixture
def clock(monkeypatch):
    """A clock that making a batch, computing a loss and writing a checkpoint move on."""
    now = [100.0]
    monkeypatch.setattr(throughput.time, "monotonic", lambda: now[0])

    def moving(owner, name, seconds):
        true = getattr(owner, name)

        def moved(*args, **kwargs):
            now[0] += seconds
            return true(*args, **kwargs)

        monkeypatch.setattr(owner, name, moved)

    moving(LongContextData, "batch", BATCH)
    moving(WholeCheckpoints, "save_checkpoint", WRITE)
    moving(LongContextModule, "training_step", COMPUTE)
    return now


def test_training_is_measured_by_the_wall_clock_and_says_what_it_waited_for(data, tmp_path, clock):
    told = []
    peak = 1e6
    found = train(
        data, tmp_path, seconds=3600, peak=lambda device: peak, report=lambda *words: told.append(words)
    ).throughput
    model = load()
    flops = STEP * forward_flops(model, model.base_model.attached.method.pattern, LENGTH) / LENGTH
    speed = ROWS * LENGTH / (BATCH + COMPUTE)
    assert found["tokens"] == STEPS * ROWS * LENGTH
    assert found["seconds"] == found["device_seconds"] == STEPS * (BATCH + COMPUTE)
    assert found["tokens_per_second"] == pytest.approx(speed)
    assert found["flops_per_token"] == flops
    assert found["mfu"] == pytest.approx(speed * flops / peak)
    assert found["data_wait_seconds"] == STEPS * BATCH
    assert (found["checkpoint_seconds"], found["checkpoints"], found["skipped_steps"]) == (0, 0, 0)
    assert found["devices"] == 1
    assert found["memory_peak_bytes"] > 2**27  # torch alone takes more
    assert f"{speed:,.0f} tokens/s, {speed * flops / peak:.0%} MFU, loss " in told[-1][2]


def test_writing_checkpoints_is_no_waiting_for_data(data, tmp_path, clock):
    found = train(data, tmp_path).throughput
    assert found["checkpoints"] == STEPS - 1  # the last one is written after the last step
    assert found["checkpoint_seconds"] == (STEPS - 1) * (WRITE + BATCH)  # with the batch that follows it
    assert found["data_wait_seconds"] == BATCH


def test_a_device_whose_peak_is_not_known_has_no_utilisation(data, tmp_path):
    told = []
    found = train(data, tmp_path, report=lambda *words: told.append(words)).throughput
    assert found["mfu"] is None
    assert "MFU" not in told[-1][2]
    assert peak_flops(torch.device("cpu")) is None
    assert entry_of("NVIDIA Imaginary 9000") is None


@pytest.mark.parametrize(
    ("name", "peak", "memory"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12, 80e9),
        ("NVIDIA H100 PCIe", 756e12, 80e9),
        ("NVIDIA H200", 989e12, 141e9),
        ("NVIDIA A100-SXM4-80GB", 312e12, 80e9),
        ("NVIDIA A100-PCIE-40GB", 312e12, 40e9),
        ("NVIDIA B200", 2250e12, 180e9),
    ],
)
def test_a_known_device_has_the_dense_bfloat16_peak_of_its_datasheet(name, peak, memory):
    found = entry_of(name)
    assert (found["peak"], found["memory"]) == (peak, memory)
    assert len([entry for entry in table().values() if entry is not None and entry["name"] == found["name"]]) == 1


def test_variants_that_the_table_lacks_are_not_taken_for_their_faster_relatives():
    assert entry_of("NVIDIA H100 NVL") is None
    assert entry_of("NVIDIA H200 NVL") is None


def test_a_forecast_counts_with_the_share_of_the_peak_that_is_assumed_and_with_cores_on_a_cpu():
    chosen = table()["h100"]
    gpu = hardware_of(chosen | {"price": 2.0}, "gpu")
    assert (gpu.flops, gpu.memory, gpu.price) == (pytest.approx(0.4 * 989e12), 80e9, 2.0)
    cpu = hardware_of(table()["auto"], "cpu")
    assert cpu.flops % table()["auto"]["core"] == 0
    assert cpu.memory > 2**28
    assert "cores" in cpu.assumed
    assert hardware_of(table()["auto"], "mps").flops is None
