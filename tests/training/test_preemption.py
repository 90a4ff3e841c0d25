"""Signals that ask a run to end: noted where something is to be saved, and obeyed at once where nothing is."""

import os
import signal

import pytest

from lcx_lightning.training import preemption


@pytest.fixture
def listening():
    """Signals are noted while a test runs, and forgotten after it."""
    before = {number: signal.getsignal(number) for number in preemption.SIGNALS}
    preemption.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    preemption._of_process.clear()
    preemption.end_run()


@pytest.mark.parametrize("number", preemption.SIGNALS)
def test_a_signal_is_noted_and_ends_a_process_only_where_there_is_nothing_to_save(listening, number):
    assert not preemption.stop_requested()
    with pytest.raises(SystemExit) as ended, preemption.nothing_to_save():
        os.kill(os.getpid(), number)
    assert ended.value.code == preemption.EXIT_CODE
    os.kill(os.getpid(), number)
    assert preemption.stop_requested()


def test_a_signal_that_has_come_before_there_is_nothing_to_save_ends_the_process_too(listening):
    preemption.request_stop()
    with pytest.raises(SystemExit), preemption.nothing_to_save():
        pytest.fail("not reached")


@pytest.mark.parametrize("first", ["run", "process"])
def test_what_one_run_is_asked_ends_with_it_and_what_the_process_is_asked_does_not(listening, first):
    preemption.request_stop_of_run()
    assert preemption.stop_requested()
    preemption.end_run()
    assert not preemption.stop_requested()
    asked = [preemption.request_stop_of_run, lambda: os.kill(os.getpid(), signal.SIGTERM)]
    for ask in asked if first == "run" else reversed(asked):
        ask()
    preemption.end_run()
    assert preemption.stop_requested()
