"""Runs on several machines: commands that meet, start jobs together, and end together, whatever happens to one."""

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from experiments import nodes, torchrun
from experiments.nodes import Meeting, Nodes, meeting
from experiments.processes import LocalTeam
from experiments.ranks import seat
from experiments.schedule import Job, run_jobs
from experiments.together import Together, follow
from lcx_lightning.training import preemption

ARM = SimpleNamespace(config={"trainer": {"devices": 1, "num_nodes": 2}})
QUIET = Console(quiet=True)


@dataclass
class Process:
    """A process of a job that ends as it was told to."""

    exitcode: int | None
    killed: bool = False
    pid: None = None

    def is_alive(self):
        return self.exitcode is None

    def kill(self):
        self.exitcode, self.killed = -9, True

    def join(self):
        pass


@dataclass
class Team(LocalTeam):
    """Processes that end with the code of preemption when they are asked for."""

    def give_back(self):
        for process in self.processes:
            process.exitcode = preemption.EXIT_CODE


@dataclass
class Machine:
    """Starts processes that end with given exit codes, one job after the other; None: they run until they are ended."""

    ends: list
    error: str = ""
    started: list = field(default_factory=list)
    places: list = field(default_factory=list)

    def start(self, number, name, arm, only_base, beside, place=None):
        self.places.append(place)
        self.started.append(Process(self.ends[len(self.started)]))
        return Team([self.started[-1]])

    def events(self):
        return [(0, "failed", 0, 1, self.error)] if self.error and self.started[-1:] else []


@pytest.fixture
def two(monkeypatch):
    """The commands of two machines, in one process."""
    monkeypatch.setattr(preemption, "_asked", threading.Event())
    monkeypatch.setattr(nodes, "LAST_WORDS", 5)
    port = seat(ARM.config["trainer"]).port
    pair = [Nodes(Meeting(node, 2, "127.0.0.1", port, False, "test"), ["method=pi"]) for node in (0, 1)]
    yield pair
    for one in pair:
        one._closing.set()
        one._thread.join()


def run_both(two, first, second, jobs=1):
    """Run jobs on both machines, and return them as the first sees them, and the exit code of the second."""
    planned = [Job(f"job {n}", ARM, only_base=False) for n in range(jobs)]
    codes = []
    other = threading.Thread(target=lambda: codes.append(follow(two[1], second, QUIET)))
    other.start()
    run_jobs(planned, Together(first, two[0]), QUIET)
    two[0].say(end=7)
    other.join()
    return planned, codes[0]


def test_jobs_end_on_all_machines_and_the_others_end_with_the_exit_code_of_the_first(two):
    first, second = Machine([0, 0]), Machine([0, 0])
    jobs, code = run_both(two, first, second, jobs=2)
    assert [job.state for job in jobs] == ["finished", "finished"]
    assert code == 7
    places = [(place.ranks, place.node, place.port) for place in (*first.places, *second.places)]
    assert places == [(2, 0, two[0].where.port)] * 2 + [(2, 1, two[0].where.port)] * 2
    assert [place.name for place in first.places] == [place.name for place in second.places]
    assert len({place.name for place in first.places}) == 2


@pytest.mark.parametrize("broken", [0, 1])
def test_a_process_that_dies_on_one_machine_ends_the_job_on_both_and_no_other(two, broken):
    machines = [Machine([None, 0]), Machine([None, 0])]
    machines[broken].ends[0] = -9
    jobs, _ = run_both(two, *machines, jobs=2)
    assert [job.state for job in jobs] == ["failed", "finished"]
    assert "ended with exit code -9 (killed: out of memory?)" in jobs[0].error
    assert ("node 1" in jobs[0].error) is (broken == 1)
    assert machines[1 - broken].started[0].killed


