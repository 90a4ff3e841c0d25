"""The hub, when it does not answer: one message at once, and what was downloaded before is found."""

import time

import datasets
import pytest
from huggingface_hub import constants
from hydra.utils import instantiate
from support.lab import EVALUATION, built_arms_of, composed, folders, launch, save_checkpoint, save_documents

from lcx_lightning.data.hub_access import look_for_hub
from lcx_lightning.models.sources import HubModel

NOBODY = "http://127.0.0.1:9"  # an address of this machine that refuses connections


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """A hub that refuses connections, an empty cache of what was read of it, and no waiting."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", NOBODY)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waits to try again"))
    look_for_hub.cache_clear()
    yield
    look_for_hub.cache_clear()


def test_a_model_that_cannot_be_had_is_told_in_one_sentence(refused):
    source = HubModel(name="someone/tiny", revision="main", dtype="float32", own_scaling=True)
    with pytest.raises(
        ValueError, match=r"someone/tiny is not on this machine, and the hub .* does not answer"
    ) as told:
        source.config()
    assert "hf download someone/tiny --local-dir DIR" in str(told.value)
    assert str(told.value).count("\n") == 0


def test_a_dataset_that_cannot_be_had_is_told_in_one_sentence(refused, tmp_path):
    config = composed("data=hub", "data.corpus.load.path=owner/name").data.corpus
    config.load = {**config.load, "cache_dir": str(tmp_path / "rows")}
    with pytest.raises(ValueError, match=r"owner/name is not on this machine, and the hub .* does not answer"):
        instantiate(config).documents("test")


def test_what_was_downloaded_before_is_found(refused, tmp_path):
    snapshots = tmp_path / "hub" / "models--someone--tiny"
    save_checkpoint(snapshots / "snapshots" / ("a" * 40))
    (snapshots / "refs").mkdir()
    (snapshots / "refs" / "main").write_text("a" * 40)
    line = ["model=hub", "model.source.name=someone/tiny", *save_documents(tmp_path / "text"), *EVALUATION]
    (built,) = built_arms_of(*line, *folders(tmp_path))
    assert built.arm.config["model"]["source"]["revision"] == "a" * 40


def test_it_is_asked_once(refused, monkeypatch):
    asked = []
    session = type("Session", (), {"head": lambda self, url, timeout: asked.append(url)})
    monkeypatch.setattr("lcx_lightning.data.hub_access.get_session", session)
    assert [look_for_hub() for _ in range(3)] == [True] * 3
    assert asked == [NOBODY]
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.slow
def test_the_command_tells_it_in_one_line(tmp_path):
    hub = {"HF_ENDPOINT": NOBODY, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
    done = launch("model=hub", "model.source.name=someone/tiny", *folders(tmp_path), **hub)
    assert done.returncode == 2
    assert done.stdout.startswith("error: someone/tiny is not on this machine")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
