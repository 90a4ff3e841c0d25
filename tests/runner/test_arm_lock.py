"""The lock of an arm: one process at a time, who it is, and nothing that a dead one holds."""

import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from filelock import FileLock

from lcx_lightning.results.listing import HOLDER, LOCK
from lcx_lightning.runner.arm_lock import LOST, HeldError, held, holder
from lcx_lightning.training import preemption

HOLD = """
import sys
from pathlib import Path
from lcx_lightning.runner.arm_lock import held
with held(Path(sys.argv[1]), wait=False):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of a folder."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], text=True, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def write_holder(folder, host, seconds_ago):
    path = folder / HOLDER
    path.write_text(json.dumps({"host": host, "process": 12}))
    then = path.stat().st_mtime - seconds_ago
    os.utime(path, (then, then))


def test_one_process_holds_it_and_says_who_it_is(tmp_path):
    assert holder(tmp_path) is None
    with held(tmp_path, wait=False):
        assert json.loads((tmp_path / HOLDER).read_text()) == {"host": socket.gethostname(), "process": os.getpid()}
    assert holder(tmp_path) is None
    assert not (tmp_path / HOLDER).exists()


@pytest.mark.slow
def test_another_process_is_named_and_holds_nothing_once_it_is_dead(tmp_path, other):
    who = f"process {other.pid} on {socket.gethostname()}"
    assert holder(tmp_path) == who
    with pytest.raises(HeldError, match=who), held(tmp_path, wait=False):
        pass
    other.kill()
    other.wait()
    assert (tmp_path / HOLDER).exists()
    assert holder(tmp_path) is None
    with held(tmp_path, wait=False):
        assert json.loads((tmp_path / HOLDER).read_text())["process"] == os.getpid()


@pytest.fixture
def of_another_user(tmp_path, monkeypatch):
    """A folder that another user's process holds, so that its lock cannot be opened; set `kill` to how that answers."""
    answer = SimpleNamespace(kill=PermissionError)

    def refuse(*_, **__):
        raise PermissionError("not yours")

    def kill(*_):
        raise answer.kill

    (tmp_path / LOCK).touch()
    write_holder(tmp_path, socket.gethostname(), 2 * LOST)
    monkeypatch.setattr(FileLock, "acquire", refuse)
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "kill", kill)
    return answer


def test_a_process_of_another_user_on_this_machine_is_alive_though_it_may_not_be_asked(tmp_path, of_another_user):
    who = f"process 12 on {socket.gethostname()}"
    assert holder(tmp_path) == who
    with pytest.raises(HeldError, match=who), held(tmp_path, wait=False):
        pass


def test_a_dead_process_of_another_user_holds_nothing(tmp_path, of_another_user):
    of_another_user.kill = ProcessLookupError
    assert holder(tmp_path) is None
    with pytest.raises(PermissionError, match="not yours"), held(tmp_path, wait=False):
        pass


@pytest.mark.slow
def test_who_waits_is_told_of_preemption(tmp_path, other, monkeypatch):
    monkeypatch.setattr(preemption, "stop_requested", lambda: True)
    with pytest.raises(preemption.PreemptedError, match="another process holds"), held(tmp_path, wait=True):
        pass


def test_a_holder_on_another_machine_counts_as_long_as_its_file_is_renewed(tmp_path):
    write_holder(tmp_path, "elsewhere", LOST / 2)
    assert holder(tmp_path) == "process 12 on elsewhere"
    with pytest.raises(HeldError, match="process 12 on elsewhere"), held(tmp_path, wait=False):
        pass
    write_holder(tmp_path, "elsewhere", 2 * LOST)
    assert holder(tmp_path) is None
    with held(tmp_path, wait=False):
        assert (tmp_path / LOCK).exists()


def test_a_file_of_a_holder_that_is_torn_or_of_this_machine_holds_nothing(tmp_path):
    write_holder(tmp_path, socket.gethostname(), 0)
    assert holder(tmp_path) is None
    (tmp_path / HOLDER).write_text("{")
    assert holder(tmp_path) is None
