"""The scheduler beside other processes that compute arms of the same grid."""

from types import SimpleNamespace

import pytest
from rich.console import Console

from lcx_lightning.runner.launch import scheduler
from lcx_lightning.runner.launch.base import BUSY, FAILED
from lcx_lightning.runner.launch.scheduler import Job, run_jobs
from lcx_lightning.runner.launch.slurm import NO_RESULT
from lcx_lightning.training import preemption


class Running:
    """A job that ends with an exit code at once."""

    def __init__(self, code):
        self.code = code

    def codes(self):
        return {"its process": self.code}

    def end(self):
        return False

    def request_stop(self):
        pass


class Launcher:
    """Starts `at_once` jobs at a time, in the order of `started`, whose exit codes are given by name."""

    remote, at_once = False, 1

    def __init__(self, **codes):
        self.codes, self.started, self.looks = {name: list(ones) for name, ones in codes.items()}, [], 0

    def has_capacity(self, trainer, running):
        return len(running) < self.at_once

    def start(self, number, name, arm, only_base, beside):
        self.started.append(name)
        return Running(self.codes.get(name, [0]).pop(0))

    def events(self):
        self.looks += 1
        return []


@pytest.fixture
def elsewhere(monkeypatch):
    """What other processes do: arms that they compute, and arms that they have ended, by name."""
    computed, ended = set(), {}
    monkeypatch.setattr(scheduler, "stamp", lambda arm: None)
    monkeypatch.setattr(scheduler, "computed_by", lambda arm, only_base: "another" if arm.name in computed else None)
    monkeypatch.setattr(scheduler, "ended_by_others", lambda arm, only_base: ended.get(arm.name))
    return SimpleNamespace(computed=computed, ended=ended)


def jobs_of(*names, needs=None):
    return [Job(name, SimpleNamespace(name=name, trainer=None), False, needs=needs) for name in names]


def run(jobs, launcher, at_most=None):
    run_jobs(jobs, launcher, Console(quiet=True), at_most)
    return {job.name: job.state for job in jobs}


def test_an_arm_that_another_process_computes_is_passed_over_and_counts_as_done_when_that_has_finished_it(elsewhere):
    elsewhere.computed.add("a")
    launcher, jobs = Launcher(), jobs_of("a", "b", "c")

    class Finishing(Launcher):
        def events(self):
            if self.started == ["b", "c"]:
                elsewhere.ended["a"] = ("finished", "")
            return super().events()

    launcher = Finishing()
    assert run(jobs, launcher) == dict.fromkeys("abc", "finished")
    assert launcher.started == ["b", "c"]


def test_an_arm_whose_process_dies_is_taken_over(elsewhere):
    elsewhere.computed.add("a")

    class Dying(Launcher):
        def events(self):
            if self.started == ["b"]:
                elsewhere.computed.clear()
            return super().events()

    launcher = Dying()
    assert run(jobs_of("a", "b"), launcher) == {"a": "finished", "b": "finished"}
    assert launcher.started == ["b", "a"]


def test_an_arm_that_another_process_was_faster_with_waits_again(elsewhere):
    launcher = Launcher(a=[BUSY, 0])
    assert run(jobs_of("a", "b"), launcher) == {"a": "finished", "b": "finished"}
    assert sorted(launcher.started) == ["a", "a", "b"]


def test_what_fails_in_another_process_is_not_tried_here(elsewhere):
    elsewhere.ended["a"] = ("failed", "ValueError: bad (in another process)")
    launcher, jobs = Launcher(), jobs_of("a", "b")
    assert run(jobs, launcher) == {"a": "failed", "b": "finished"}
    assert jobs[0].error == "ValueError: bad (in another process)"
    assert launcher.started == ["b"]


def test_as_many_arms_as_are_asked_for_are_run_with_their_bases_and_the_others_are_left(elsewhere):
    elsewhere.computed.add("a")
    arm = SimpleNamespace(name="base", trainer=None)
    bases = [Job("base 1", arm, True), Job("base 2", arm, True)]
    jobs = [*bases, *jobs_of("a", "b", needs=bases[0]), *jobs_of("c", needs=bases[1])]
    launcher = Launcher()
    states = run(jobs, launcher, at_most=1)
    assert launcher.started == ["base 1", "b"]
    assert states == {"base 1": "finished", "base 2": "left", "a": "left", "b": "finished", "c": "left"}


def test_a_base_that_several_arms_share_is_started_once(elsewhere):
    base = Job("base", SimpleNamespace(name="base", trainer=None), True)
    launcher = Launcher()
    launcher.at_once = 3
    states = run([base, *jobs_of("a", "b", "c", needs=base)], launcher, at_most=2)
    assert launcher.started == ["base", "a", "b"]
    assert states == {"base": "finished", "a": "finished", "b": "finished", "c": "left"}


@pytest.mark.parametrize(
    ("code", "state"),
    [(preemption.EXIT_CODE, "stopped"), (NO_RESULT, "stopped"), (-9, "stopped"), (FAILED, "failed"), (0, "finished")],
)
def test_a_job_that_is_unwanted_has_stopped_however_it_ends_unless_it_failed_or_was_faster(elsewhere, code, state):
    class Asked(Running):
        def __init__(self, code):
            self.code, self.later = None, code

        def request_stop(self):
            self.code = self.later

    class Stopping(Launcher):
        def start(self, number, *more):
            running = super().start(number, *more)
            return Asked(running.code) if number == 0 else running

        def events(self):
            unwanted.stop()
            return super().events()

    unwanted, other = jobs_of("a", "b")
    assert run([unwanted, other], Stopping(a=[code])) == {"a": state, "b": "finished"}
    assert bool(unwanted.error) == (state == "failed")
