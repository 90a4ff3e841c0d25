"""The real `wandb` command against a double of the server: sweeps of tiny arms, and their agents."""

import os
import subprocess
import sys
from pathlib import Path

import yaml
from support.lab import ROOT, TINY, TRAINING, command, environment, folders

QUICK = "import wandb.wandb_agent as a; a.Agent.POLL_INTERVAL = 0.2; from wandb.cli.cli import cli; cli()"


def client_environment(root, server):
    """Return the environment of a client: a home of its own, and this Python first."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return environment(HOME=str(root), WANDB_DIR=str(root), PATH=path, **server.environment())


def wandb(root, server, *words):
    """Run the `wandb` command to its end, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", QUICK, *words],
        cwd=ROOT,
        env=client_environment(root, server),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def new_sweep(root, server, name, *overrides, **values):
    """Hand a grid over keys of the command line to the server, and return its id."""
    line = ["logger=wandb", f"experiment={name}", "jobs=1", *TINY, *TRAINING, *folders(root), *overrides]
    keys = {key.replace("__", "."): {"values": several} for key, several in values.items()}
    fixed = ["${env}", "${interpreter}", "-m", "${program}", *line, "${args_no_hyphens}"]
    sweep = {"program": "experiments.run", "command": fixed, "method": "grid", "parameters": keys}
    (root / f"{name}.yaml").write_text(yaml.safe_dump(sweep))
    return hand_over(root, server, root / f"{name}.yaml")


def hand_over(root, server, path):
    """Hand the file of a sweep to the server, and return the id of the sweep."""
    before = set(server.sweeps)
    wandb(root, server, "sweep", "-p", "project", str(path))
    (new,) = set(server.sweeps) - before
    return new


def start_agent(root, server, sweep, said="agent.txt"):
    """Start an agent of a sweep in a process group of its own; what it prints goes to a file."""
    with (root / said).open("a") as file:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", QUICK, "agent", f"team/project/{sweep}"],
            cwd=ROOT,
            env=client_environment(root, server),
            start_new_session=True,
            stdout=file,
            stderr=file,
        )


def launch_logged(root, server, *overrides):
    """Start an arm that is logged, outside of sweeps."""
    line = ["logger=wandb", *TINY, *folders(root), *overrides]
    return subprocess.Popen(
        command(*line),
        cwd=ROOT,
        env=client_environment(root, server),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
