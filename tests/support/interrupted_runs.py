"""Runs of the command line that are stopped from outside, at a moment that is waited for."""

import os
import signal
import subprocess
from pathlib import Path

from support.lab import ROOT, command, environment


def start(root, *overrides, words=None, said="said.txt"):
    """Start the command, or the words given, in a process group of its own. What it prints goes to `said`."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / said).open("w") as file:
        return subprocess.Popen(
            words or command(*overrides), cwd=ROOT, env=environment(), start_new_session=True, stdout=file, stderr=file
        )


def end(process, number, root):
    """Send a signal to all processes of a run, as a scheduler does, and return its exit code and what it printed."""
    os.killpg(process.pid, number)
    return process.wait(timeout=300), (root / "said.txt").read_text()


def await_(process, root, there):
    """Wait until `there()` holds of a run."""
    while not there():
        try:
            process.wait(timeout=0.002)
        except subprocess.TimeoutExpired:
            continue
        assert there(), (root / "said.txt").read_text()


def wait_for(there, workers):
    """Wait until `there()` holds, or all workers have ended."""
    while not there() and any(worker.poll() is None for worker in workers):
        try:
            next(worker for worker in workers if worker.returncode is None).wait(timeout=0.002)
        except subprocess.TimeoutExpired:
            continue


def await_checkpoints(process, root, stage, count):
    """Wait until `count` checkpoints of a stage have been seen, one after the other."""
    seen = set()

    def there():
        seen.update(path.stat().st_mtime_ns for path in (root / "cache" / stage).glob("*.work/last.ckpt"))
        return len(seen) >= count

    await_(process, root, there)


def freeze_in_checkpoint(process, root, stage):
    """Freeze all processes of a run while a checkpoint is half written and there is one before it."""
    await_checkpoints(process, root, stage, 1)
    (work,) = (root / "cache" / stage).glob("*.work")
    part = work / "last.ckpt.part"
    while True:
        while not part.exists():
            assert process.poll() is None, (root / "said.txt").read_text()
        os.killpg(process.pid, signal.SIGSTOP)
        while any(state(pid) not in "TZ" for pid in [process.pid, *ranks_of(process)]):
            os.sched_yield()
        if part.exists():
            return work
        os.killpg(process.pid, signal.SIGCONT)


def state(pid):
    """Return the letter of what a process does: T stopped, Z gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def children(pid):
    """Return the processes that a process has started, oldest first."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return sorted(found)


def ranks_of(process):
    """Return the processes of the running arm, by rank: all children of the fork server but the first, their agent."""
    return [rank for child in children(process.pid) for rank in children(child)[1:]]


def rows(root):
    """Return how many rows of records there are."""
    return sum(path.read_bytes().count(b"\n") for path in (root / "results").glob("*/*/records.jsonl"))
