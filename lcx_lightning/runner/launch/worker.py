"""One arm, or one base, in a process of its own."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.queues import Queue
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import WandbLogger

from lcx_lightning.distributed import process_group
from lcx_lightning.distributed.process_group import Place
from lcx_lightning.models.attach import backends
from lcx_lightning.results import records
from lcx_lightning.runner import in_loop_evaluation, stage_cache, stages
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.built_arm import load_data
from lcx_lightning.runner.quiet import silence_library_logging
from lcx_lightning.runner.run_json import read_run, write_run
from lcx_lightning.training import preemption

Tell = Callable[[str, int, int, str], None]  # stage, done, in all, a few words


def work(number: int, arm: Arm, only_base: bool, threads: int, events: Queue, place: Place, local_rank: int) -> None:
    """Run a job in a process of this machine, and send (number, stage, done, in all, words) on the way."""
    _follow_parent()

    def tell(stage: str, done: int, total: int, words: str) -> None:
        events.put((number, stage, done, total, words))
        if stage == "failed":  # the last word
            events.close()
            events.join_thread()

    run_job(arm, only_base, threads, tell, place, local_rank)


def run_job(arm: Arm, only_base: bool, threads: int, tell: Tell, place: Place, local_rank: int) -> None:
    """Run the stages of an arm, or its base alone, and tell how far it is.

    A failure is written into run.json, told as stage `failed`, and ends the process with exit code 1. Of several
    processes of an arm the first tells and writes; what fails there, the one that started them writes.
    """
    preemption.listen()
    silence_library_logging()
    torch.set_num_threads(threads)

    def report(stage: str, done: int, total: int, words: str) -> None:
        if stage == "evaluate" and preemption.stop_requested():  # every row is on disk; training saves by itself
            raise preemption.PreemptedError("preempted in evaluation")
        if process_group.rank() == 0:
            tell(stage, done, total, words)

    try:
        process_group.join(arm.config["trainer"], place, local_rank)
        (stages.base if only_base else run_arm)(arm, load_data(arm.config, {}, arm.corpus), report)
    except preemption.PreemptedError as error:
        raise SystemExit(preemption.EXIT_CODE) from error
    except BaseException as error:
        said, where = f"{type(error).__name__}: {error}", traceback.format_exc()
        tell("failed", 0, 1, f"{said}\n{where}")
        if not only_base and place.ranks == 1:
            with suppress(OSError):  # the disk may be what has failed
                write_run(arm, "failed", reason=said, traceback=where)
        raise SystemExit(1) from error


def run_arm(arm: Arm, data: Any, report: stages.Report) -> None:
    """Run base, extend and evaluate, and keep run.json true on the way."""
    first = process_group.rank() == 0
    if first:
        write_run(arm, "running")
    base = stages.base(arm, data, report)
    logger = None
    if first and arm.config["logger"]:  # partial: instantiate would instantiate what it is handed, the method too
        logger = instantiate(arm.config["logger"], _partial_=True)(run=arm.run, cfg=arm.config)
    try:
        extended = stages.extend(arm, base, data, report, WandbLogger(experiment=logger.run) if logger else False)
        if first:
            in_loop_evaluation.keep(extended, arm.folder, stages.row_head(arm))
        model = stages.model_to_evaluate(arm, base, extended)
        before = read_run(arm).get("seconds", {}).get("evaluate", 0.0)
        took = before + stages.evaluate(arm, model, data, report)
        seconds = {"extend": stage_cache.seconds(extended), "evaluate": took}
        throughput = stage_cache.throughput(extended)
        if logger:
            logger.log_records(records.read_run(arm.folder))
            logger.log_throughput(throughput or {})
    finally:
        if logger:
            logger.finish()
    if not first:
        return
    write_run(
        arm,
        "finished",
        attention=backends(model, arm.lengths[-1]),
        seconds=seconds,
        device_seconds=sum(seconds.values()) * process_group.world_size(),
        throughput=throughput,
        base={"key": arm.base_key, "seconds": stage_cache.seconds(base), "throughput": stage_cache.throughput(base)},
        fingerprint_after_training=stages.trained_fingerprint(arm, model),
        parameters=sum(p.numel() for p in model.parameters()),
        trained_parameters=stage_cache.trained_parameters(extended),
    )


def _follow_parent() -> None:
    """End this process when the one that started it ends, however that happens; leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
