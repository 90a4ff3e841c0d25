"""A project of W&B in a double of the server, with runs that are logged from records made by hand."""

import json
import subprocess
import sys

from support.lab import ROOT
from support.wandb_client import client_environment

LOG = """
import sys
from lcx_lightning.results.knobs import knobs
from lcx_lightning.results.logged import NewRun, label
from lcx_lightning.results.records import read_run
from lcx_lightning.results.wandb_logger import WandbRun

for folder in sys.argv[2:]:
    run = read_run(folder)
    known = knobs(run.info)
    config = {"lcx": known, "cfg": run.info.get("config")}
    new = NewRun(run.info["run"], label(known), known["experiment"] or "experiment", config, False, lambda: None)
    log = WandbRun(project="project", entity="team", mode="online", folder=sys.argv[1], new=new)
    if run.info["state"] != "running":
        log.log_results(run)
        log.log_files(run.folder, run.info["run"])
    log.end("finished" if run.finished else "failed", run.info.get("reason"))
"""

READ = """
import json
from lcx_lightning.results.wandb_project import project_of, read_project

found = read_project(project_of("wandb:team/project"))
told = [
    {"meta": one.meta, "runs": [{"arm": run.arm, "info": run.info, "rows": run.rows} for run in one.runs]}
    for one in found.experiments
]
print(json.dumps({"experiments": told, "missing": found.missing}))
"""
REPORT = """
import sys
from experiments.report import main

sys.exit(main())
"""


def in_client(root, server, code, *words):
    """Run Python code in a process that uses the server, and return what it printed."""
    line = [sys.executable, "-W", "ignore", "-c", code, *map(str, words)]
    variables = client_environment(root, server) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read_back(root, server):
    """Return what is read of the project: experiments with their runs, and what is missing."""
    return json.loads(in_client(root, server, READ))


def report(root, server, *words):
    """Return what the command of reports prints."""
    return in_client(root, server, REPORT, *words)


def log_experiment(root, server, folder):
    """Log all runs of an experiment; of one that is running no numbers and no files."""
    states = {path.parent: json.loads(path.read_text())["state"] for path in sorted(folder.glob("*/run.json"))}
    in_client(root, server, LOG, root, *states)
    for place, state in states.items():
        if state == "running":
            server.runs[json.loads((place / "run.json").read_text())["run"]].update(state="crashed", summary={})
