"""Small sweeps: files with a few cells of a second each, and the command that runs them without a server."""

import subprocess
import sys

import yaml
from support.lab import ROOT, TINY, environment, folders


def write_sweep(folder, parameters, *words, **more):
    """Write the file of a grid, with words that all cells share, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "program": "experiments.run",
        "command": ["${env}", "${interpreter}", "-m", "${program}", "logger=wandb", *words, "${args_no_hyphens}"],
        "method": "grid",
        "metric": {"name": "perplexity/last_k/2L", "goal": "minimize"},
        "parameters": parameters,
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content | more))
    return path


def sweep_command(path, root, *words):
    """Return the command that runs a sweep at tiny sizes, with its results and caches under `root`."""
    return [sys.executable, "-m", "experiments.sweep", str(path), *map(str, words), *TINY, *folders(root)]


def run_sweep(path, root, *words):
    """Run a sweep to its end, and return what it printed and its exit code."""
    return subprocess.run(
        sweep_command(path, root, *words), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300
    )
