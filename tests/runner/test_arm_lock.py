"""The lock of an arm: one process at a time, who it is, and nothing that a dead one holds."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from filelock import FileLock

from lcx_lightning.results.listing import HOLDER, LOCK
from lcx_lightning.runner import arm_lock
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
        said = json.loads((tmp_path / HOLDER).read_text())
        assert (said["host"], said["process"]) == (socket.gethostname(), os.getpid())
    assert holder(tmp_path) is None
    assert not (tmp_path / HOLDER).exists()


def test_who_asks_writes_nothing_also_where_no_folder_can_be(tmp_path):
    assert holder(tmp_path / "arm") is None
    (tmp_path / "file").touch()
    assert holder(tmp_path / "file" / "arm") is None
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert holder(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


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


def test_a_file_of_a_holder_on_this_machine_that_has_no_lock_holds_nothing(tmp_path):
    write_holder(tmp_path, socket.gethostname(), 0)
    assert holder(tmp_path) is None


def test_a_file_that_is_being_written_holds_and_one_that_was_left_torn_does_not(tmp_path):
    (tmp_path / HOLDER).write_text("{")
    assert holder(tmp_path) == "another process"
    os.utime(tmp_path / HOLDER, (0, 0))
    assert holder(tmp_path) is None
    with held(tmp_path, wait=False):
        assert json.loads((tmp_path / HOLDER).read_text())["process"] == os.getpid()


@pytest.mark.parametrize("error", [-10 * LOST, 10 * LOST])
def test_a_wrong_clock_of_this_machine_neither_revives_nor_kills_a_holder(tmp_path, monkeypatch, error):
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + error)
    write_holder(tmp_path, "elsewhere", LOST / 2)
    assert holder(tmp_path) == "process 12 on elsewhere"
    write_holder(tmp_path, "elsewhere", 2 * LOST)
    assert holder(tmp_path) is None


@pytest.fixture
def two_machines(monkeypatch):
    """Threads are machines: each has its name for a host, and locks of its own. Both look for a holder, then act."""
    together, looked, looks = threading.Barrier(2, timeout=60), threading.local(), arm_lock._lives_elsewhere

    def look(*given):
        found = looks(*given)
        if not hasattr(looked, "once"):
            looked.once = True
            together.wait()
        return found

    monkeypatch.setattr(arm_lock, "_lives_elsewhere", look)
    monkeypatch.setattr(arm_lock, "FileLock", lambda path: FileLock(f"{path}.{threading.current_thread().name}"))
    monkeypatch.setattr(socket, "gethostname", lambda: threading.current_thread().name)


@pytest.mark.parametrize("dead", [False, True])
def test_of_two_machines_that_begin_together_one_holds_where_locks_do_not_reach(tmp_path, two_machines, dead):
    if dead:
        write_holder(tmp_path, "elsewhere", 2 * LOST)
    inside, refused = [], threading.Event()

    def compute():
        try:
            with held(tmp_path, wait=False):
                inside.append(threading.current_thread().name)
                refused.wait(60)
                assert json.loads((tmp_path / HOLDER).read_text())["host"] == inside[0]
        except HeldError:
            refused.set()

    threads = [threading.Thread(target=compute, name=name) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inside) == 1
    assert refused.is_set()
    assert not [*tmp_path.glob(f"{HOLDER}*")]


def test_who_has_lost_its_file_to_another_machine_leaves_that_of_the_other(tmp_path):
    with held(tmp_path, wait=False):
        write_holder(tmp_path, "elsewhere", 0)
    assert holder(tmp_path) == "process 12 on elsewhere"
