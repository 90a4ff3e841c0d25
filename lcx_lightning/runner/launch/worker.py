"""The work of one process: an arm, or the base of an arm."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.queues import Queue
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from lcx_lightning.distributed import process_group
from lcx_lightning.models.attach import backends
from lcx_lightning.results import records
from lcx_lightning.results.curves import read_curves
from lcx_lightning.runner import in_loop_evaluation, stage_cache, stages, wandb_runs
from lcx_lightning.runner.arm_lock import HeldError, held
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.launch.base import BUSY, FAILED, STOPPED
from lcx_lightning.runner.launch.elsewhere import untried
from lcx_lightning.runner.launch.machine import VISIBLE, own_gpus
from lcx_lightning.runner.quiet import silence_library_logging
from lcx_lightning.runner.run_json import begin_run, checksum, is_finished, read_run, write_run
from lcx_lightning.runner.secrets import without_secrets
from lcx_lightning.training import preemption

if TYPE_CHECKING:
    from lcx_lightning.results.wandb_logger import WandbRun

Hold = Callable[[Arm], AbstractContextManager[Any]]  # gives a context in which the lock of an arm is held
Tell = Callable[[str, int, int, str], None]  # stage, parts done, parts in all, a few words
HEAD_START = 2.0  # seconds in which torchrun's agent finds a killed process before those that fail because of it


def patiently(arm: Arm) -> AbstractContextManager[Any]:
    """Return a context in which the lock of an arm is held, as soon as no other process holds it."""
    return held(arm.folder, wait=True)


def work(number: int, arm: Arm, only_base: bool, threads: int, events: Queue, stop: Connection) -> None:
    """Run a job of one process, and put its events into the queue.

    A failure is written into run.json, put into the queue as stage `failed`, and ends the process with exit code 1. If
    another process computes the arm, the exit code is BUSY.

    Args:
        number: Number of the job in its events.
        arm: Arm that is run.
        only_base: Whether only the base of the arm is made.
        threads: Number of threads of torch.
        events: Queue of the process that started this one.
        stop: Connection whose other end is closed to ask the job to save and to end.
    """
    follow_parent(stop)
    tell = teller(events, number)
    process_group.alone().export()
    try:
        with gpus_of(arm, number):
            run_job(arm, only_base, threads, tell, untried)
    except HeldError as error:
        raise SystemExit(BUSY) from error
    except Exception as error:
        tell_failure(error, tell, arm)
        raise SystemExit(FAILED) from error


@contextmanager
def gpus_of(arm: Arm, number: int) -> Iterator[str | None]:
    """Let this process see GPUs of its own inside this context, and give their names; None if it sees all that it saw.

    Args:
        arm: The arm that it computes.
        number: Number of the job.
    """
    with own_gpus(arm.trainer.devices, number) if arm.trainer.device_type == "cuda" else nullcontext() as mine:
        os.environ |= {VISIBLE: mine} if mine else {}
        yield mine


def tell_failure(error: Exception, tell: Tell, arm: Arm) -> None:
    """Tell why a job of an arm failed."""
    said = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    tell("failed", 0, 1, f"{without_secrets(said, arm.config)}")


def run_job(arm: Arm, only_base: bool, threads: int, tell: Tell, hold: Hold = patiently) -> None:
    """Run the stages of an arm, or its base alone; the first of its processes tells how far it is.

    The environment describes the process group (see `process_group.join`), unless this process has joined it.

    Args:
        arm: Arm that is run.
        only_base: Whether only the base of the arm is made.
        threads: Number of threads of torch.
        tell: Is told how far the job is.
        hold: How the first process holds the lock of the arm.

    Raises:
        HeldError: If another process computes the arm, and `hold` does not wait, or has failed in it.
        SystemExit: When everything is saved, with the same exit code in all processes of the job: 75 when preempted,
            STOPPED when only this run was asked to stop.
        Exception: Whatever a stage raises.
    """
    preemption.listen()
    silence_library_logging()
    torch.set_num_threads(threads)
    try:
        if not dist.is_initialized():
            process_group.join(arm.trainer.accelerator)
        if only_base:
            _run_base(BuiltArm(arm), reporter(tell))
        else:
            run_arm(BuiltArm(arm), reporter(tell), hold)
    except preemption.PreemptedError as error:  # rank 0 alone knows whether W&B asked for it
        code = STOPPED if isinstance(error, preemption.StoppedError) else preemption.EXIT_CODE
        raise SystemExit(process_group.broadcast_from_rank_zero(code)) from error
    finally:
        preemption.end_run()


def reporter(tell: Tell) -> stages.Report:
    """Return what the stages report to: it tells, in the first process, and in evaluation it looks for preemption.

    All processes report the parts of an evaluation alike, and all stop if one of them was asked to. There every row is
    on disk; training saves by itself.
    """

    def report(stage: str, done: int, total: int, words: str) -> None:
        if stage == "evaluate" and any(process_group.all_gather(preemption.stop_requested())):
            raise preemption.PreemptedError("preempted in evaluation")
        if process_group.rank() == 0:
            tell(stage, done, total, words)

    return report


def with_error_file(run: Callable[[], Any]) -> Any:
    """Return what a function returns. Write an error that it raises into torchelastic's error file, and exit with 1."""
    try:
        return run()
    except HeldError:
        raise
    except Exception as error:
        get_error_handler().record_exception(error)
        preemption.wait_for_request(HEAD_START)
        raise SystemExit(FAILED) from error


