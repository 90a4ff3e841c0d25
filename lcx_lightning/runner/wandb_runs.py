"""Runs of W&B for arms and bases: each ends as its arm does, and is made again from records where a cell asks."""

import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from lcx_lightning.results import records
from lcx_lightning.results.curves import read_curves
from lcx_lightning.results.harmless import harmless
from lcx_lightning.results.knobs import knobs
from lcx_lightning.results.logged import Label, NewRun, label, label_of_base
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.run_json import described, read_run, write_run
from lcx_lightning.runner.secrets import masked, masked_text, masked_words, without_secrets
from lcx_lightning.schema.build import build
from lcx_lightning.schema.yaml_files import read_yaml
from lcx_lightning.training import preemption

if TYPE_CHECKING:
    from lcx_lightning.results.wandb_logger import WandbRun

RESULTS = "results"  # where a command that was refused would have put its results, unless it says so
OF_PERSON = ("results_dir", "cache_dir", "jobs", "logger")  # of a configuration: places and habits of whoever runs it


@contextmanager
def logged(arm: Arm) -> Iterator["WandbRun | None"]:
    """Give the W&B run of an arm, None without a logger. It ends as the block does, after run.json says so.

    The block ends with everything on disk, also if it raises: what W&B then does costs no result.
    """
    if not arm.config["logger"]:
        yield None
        return
    log = _begun(arm, knobs(read_run(arm) | {"base": {"key": arm.base_key}}))
    write_run(arm, "running", wandb=log.facts())
    try:
        yield log
    except preemption.PreemptedError:
        stopped = log.asked_to_stop()
        _end(log, arm, "interrupted", "stopped" if stopped else "preempted")
        if stopped:
            raise preemption.StoppedError("W&B asked the run to stop") from None
        raise
    except Exception as error:
        reason = without_secrets(f"{type(error).__name__}: {error}", arm.config)
        with suppress(OSError):  # the disk may be what has failed
            _end(log, arm, "failed", "failed", reason=reason, traceback=traceback.format_exc())
        raise
    with harmless():
        log.log_results(records.read_run(arm.folder))
    _end(log, arm, "finished", "finished")


def log_again(arm: Arm) -> None:
    """Log a finished arm from its records, where the cell of a sweep asks for it; else it has been logged before."""
    if not is_asked_for(arm):
        return
    log = _begun(arm, knobs(read_run(arm)))
    with harmless():
        log.log_curves(read_curves(arm.cache("extend", arm.extend_key) if arm.extend_key else None))
        log.log_results(records.read_run(arm.folder))
    _end(log, arm, "finished", "finished")


def note_failure(arm: Arm, said: str) -> None:
    """Write that an arm failed, which never began, was killed or is of several processes, and log it as `log_failure`.

    Args:
        arm: The arm. Nothing is done if its run.json says already that it failed.
        said: Why it failed, with the traceback if there is one.
    """
    if read_run(arm).get("state") != "failed":
        reason = said.split("\nTraceback ")[0]
        write_run(arm, "failed", reason=reason, traceback=said)
        log_failure(arm, reason)


def log_failure(arm: Arm, reason: str) -> None:
    """Log an arm that failed before it could begin, or was killed, where the cell of a sweep waits for it."""
    if is_asked_for(arm):
        log = _begun(arm, knobs(described(arm) | {"base": {"key": arm.base_key}}))
        log.end("failed", without_secrets(reason, arm.config))


def log_refusal(error: Exception) -> None:
    """Log a command that was refused as a failed run, where the cell of a sweep waits for it.

    What it would have logged to is not known if it could not be composed: project and entity are the agent's.
    """
    if not _sweep():
        return
    from lcx_lightning.results.wandb_logger import WandbRun  # heavy

    folders = [word.partition("=")[2] for word in sys.argv if word.startswith("results_dir=")]
    new = NewRun("refused", Label("refused", "refused", []), "refused", {}, True, preemption.request_stop)
    run = WandbRun(project=None, entity=None, mode="auto", folder=[RESULTS, *folders][-1], new=new)
    run.end("failed", masked_text(str(error)))


def log_base(arm: Arm, folder: Path | None) -> None:
    """Log the base of an arm as a run of its own, from what its training has kept."""
    if folder is None or not arm.config["logger"]:
        return
    from lcx_lightning.runner.stage_cache import outcome_of  # heavy

    known = knobs(described(arm) | {"base": {"key": arm.base_key}})
    log = _new(arm, known, label_of_base(known), _drawn(arm.base_key), leads=False)
    with harmless():
        log.log_curves(read_curves(folder))
    outcome = outcome_of(folder)
    taken = {f"throughput/{name}": value for name, value in (outcome["throughput"] or {}).items()}
    log.update_summary(taken | {f"base/{name}": outcome[name] for name in ("validation_loss", "seconds")})
    log.end("finished")


def is_asked_for(arm: Arm) -> bool:
    """Return whether this command is the cell of a sweep, and the arm is to be logged."""
    return bool(arm.config["logger"] and in_sweep())


def in_sweep() -> bool:
    """Return whether this command is the cell of a sweep."""
    return _sweep() is not None


def _sweep() -> str | None:
    return os.environ.get("WANDB_SWEEP_ID") or None


def commands_to_sync(arms: Iterable[Arm]) -> list[str]:
    """Return the commands that upload what W&B has not got of some arms."""
    return [sync for arm in arms if (sync := (read_run(arm).get("wandb") or {}).get("sync"))]


def _begun(arm: Arm, known: dict[str, Any]) -> "WandbRun":
    return _new(arm, known, label(known, masked_words(arm.turned or _turned_by_agent())), _id(arm), leads=arm.leads)


def _id(arm: Arm) -> str:
    """Return the id of an arm's run outside of a cell: who goes on in its folder goes on with the run, and nobody else.

    A colleague who computes the same arm elsewhere has another run, and so has every sweep in which it is logged again.
    """
    if sweep := _sweep():
        return f"{arm.run}-{sweep}"
    return (read_run(arm).get("wandb") or {}).get("id") or _drawn(arm.run)


def _drawn(name: str) -> str:
    return f"{name}-{token_hex(2)}"


def _turned_by_agent() -> list[str]:
    """Return what an agent has turned in its cell, such as `window=16`; nothing if this command is no cell."""
    path = os.environ.get("WANDB_SWEEP_PARAM_PATH")
    if not path or not Path(path).is_file():
        return []
    told: Any = OmegaConf.to_container(read_yaml(Path(path)), resolve=False)
    return [f"{name}={one['value']}" for name, one in told.items() if isinstance(one, dict) and "value" in one]


def _new(arm: Arm, known: dict[str, Any], labelled: Label, run: str, *, leads: bool) -> "WandbRun":
    cfg = {name: value for name, value in masked(arm.config).items() if name not in OF_PERSON}
    config = {"cfg": cfg, "lcx": known | {"sweep": _sweep()}}
    new = NewRun(run, labelled, arm.config["experiment"], config, leads, preemption.request_stop_of_run)
    return build(arm.config["logger"], "logger", new=new)


def _end(log: "WandbRun", arm: Arm, state: str, status: Any, **more: Any) -> None:
    """End a run of W&B with its files once run.json says how the arm has ended; keep there what W&B has not got."""
    try:
        write_run(arm, state, wandb=log.facts(), **more)
        log.log_files(arm.folder, arm.run)
    finally:
        log.end(status, more.get("reason"))
    if log.facts() != read_run(arm).get("wandb"):
        write_run(arm, state, wandb=log.facts(), **more)
