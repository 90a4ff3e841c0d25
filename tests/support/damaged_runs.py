"""Commands that read files, run in this process, and watched so that none hangs."""

import io
import json
import signal
import sys
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from unittest.mock import patch

from hydra.core.global_hydra import GlobalHydra

from experiments.report import main
from lcx_lightning.runner import command, experiment
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.launch import forkserver, worker
from lcx_lightning.runner.stages import base
from lcx_lightning.training import preemption

SECONDS = 60  # of a case, of which most take less than one


class HangsError(BaseException):
    """A case that takes too long; no `except Exception` catches it."""


@contextmanager
def watched():
    """Raise `HangsError` after a generous time."""

    def late(*_):
        raise HangsError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(*overrides):
    """Run a command with all of its jobs in this process, and return its exit code and what it said.

    The report is left out. A ValueError or OSError ends a job, as in the command, which shows it; any other error is
    shown with its traceback.
    """

    def jobs(found, *_):
        for job in found:
            try:
                (base if job.only_base else worker.run_arm)(BuiltArm(job.arm), lambda *_: None)
            except (ValueError, OSError) as error:
                sys.stdout.write(f"{error}\n")
                sys.exit(1)

    with (
        patch.object(sys, "argv", ["lcx run", *map(str, overrides)]),
        patch.object(preemption, "listen", lambda: None),
        patch.object(forkserver, "start_fork_server", lambda: None),
        patch.object(experiment, "run_jobs", jobs),
        patch.object(experiment, "report", lambda *_, **__: []),
    ):
        try:
            return said_by(command.run)
        finally:
            GlobalHydra.instance().clear()


def report(folder):
    """Report an experiment, without drawing its figures."""
    with patch("lcx_lightning.results.report.figures.save", lambda *_: []):
        return said_by(lambda: main([str(folder)]))


def said_by(function):
    """Return the exit code of a function and what it printed, warnings included."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        code = function()
    return code, "\n".join([out.getvalue(), *(str(warning.message) for warning in warned)])


def called(function):
    """Return the exit code and the words of a function of Python that may refuse."""
    try:
        return said_by(lambda: function() and 0)
    except (ValueError, OSError) as error:
        return 2, str(error)


def is_json(path):
    """Return whether a file holds one JSON object without doubled keys, by Python's own reader."""

    def once(pairs):
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("doubled")
        return dict(pairs)

    try:
        return isinstance(json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=once), dict)
    except (ValueError, OSError, RecursionError):
        return False