def test_the_first_machine_knows_why_a_job_failed_on_another(two):
    jobs, _ = run_both(two, Machine([1], error="RuntimeError: closed"), Machine([1], error="ValueError: no such text"))
    assert jobs[0].state == "failed"
    assert jobs[0].error.splitlines()[0] == "node 0: RuntimeError: closed; node 1: ValueError: no such text"


@pytest.mark.parametrize("asked", [0, 1])
def test_a_machine_that_is_asked_for_back_has_the_processes_of_both_save(two, asked):
    first, second = Machine([None, 0]), Machine([None, 0])
    two[asked].say(asked=True)
    if asked == 0:
        preemption.ask()
    jobs, _ = run_both(two, first, second, jobs=2)
    assert [job.state for job in jobs] == ["interrupted", "interrupted"]
    assert not any(process.killed for process in (*first.started, *second.started))


def test_a_job_fails_when_another_machine_is_gone(two):
    two[1].close(0)
    jobs = [Job("job", ARM, only_base=False)]
    first = Machine([None])
    run_jobs(jobs, Together(first, two[0]), QUIET)
    assert jobs[0].state == "failed"
    assert "node 1 has ended" in jobs[0].error
    assert first.started[0].killed


def test_a_machine_that_falls_silent_is_lost(two, monkeypatch):
    two[1]._closing.set()
    two[1]._thread.join()
    monkeypatch.setattr(nodes, "SILENCE", 0.5)
    with pytest.raises(ValueError, match="On node 1: nothing was heard of node 1 for"):
        two[0].gather(["method=pi"])


def test_machines_with_different_commands_are_refused(two):
    with pytest.raises(ValueError, match="All machines need the same command, but node 1 runs"):
        two[0].gather(["method=ntk"])


def test_what_one_machine_cannot_run_is_refused_on_the_first(two):
    two[1].say(refused="there is no GPU")
    with pytest.raises(ValueError, match="On node 1: there is no GPU"):
        two[0].gather(["method=pi"])


def test_machines_that_are_ready_have_met(two):
    two[1].say(ready=True)
    two[0].gather(["method=pi"])


def test_a_taken_port_is_refused(two):
    with pytest.raises(ValueError, match="choose another MASTER_PORT"):
        Nodes(two[0].where, [])


PLAIN = {"NODE_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "5"}
ELASTIC = {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_USE_AGENT_STORE": "True", "LOCAL_RANK": "0", "GROUP_RANK": "1"}
ELASTIC |= {"LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "5"}


def test_where_machines_meet_is_in_the_environment(monkeypatch):
    assert meeting({"devices": 8}) is None
    for name, value in PLAIN.items():
        monkeypatch.setenv(name, value)
    assert meeting({"num_nodes": 2}) == Meeting(1, 2, "a", 5, False, "run")
    for name, value in ELASTIC.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NODE_RANK", "0")  # of an outer launcher
    assert meeting({"num_nodes": 2}) == Meeting(1, 2, "a", 5, True, "x/0")


@pytest.mark.parametrize("wrong", [{"NODE_RANK": "2"}, {"NODE_RANK": ""}, {"MASTER_ADDR": ""}, {"MASTER_PORT": "x"}])
def test_machines_that_cannot_meet_are_refused(monkeypatch, wrong):
    for name, value in (PLAIN | wrong).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="Each of 2 machines needs NODE_RANK, from 0 to 1"):
        meeting({"num_nodes": 2})


def test_torchrun_says_how_many_processes_there_are(monkeypatch):
    config = OmegaConf.create({"trainer": {"devices": "???"}})
    assert (torchrun.settings(config), torchrun.leads()) == ({}, True)
    for name, value in ELASTIC.items():
        monkeypatch.setenv(name, value)
    assert torchrun.settings(config) == {"devices": 4, "num_nodes": 2}
    assert torchrun.leads()
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert not torchrun.leads()
    for setting in ({"devices": 8}, {"devices": 4, "num_nodes": 1}):
        with pytest.raises(ValueError, match="let both say the same"):
            torchrun.settings(OmegaConf.create({"trainer": setting}))
