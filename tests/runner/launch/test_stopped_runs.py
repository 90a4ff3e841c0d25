"""A run that W&B asks to stop, under every launcher: it ends for good, and the command goes on with the others."""

import subprocess
import sys

import pytest
from support.interrupted_runs import await_checkpoints
from support.lab import ROOT, TINY, TRAINING, command, folders, runs
from support.wandb_client import client_environment
from support.wandb_server import wandb_server

pytestmark = pytest.mark.slow
RANKS = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.precision=32-true"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
LAUNCHED = {
    "torchrun": [*TORCHRUN, "-m", "experiments.run", *RANKS],
    "local": command(*RANKS, "trainer.devices=2", "jobs=1"),
    "slurm": command("launch=slurm", "launch.cluster=local"),
}
ARMS = "arms=['method=yarn training=finetune training.steps=4000','method=pi training=finetune training.steps=4']"


def arms_of(server):
    """Return the names of the runs of arms by method."""
    names = [name for name, run in server.runs.items() if run["jobType"] != "base"]
    return {server.lcx(name)["method"]: name for name in names}


@pytest.mark.parametrize("launched", LAUNCHED)
def test_a_run_that_is_stopped_ends_for_good_and_the_others_go_on(launched, tmp_path):
    with wandb_server(tmp_path / "server") as server, (tmp_path / "said.txt").open("w") as said:
        line = ["logger=wandb", "experiment=stopped", *TINY, *TRAINING[1:], ARMS, *folders(tmp_path)]
        line += ["checkpoint_seconds=0.001"]
        process = subprocess.Popen(
            [*LAUNCHED[launched], *line],
            cwd=ROOT,
            env=client_environment(tmp_path, server),
            start_new_session=True,
            stdout=said,
            stderr=said,
        )
        await_checkpoints(process, tmp_path, "extend", 3)
        server.stopping.add(arms_of(server)["yarn"])
        code = process.wait(timeout=300)
        text = (tmp_path / "said.txt").read_text()
        assert code == 0, text
        states = {run.info["arm"]: run.info["state"] for run in runs(tmp_path / "results" / "stopped").values()}
        assert states == {"yarn": "interrupted", "pi": "finished"}, text
        told = {arm: server.runs[name]["summary"]["status"] for arm, name in arms_of(server).items()}
        assert told == {"yarn": "stopped", "pi": "finished"}, text
        assert text.count("stopped yarn, seed 0") == 1