def teller(events: Queue, number: int) -> Tell:
    """Return a function that puts an event of a job into a queue; the queue is closed after a failure."""

    def tell(stage: str, done: int, total: int, words: str) -> None:
        events.put((number, stage, done, total, words))
        if stage == "failed":  # the process ends now
            events.close()
            events.join_thread()

    return tell


def _run_base(built: BuiltArm, report: stages.Report) -> None:
    """Train the base of an arm, and log it as a run of its own unless another process has trained it."""
    trained = False

    def noted(stage: str, done: int, total: int, words: str) -> None:
        nonlocal trained
        trained = True
        report(stage, done, total, words)

    folder = stages.base(built, noted)
    if process_group.rank() == 0 and trained:
        wandb_runs.log_base(built.arm, folder)


def run_arm(built: BuiltArm, report: stages.Report, hold: Hold = patiently) -> None:
    """Run base, extend and evaluate, and keep run.json true on the way.

    Args:
        built: The arm.
        report: Is told how far it is.
        hold: How the first process holds the lock of the arm. What others have finished is not computed again.

    Raises:
        HeldError: In all processes of the arm, if other ones compute it and `hold` does not wait, or have failed in it.
        PreemptedError: In all processes of the arm, on preemption while other ones compute it.
    """
    first = process_group.rank() == 0
    with ExitStack() as stack:

        def finished_by_others() -> bool:
            stack.enter_context(hold(built.arm))
            return is_finished(built.arm)

        if not process_group.decided_by_rank_zero(finished_by_others):
            built.arm.begun = True
            with _failure_written(built.arm):
                _run_stages(built, report, first)
        elif first:  # it was finished by whom it waited for
            wandb_runs.log_again(built.arm)


@contextmanager
def _failure_written(arm: Arm) -> Iterator[None]:
    """Write that an arm of one process has failed, while its lock is held; several processes may be started again."""
    try:
        yield
    except preemption.PreemptedError:
        raise
    except Exception as error:
        if process_group.world_size() == 1:
            with suppress(OSError):  # the disk may be what has failed
                reason = without_secrets(f"{type(error).__name__}: {error}", arm.config)
                write_run(arm, "failed", reason=reason, traceback=traceback.format_exc())
        raise


def _run_stages(built: BuiltArm, report: stages.Report, first: bool) -> None:
    if not first:
        _computed(built, report, None)
        return
    begin_run(built.arm)
    with wandb_runs.logged(built.arm) as log:
        write_run(built.arm, "finished", **_computed(built, report, log))


def _computed(built: BuiltArm, report: stages.Report, log: "WandbRun | None") -> dict[str, Any]:
    """Run the stages, and return what run.json says of their results."""
    arm, first = built.arm, process_group.rank() == 0
    base = stages.base(built, report)
    extended = stages.extend(built, base, report, log.log_curve if log else None)
    if log:
        log.log_curves(read_curves(extended))
    if first:
        in_loop_evaluation.keep(extended, arm.folder, stages.row_head(arm))
    model = stages.model_to_evaluate(built, base, extended)
    before = read_run(arm).get("seconds", {}).get("evaluate", 0.0)
    took = before + stages.evaluate(built, model, report)
    of_base, of_extension = stage_cache.outcome_of(base), stage_cache.outcome_of(extended)
    seconds = {"extend": of_extension["seconds"], "evaluate": took}
    return {
        "attention": backends(model, arm.lengths[-1]),
        "seconds": seconds,
        "device_seconds": sum(seconds.values()) * process_group.world_size(),
        "throughput": of_extension["throughput"],
        "base": {"key": arm.base_key} | of_base,
        "extend": {"key": arm.extend_key} | of_extension,
        "records": checksum(arm.folder / records.RECORDS),
        "fingerprint_after_training": stages.trained_fingerprint(arm, model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained_parameters": of_extension["trained_parameters"],
    }


def follow_parent(stop: Connection | None = None) -> None:
    """End this process when the one that started it ends, however that happens, and leave Ctrl-C to that one.

    Args:
        stop: Connection whose other end is closed to ask for what a signal of preemption asks for.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        watched: list[Any] = [sentinel] if stop is None else [sentinel, stop]
        while sentinel not in wait(watched):
            preemption.request_stop()
            watched = [sentinel]
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
