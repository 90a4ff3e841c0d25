"""Real sweeps and agents of W&B against a double of its server: one run for one arm, in the state that it ended in."""

import os
import signal
from pathlib import Path

import pytest
from support.interrupted_runs import await_checkpoints, children
from support.lab import runs
from support.wandb_client import new_sweep, start_agent
from support.wandb_server import wandb_server

from lcx_lightning.results.logged import summary

pytestmark = pytest.mark.slow
DECAY = "training.optimizer.weight_decay"
GOOD, BAD = 0.0, 1e12  # weights grow beyond what a number holds
LINE = ("training=finetune", "training.steps=10")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder and a server, on which two agents have worked on four cells, two of which fail."""
    root = tmp_path_factory.mktemp("sweeps")
    with wandb_server(root / "server") as server:
        cells = {"training__optimizer__weight_decay": [GOOD, BAD], "method": ["pi", "ntk"]}
        sweep = new_sweep(root, server, "grid", *LINE, **cells)
        agents = [start_agent(root, server, sweep) for _ in range(2)]
        assert [agent.wait(timeout=300) for agent in agents] == [0, 0], (root / "agent.txt").read_text()
        yield root, server, sweep


def decay_of(config):
    return config["training"]["optimizer"]["weight_decay"]


def told(server, sweep):
    """Return what the server was told of each cell of a sweep, by method and weight decay."""
    return {
        (server.lcx(name)["method"], decay_of(server.runs[name]["config"]["cfg"]["value"])): server.runs[name]
        for name in server.sweeps[sweep]["runs"]
    }


def records_of(root, name):
    """Return the runs of an experiment by method, weight decay and seed."""
    found = runs(root / "results" / name).values()
    return {(run.info["method"], decay_of(run.info["config"]), run.info["seed"]): run for run in found}


def numbers(told_of, run):
    """Return those numbers of a summary that the records of a run give."""
    return {name: told_of["summary"][name] for name in summary(run)}


def test_every_cell_is_a_run_in_the_state_in_which_it_ended(place):
    _, server, sweep = place
    cells = told(server, sweep)
    states = {cell: (run["state"], run["exitcode"], run["summary"]["status"]) for cell, run in cells.items()}
    ended = {GOOD: ("finished", 0, "finished"), BAD: ("failed", 1, "failed")}
    assert states == {(method, decay): ended[decay] for method in ("pi", "ntk") for decay in (GOOD, BAD)}
    assert all("NonFiniteError" in cells[method, BAD]["summary"]["reason"] for method in ("pi", "ntk"))
    assert server.unknown == []


def test_runs_of_cells_say_what_they_are_and_hold_the_numbers_of_their_records(place):
    root, server, sweep = place
    kept = records_of(root, "grid")
    for (method, decay), run in told(server, sweep).items():
        assert (run["groupName"], run["jobType"]) == ("grid", "fine-tuned")
        written = next(value for value in (GOOD, BAD) if value == decay)  # JSON says 0 for 0.0
        assert run["displayName"] == f"{method} x2 weight_decay={written} s0"
        if decay == GOOD:
            assert numbers(run, kept[method, decay, 0]) == summary(kept[method, decay, 0])
            assert [row["length"] for row in run["history"] if "length" in row] == [64, 128]
            assert any("train/loss" in row for row in run["history"])


@pytest.mark.parametrize(
    ("turned", "said"),
    [({"factor": [-1]}, "factor"), ({"distance_limit": ["None"]}, "null"), ({"windw": [3]}, "windw")],
)
def test_a_cell_that_is_refused_has_failed_and_says_why(place, turned, said):
    root, server, _ = place
    sweep = new_sweep(root, server, "refused", method=["pi"], **turned)
    start_agent(root, server, sweep).wait(timeout=300)
    (name,) = server.sweeps[sweep]["runs"]
    assert (server.runs[name]["state"], server.runs[name]["exitcode"]) == ("failed", 1)
    assert said in server.runs[name]["summary"]["reason"]


def test_agents_that_shared_a_base_logged_it_once_as_a_run_of_its_own(place):
    _, server, _ = place
    assert [run["state"] for run in server.runs.values() if run.get("jobType") == "base"] == ["finished"]


def test_arms_of_one_cell_are_runs_of_their_own_and_a_finished_one_is_logged_again(place):
    root, server, _ = place
    before = set(server.runs)
    sweep = new_sweep(root, server, "grid", *LINE, f"{DECAY}={GOOD}", "seeds=2", method=["pi"])
    assert start_agent(root, server, sweep).wait(timeout=300) == 0
    kept = records_of(root, "grid")
    new = {
        server.lcx(name)["seed"]: name for name in set(server.runs) - before if server.runs[name]["jobType"] != "base"
    }
    assert sorted(new) == [0, 1]
    assert [new[0]] == server.sweeps[sweep]["runs"]
    assert new[1] == f"{kept['pi', GOOD, 1].info['run']}-{sweep}"
    for seed, name in new.items():
        run = server.runs[name]
        assert (run["state"], run["groupName"], server.lcx(name)["sweep"]) == ("finished", "grid", sweep)
        assert numbers(run, kept["pi", GOOD, seed]) == summary(kept["pi", GOOD, seed])
        assert any("train/loss" in row for row in run["history"])
    assert server.unknown == []


def test_a_preempted_cell_is_offered_again_and_ends_under_its_id(place, tmp_path):
    _, server, _ = place
    line = ("training=finetune", "training.steps=400", "checkpoint_seconds=0.001")
    sweep = new_sweep(tmp_path, server, "preempted", *line, method=["yarn"])
    agent = start_agent(tmp_path, server, sweep, said="said.txt")
    await_checkpoints(agent, tmp_path, "extend", 2)
    (name,) = server.sweeps[sweep]["runs"]
    (command,) = [
        child for child in children(agent.pid) if b"experiments.run" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    os.kill(command, signal.SIGTERM)
    assert agent.wait(timeout=300) == 0
    assert server.ended[name] == [("preempted", 75), ("finished", 0)]
    assert server.sweeps[sweep]["runs"] == [name]
    assert (server.runs[name]["state"], server.runs[name]["summary"]["status"]) == ("finished", "finished")


def test_a_cell_that_the_server_stops_is_stopped(place, tmp_path):
    _, server, _ = place
    line = ("training=finetune", "training.steps=4000", "checkpoint_seconds=0.001")
    sweep = new_sweep(tmp_path, server, "stopped", *line, method=["yarn"])
    agent = start_agent(tmp_path, server, sweep, said="said.txt")
    await_checkpoints(agent, tmp_path, "extend", 2)
    (name,) = server.sweeps[sweep]["runs"]
    server.stopping.add(name)
    assert agent.wait(timeout=120) == 0
    assert (server.runs[name]["state"], server.runs[name]["summary"]["status"]) == ("stopped", "stopped")
