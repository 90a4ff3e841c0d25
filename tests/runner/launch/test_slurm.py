"""Jobs of a cluster, on submitit's local stand-in for Slurm, and the script for one run under Slurm."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console
from support.lab import (
    EVALUATION,
    ROOT,
    TRAINING,
    L,
    arms_of,
    environment,
    folders,
    results,
    runs,
    save_checkpoint,
    save_documents,
)
from torch.distributed.run import get_args_parser

from lcx_lightning.runner.experiment import plan
from lcx_lightning.runner.launch.scheduler import run_jobs
from lcx_lightning.runner.launch.slurm import SlurmLauncher

PARAMETERS = {"timeout_min": 5, "cpus_per_task": 1, "slurm_partition": "none", "mem_gb": None}


class Watched(SlurmLauncher):
    """Tells a job that its time is over as soon as its first checkpoint is there."""

    def __init__(self, root, **given):
        super().__init__(str(root / "slurm"), "local", 3, 2, OmegaConf.create(PARAMETERS))
        self.root, self.told, self.stages = root, None, []

    def events(self):
        found = super().events()
        self.stages += [event[1] for event in found]
        for path in (self.root / "cache" / "extend").glob("*.work/last.ckpt"):
            if self.told is None:
                self.told = path.stat().st_mtime
                controller = self._jobs[0]._job.job_id  # submitit's, which starts the task again when that asks for it
                (task,) = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
                os.kill(int(task), signal.SIGUSR2)
        return found


@pytest.mark.slow
def test_a_job_of_the_cluster_saves_and_is_queued_again_and_one_that_fails_stops_no_other(tmp_path):
    model = save_checkpoint(tmp_path / "model")
    data = save_documents(tmp_path / "data")
    line = ["model=hub", f"model.source.name={model}", *data, "training=finetune", *TRAINING, "training.steps=300"]
    line += ["evaluation.growing_context.windows=2", "evaluation.growing_context.multiples=[1]", *folders(tmp_path)]
    line += ["evaluation.growing_context.last=16", "checkpoint_seconds=0.2", "arms=['method=pi']", "launch=slurm"]
    (arm,) = arms_of(*line)
    (broken,) = arms_of(*line, "results_dir=/dev/null/none")
    jobs = [*plan([arm]), *plan([broken])]
    launch = Watched(tmp_path)
    run_jobs(jobs, launch, Console(quiet=True))
    assert [job.state for job in jobs] == ["finished", "failed"], [job.error for job in jobs]
    assert "dev/null" in jobs[1].error
    log = launch._jobs[0]._job.paths.stderr.read_text() + launch._jobs[0]._job.paths.stdout.read_text()
    assert launch.told
    assert log.count("Starting with") == 2, log  # submitit, at each start of the process
    assert "Requeued job" in log
    (run,) = runs(results(tmp_path)).values()
    assert run.info["state"] == "finished"
    assert {row["context_length"] for row in run.rows} == {L}
    assert {"running", "extend", "evaluate"} <= set(launch.stages)


@pytest.mark.slow
def test_a_job_that_is_unwanted_is_cancelled_and_has_stopped(tmp_path):
    class Stopping(SlurmLauncher):
        def events(self):
            if [*(tmp_path / "cache" / "extend").glob("*.work/last.ckpt")]:
                job.stop()
            return super().events()

    model = save_checkpoint(tmp_path / "model")
    line = ["model=hub", f"model.source.name={model}", *save_documents(tmp_path / "data"), "training=finetune"]
    line += [*TRAINING, "training.steps=30000", *folders(tmp_path), "checkpoint_seconds=0.2", "launch=slurm"]
    (arm,) = arms_of(*line, "method=pi", *EVALUATION)
    (job,) = plan([arm])
    run_jobs([job], Stopping(str(tmp_path / "slurm"), "local", 3, 2, OmegaConf.create(PARAMETERS)), Console(quiet=True))
    assert (job.state, job.error) == ("stopped", "")


SCRIPT = ROOT / "docs" / "slurm.sbatch"
SRUN = f"""#!{sys.executable}
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
pathlib.Path("words").write_text(" ".join(sys.argv[1:]))
pathlib.Path("began").touch()
signal.sigwait([signal.SIGUSR1])
pathlib.Path("saved").touch()
sys.exit(1)
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
    assert script.wait(timeout=60) == 1  # torchrun's
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "requeued").read_text() == "requeue 42\n"
    words = (tmp_path / "words").read_text().split()
    assert words[:5] == ["torchrun", "--nnodes", "2", "--nproc-per-node", "8"]
    assert words[words.index("--rdzv-endpoint") + 1] == "node7:20042"
    assert words[-4:] == ["-m", "experiments.run", "trainer=fsdp", "+exp=quickstart"]
    get_args_parser().parse_args(words[1:])


def test_a_cluster_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"srun.* try it with launch.cluster=local"):
        SlurmLauncher(str(tmp_path), "slurm", 3, 2, OmegaConf.create(PARAMETERS))
    with pytest.raises(ValueError, match=r"cluster must be slurm or local, got 'moon'"):
        SlurmLauncher(str(tmp_path), "moon", 3, 2, OmegaConf.create(PARAMETERS))
    with pytest.raises(ValueError, match=r"launch.parameters: (.|\n)*partitoin"):
        SlurmLauncher(str(tmp_path), "local", 3, 2, OmegaConf.create({"partitoin": "gpu"}))
