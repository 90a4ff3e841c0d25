"""Real agents of W&B on the file that the local runner has: identical records, and nothing lost by kills."""

import os
import random
import signal
from contextlib import suppress

import pytest
from support.interrupted_runs import children, rows, wait_for
from support.lab import TINY, TRAINING, folders, numbers, results, runs
from support.sweeps import run_sweep, write_sweep
from support.wandb_client import hand_over, start_agent
from support.wandb_server import wandb_server

from lcx_lightning.results.logged import summary
from lcx_lightning.runner.arm_lock import holder

pytestmark = pytest.mark.slow
TRAINED = {
    "method": {"values": ["pi", "[ntk,lm_infinite]"]},
    "training": {"value": "finetune"},
    "seed": {"values": [0, 1]},
}
ZERO_SHOT = {
    "method": {"value": "lm_infinite"},
    "window": {"values": [8, 16, 32]},
    "sink_tokens": {"values": [0, 1]},
    "distance_limit": {"values": [32, "null"]},
}
ARMS, AGENTS, KILLS = 12, 3, 10


def written(root, parameters, *words):
    """Write a file whose cells run at tiny sizes, with their results under a root, and return its path."""
    return write_sweep(root, parameters, "jobs=1", "experiment=small", *TINY, *words, *folders(root))


def run_here(path, root):
    """Run the file by the local runner, with the results under another root, and return its runs by folder."""
    done = run_sweep(path, root)
    assert done.returncode == 0, done.stdout + done.stderr
    return runs(results(root))


def facts(run):
    """Return what a run is and what came out, but for places, times and the rank of its cell."""
    kept = ("run", "experiment", "arm", "method", "factor", "seed", "state", "fingerprint", "lengths", "metrics")
    stages = {stage: run.info[stage]["key"] for stage in ("base", "extend")}
    return {name: run.info[name] for name in kept} | stages | {"numbers": numbers(run)}


def facts_of(found):
    """Return the facts of runs by folder."""
    return {name: facts(run) for name, run in found.items()}


def test_agents_and_the_local_runner_have_identical_records_of_one_file(tmp_path):
    path = written(tmp_path / "agents", TRAINED, *TRAINING)
    expected = run_here(path, tmp_path / "here")
    with wandb_server(tmp_path / "server") as server:
        sweep = hand_over(tmp_path / "agents", server, path)
        agents = [start_agent(tmp_path / "agents", server, sweep) for _ in range(2)]
        assert [agent.wait(timeout=600) for agent in agents] == [0, 0], (tmp_path / "agents" / "agent.txt").read_text()
        assert server.unknown == []
    found = runs(results(tmp_path / "agents"))
    assert len(found) == 4
    assert facts_of(found) == facts_of(expected)
    for name, run in found.items():
        assert run.info["records"] == expected[name].info["records"]  # to the byte
    assert (results(tmp_path / "agents") / "index.html").exists()


def family(pid):
    """Return a process and all that it has started, and they."""
    return [pid, *(member for child in children(pid) for member in family(child))]


def kill(agent, alone):
    """Kill an agent alone, whose cell goes on, or with all of its processes; return whether it was alive."""
    alive = agent.poll() is None
    for pid in ([agent.pid] if alone else family(agent.pid)) if alive else ():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    agent.wait()
    return alive


def test_agents_killed_at_random_moments_and_the_local_runner_after_them_finish_every_arm_once(tmp_path):
    """Zero-shot arms, which share the cached base: as many as ten kills need. W&B offers a killed cell to nobody."""
    path, root = written(tmp_path / "killed", ZERO_SHOT), tmp_path / "killed"
    expected = run_here(path, tmp_path / "undisturbed")
    assert len(expected) == ARMS
    dice, total, killed = random.Random(16), rows(tmp_path / "undisturbed"), 0
    with wandb_server(tmp_path / "server") as server:
        sweep = hand_over(root, server, path)
        agents = [start_agent(root, server, sweep) for _ in range(AGENTS)]
        for moment in sorted(dice.sample(range(total), KILLS)):
            wait_for(lambda moment=moment: rows(root) > moment, agents)
            number = dice.randrange(AGENTS)
            killed += kill(agents[number], alone=dice.random() < 0.5)
            agents[number] = start_agent(root, server, sweep)
        assert [agent.wait(timeout=600) for agent in agents] == [0] * AGENTS, (root / "agent.txt").read_text()
        found = run_here(path, root)  # which waits for cells whose agent alone was killed
        by_run = {run.info["run"]: summary(run) for run in found.values()}
        for name, run in server.runs.items():
            if run["state"] == "finished" and run["jobType"] != "base":
                assert run["summary"].items() >= by_run[server.lcx(name)["run"]].items()
        assert server.unknown == []
    assert killed > KILLS / 2
    assert facts_of(found) == facts_of(expected)
    assert rows(root) == total
    assert not any(
        holder(run.folder) for run in found.values()
    )  # a killed process leaves its file, which holds nothing
    assert not [*(root / "cache").glob("*/*.work")]
