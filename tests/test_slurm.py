"""Jobs of a cluster, on submitit's local stand-in for Slurm, and the script for one run under Slurm."""

import os
import signal
import stat
import subprocess

import pytest
from lab import ROOT, environment
from omegaconf import OmegaConf

from experiments.slurm import Slurm
from lcx_lightning.training import preemption

PARAMETERS = {"timeout_min": 5, "cpus_per_task": 1, "slurm_partition": "none", "mem_gb": None}


SCRIPT = ROOT / "docs" / "slurm.sbatch"
SRUN = """#!/bin/bash
echo "$@" > words
trap 'touch saved; exit 75' USR1
touch began
while :; do read -t 0.05 < <(:); done
"""
STAND_INS = {"srun": SRUN, "scontrol": '#!/bin/bash\n[ "$1" = show ] && echo node7 || echo "$@" > requeued\n'}


def test_the_script_for_one_run_saves_and_is_queued_again_when_its_time_is_over(tmp_path):
    for name, text in STAND_INS.items():
        path = tmp_path / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    job = {"SLURM_JOB_ID": "42", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_NUM_NODES": "2"}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    script = subprocess.Popen(
        ["bash", SCRIPT, "+exp=quickstart"], cwd=tmp_path, env=environment(PATH=path, SLURM_GPUS_ON_NODE="8", **job)
    )
    while not (tmp_path / "began").exists():
        assert script.poll() is None
        os.sched_yield()
    script.send_signal(signal.SIGUSR1)
    assert script.wait(timeout=60) == preemption.EXIT_CODE
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "requeued").read_text() == "requeue 42\n"
    words = (tmp_path / "words").read_text().split()
    assert words[-4:] == ["trainer=multinode", "trainer.num_nodes=2", "trainer.devices=8", "+exp=quickstart"]


def test_a_cluster_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"srun.* try it with launch.cluster=local"):
        Slurm(str(tmp_path), "slurm", 3, OmegaConf.create(PARAMETERS))
    with pytest.raises(ValueError, match=r"launch.cluster must be slurm or local, got 'moon'"):
        Slurm(str(tmp_path), "moon", 3, OmegaConf.create(PARAMETERS))
    with pytest.raises(ValueError, match=r"launch.parameters: (.|\n)*partitoin"):
        Slurm(str(tmp_path), "local", 3, OmegaConf.create({"partitoin": "gpu"}))
