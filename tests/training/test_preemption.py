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
    preemption._requested.clear()


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
