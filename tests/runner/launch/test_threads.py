"""Threads of a process."""

import os

import pytest

from lcx_lightning.runner.launch.threads import threads_of


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name in ("OMP_NUM_THREADS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(("processes", "threads"), [(1, 8), (2, 4), (3, 2), (20, 1)])
def test_processes_share_the_cores_that_the_command_may_use(eight_cores, processes, threads):
    assert threads_of(processes) == threads


@pytest.mark.parametrize(("most", "threads"), [("3", 3), ("16", 4), ("2,1", 2), ("", 4), ("0", 4), ("all", 4)])
def test_omp_num_threads_is_the_most_that_a_process_gets(eight_cores, most, threads):
    eight_cores.setenv("OMP_NUM_THREADS", most)
    assert threads_of(2) == threads


@pytest.mark.parametrize(("local", "most", "threads"), [("2", "1", 4), ("2", "3", 3), ("1", "1", 1)])
def test_the_one_thread_that_torchrun_sets_for_several_processes_is_no_wish(eight_cores, local, most, threads):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": local, "OMP_NUM_THREADS": most}.items():
        eight_cores.setenv(name, value)
    assert threads_of(2) == threads
