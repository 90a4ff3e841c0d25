"""Weights & Biases beside the records: the same numbers, read back with W&B's own tool, and a mode that never hangs."""

import json
import math
import socket
import subprocess
import sys

import pytest
from support.lab import TINY, TRAINING, environment, folders, launch, results, runs

from lcx_lightning.results.records import columns_of
from lcx_lightning.results.wandb_logger import choose_mode

KEY = "0" * 40


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A fine-tuned arm that was logged without a key: the launch, its records, and what W&B says it was told."""
    root = tmp_path_factory.mktemp("wandb")
    places = {name: str(root / name) for name in ("HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")}
    arm = ["method=pi", "training=finetune", *TINY, *TRAINING, "training.steps=10", "logger=wandb", *folders(root)]
    done = launch(*arm, **places)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs(results(root)).values()
    (file,) = (root / "results" / "wandb").glob("offline-run-*/run-*.wandb")
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    said = subprocess.run(inspect, env=environment(**places), capture_output=True, text=True, check=True, timeout=60)
    return run, [json.loads(line) for line in said.stdout.splitlines()], file


def told(entries, kind):
    """Return the values of all entries of a kind, later ones over earlier ones."""
    values = {}
    for entry in entries:
        if entry["type"] == kind:
            values |= entry[kind]["update"]
    return values


@pytest.mark.slow
def test_the_run_bears_the_id_of_the_records_and_ended_well(logged):
    run, entries, file = logged
    assert file.stem == f"run-{run.info['run']}"
    assert [entry["exit"]["exit_code"] for entry in entries if entry["type"] == "exit"] == [0]
    assert run.finished


@pytest.mark.slow
def test_the_configuration_is_the_resolved_one_under_one_key(logged):
    run, entries, _ = logged
    config = next(entry["run"]["config"]["update"] for entry in entries if entry["type"] == "run")
    assert {name for name in config if name != "_wandb"} == {"cfg"}
    assert config["cfg"] == run.info["config"]
    assert config["cfg"]["method"]["positions"]["factor"] == 2


@pytest.mark.slow
def test_the_summary_holds_what_training_took_as_the_run_file_does(logged):
    run, entries, _ = logged
    summary = {k.removeprefix("throughput/"): v for k, v in told(entries, "summary").items() if "throughput/" in k}
    assert summary == run.info["throughput"]
    assert summary["tokens"] == 10 * 2 * 128
    assert told(entries, "summary")["train/tokens_per_second"] > 0


@pytest.mark.slow
def test_the_summary_holds_the_perplexities_of_the_records(logged):
    run, entries, _ = logged
    summary = {k: v for k, v in told(entries, "summary").items() if k.startswith("perplexity/")}
    cells = {(row["protocol"], row["context_length"]) for row in run.rows}
    assert len(cells) == len(summary) == 4
    for protocol, length in cells:
        rows = [row for row in run.rows if (row["protocol"], row["context_length"]) == (protocol, length)]
        expected = math.exp(sum(row["value"] for row in rows) / sum(row["n"] for row in rows))
        assert summary[f"perplexity/{protocol}/{length}"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_the_table_holds_every_row_of_the_records(logged):
    run, _, file = logged
    (path,) = (file.parent / "files").rglob("records*.table.json")
    table = json.loads(path.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert rows == [columns_of(row) for row in run.rows]
    assert all(row["at.window"] for row in rows)


@pytest.mark.slow
def test_the_curves_of_training_are_there(logged):
    _, entries, _ = logged
    history = [entry["history"]["item"] for entry in entries if entry["type"] == "history"]
    assert any("train/loss" in item for item in history)
    assert any("validation/loss" in item for item in history)


@pytest.fixture
def no_account(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return monkeypatch


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_without_a_key_the_mode_is_offline(no_account):
    assert choose_mode("auto") == "offline"


def test_a_key_and_a_server_that_answers_make_it_online(no_account, tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        no_account.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert choose_mode("auto") == "offline"
        no_account.setenv("WANDB_API_KEY", KEY)
        assert choose_mode("auto") == "online"
        no_account.delenv("WANDB_API_KEY")
        (tmp_path / "netrc").write_text(f"machine 127.0.0.1\nlogin user\npassword {KEY}\n")
        (tmp_path / "netrc").chmod(0o600)
        assert choose_mode("auto") == "online"


def test_a_server_that_cannot_be_reached_makes_it_offline_with_a_warning(no_account):
    no_account.setenv("WANDB_API_KEY", KEY)
    no_account.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed_port()}")
    with pytest.warns(UserWarning, match=r"127\.0\.0\.1 does not answer .* logging offline"):
        assert choose_mode("auto") == "offline"


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_mode_that_is_named_is_taken(no_account, mode):
    assert choose_mode(mode) == mode


def test_wandb_mode_decides_where_the_configuration_does_not(no_account):
    no_account.setenv("WANDB_MODE", "disabled")
    assert choose_mode("auto") == "disabled"
    assert choose_mode("online") == "online"


def test_an_unknown_mode_is_refused(no_account):
    with pytest.raises(ValueError, match="auto, online or offline, got 'on'"):
        choose_mode("on")
