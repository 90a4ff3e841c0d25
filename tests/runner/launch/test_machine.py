"""Commands on one machine share its cores and its GPUs, whose numbers are made up here."""

import subprocess
import sys

import pytest
import torch

from lcx_lightning.runner.launch import machine
from lcx_lightning.runner.launch.machine import VISIBLE, Command, own_gpus

OTHER = """
import os, sys
from pathlib import Path
import torch
from lcx_lightning.runner.launch import machine
machine.FOLDER = Path(sys.argv[1])
torch.cuda.device_count = lambda: 4
command = machine.Command()
command.processes(3)
with machine.own_gpus(1, 0) as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def four_gpus(tmp_path, monkeypatch):
    """A machine with four GPUs, on which nothing runs; to set variables."""
    monkeypatch.setattr(machine, "FOLDER", tmp_path / "machine")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv(VISIBLE, raising=False)
    return monkeypatch


@pytest.fixture
def other(four_gpus, tmp_path):
    """Another command, with three processes and the GPU 0."""
    words = [sys.executable, "-c", OTHER, str(tmp_path / "machine")]
    with subprocess.Popen(words, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == "0\n"
        yield process
        process.kill()


def test_a_command_alone_counts_its_own_processes(four_gpus):
    command = Command()
    assert [command.processes(2), command.processes(5)] == [2, 5]


@pytest.mark.slow
def test_commands_count_each_others_processes_and_take_other_gpus_until_one_is_killed(other):
    command = Command()
    assert command.processes(2) == 5
    with own_gpus(1, 0) as mine:
        assert mine == "1"
    with own_gpus(2, 0) as mine:
        assert mine == "1,2"
    other.kill()
    other.wait()
    assert command.processes(2) == 2
    with own_gpus(1, 0) as mine:
        assert mine == "0"


def test_jobs_beside_each_other_have_gpus_of_their_own_as_long_as_there_are_some(four_gpus):
    with own_gpus(1, 0) as first, own_gpus(2, 1) as second, own_gpus(1, 2) as third:
        assert (first, second, third) == ("0", "1,2", "3")
        with own_gpus(1, 3) as fourth, own_gpus(2, 5) as fifth:
            assert (fourth, fifth) == ("3", "2,3")


@pytest.mark.parametrize("said", ["2", "", "MIG-1"])
def test_gpus_that_the_environment_names_are_left_as_they_are(four_gpus, said):
    four_gpus.setenv(VISIBLE, said)
    with own_gpus(1, 0) as mine:
        assert mine is None


@pytest.mark.parametrize("there", [0, 1, 2])
def test_where_there_are_no_more_gpus_than_are_needed_none_is_chosen(four_gpus, there):
    four_gpus.setattr(torch.cuda, "device_count", lambda: there)
    with own_gpus(2, 0) as mine:
        assert mine is None
