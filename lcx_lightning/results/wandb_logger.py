"""Weights & Biases beside the records: one run for one arm, which ends as the arm does, and never costs a result."""

import os
import shlex
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from lcx_lightning.results.harmless import harmless
from lcx_lightning.results.logged import (
    COLUMNS,
    RECORDS_TYPE,
    Label,
    NewRun,
    artifact_of,
    by_length,
    by_place,
    cells,
    files,
    summary,
)
from lcx_lightning.results.records import Run
from lcx_lightning.results.wandb_mode import choose_mode
from lcx_lightning.schema.checked import checked

PROJECT = "lcx-lightning"  # unless YAML or WANDB_PROJECT names another
STEP = "trainer/global_step"  # optimizer steps: horizontal axis of the curves of training
OF_CELL = ("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID")  # what an agent tells the run of its cell
CODES = {"finished": 0, "failed": 1, "preempted": 75, "stopped": 255}  # exit codes; 75: W&B offers the run again
AGAIN = "-2"  # follows the id of a run that W&B holds deleted
BEGIN, END = 30, 60  # seconds to begin a run, and to end it
FAR_STOP = 16.0  # seconds within which W&B passes on that it asks a run to stop


class WandbRun:
    """A run of W&B. Errors of W&B are warnings: without a server it logs offline, and without that not at all.

    Environment variables of W&B count: WANDB_PROJECT and WANDB_ENTITY where the arguments are None, WANDB_RUN_GROUP,
    WANDB_NAME, WANDB_JOB_TYPE and WANDB_TAGS in any case.

    Args:
        project: W&B project. None: that of WANDB_PROJECT, else lcx-lightning.
        entity: W&B team or user. None for the account's default.
        mode: online, offline, or auto: online if there is a key and the server answers. WANDB_MODE overrides auto.
        folder: Folder for the files of W&B.
        new: What the run is: a `NewRun`.

    Raises:
        ValueError: If the mode is unknown.
    """

    @checked
    def __init__(
        self,
        *,
        project: str | None,
        entity: str | None,
        mode: Literal["auto", "online", "offline"],
        folder: str,
        new: Any,
    ) -> None:
        assert isinstance(new, NewRun)
        self._stop, self._sent = threading.Event(), False
        self.has_curves = False  # whether training has been logged while it ran
        os.makedirs(folder, exist_ok=True)
        cell = new.leads and OF_CELL[0] in os.environ  # whose id, project and entity are the agent's
        chosen = {
            "project": None if cell else project or os.environ.get("WANDB_PROJECT") or PROJECT,
            "entity": None if cell else entity,
            "dir": folder,
            "group": os.environ.get("WANDB_RUN_GROUP") or new.group,
            "config": new.config,
        }

        def stop() -> None:
            self._stop.set()
            new.on_stop()

        with _outside_of_cells(cell):
            self.run = _begin(choose_mode(mode), None if cell else new.id, chosen | _labelled(new.label), stop)
        with harmless():
            for curves in ("train/*", "validation/*", "in_loop/*"):
                self.run.define_metric(curves, step_metric=STEP)
            self.run.define_metric("cells/*", step_metric="length")

    def log(self, values: Mapping[str, Any]) -> None:
        """Add a row to the history."""
        with harmless():
            self.run.log(dict(values))

    def log_curve(self, values: Mapping[str, float], step: int) -> None:
        """Add numbers of training at an optimizer step to the history."""
        self.has_curves = True
        self.log({**values, STEP: step})

    def log_curves(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add what was kept of a training that was not logged while it ran: rows with a `step`."""
        for row in rows if not self.has_curves else ():
            self.log_curve({name: value for name, value in row.items() if name != "step"}, row["step"])

    def log_results(self, run: Run) -> None:
        """Add numbers to the summary, a row for each length or other place to the history, and a table of cells."""
        import wandb

        with harmless():
            self.run.summary.update(summary(run))
            for row in by_length(run):
                self.run.log(row)
            for key, rows in by_place(run).items():
                self.run.define_metric(f"by_{key}/*", step_metric=key)
                for row in rows:
                    self.run.log(row)
            table: list[Any] = cells(run)
            self.run.log({"cells": wandb.Table(columns=list(COLUMNS), data=table)})

    def log_files(self, folder: Path, run: str) -> None:
        """Add what a folder holds of a run, by its id in records, as an artifact: W&B is read back from it."""
        import wandb

        with harmless():
            artifact = wandb.Artifact(artifact_of(run), type=RECORDS_TYPE)
            for name, text in files(folder).items():
                with artifact.new_file(name, mode="w", encoding="utf-8") as file:
                    file.write(text)
            self.run.log_artifact(artifact)

    def update_summary(self, values: Mapping[str, Any]) -> None:
        """Add numbers to the summary."""
        with harmless():
            self.run.summary.update(dict(values))

    def asked_to_stop(self) -> bool:
        """Return whether W&B asks the run to stop; an agent ends a run some seconds before W&B itself says why."""
        return self._stop.wait(
            FAR_STOP if OF_CELL[0] in os.environ and not self.run.offline and not self.run.disabled else 0
        )

    def end(self, status: Literal["finished", "failed", "preempted", "stopped"], reason: str | None = None) -> None:
        """End the run, so that the next one of this process is one of its own.

        Args:
            status: How the arm has ended.
            reason: Why it failed.
        """
        with harmless():
            self.run.summary.update({"status": status} | ({"reason": reason} if reason else {}))
            if status == "preempted":
                self.run.mark_preempting()
        try:
            self.run.finish(exit_code=CODES[status])
            self._sent = True
        except Exception as error:  # whatever W&B raises, the records are complete
            warnings.warn(f"W&B has not got all of a run ({error}). To send it: {self.facts()['sync']}", stacklevel=2)

    def facts(self) -> dict[str, str | None]:
        """Return id, url, mode and folder of the run, and as `sync` the command that uploads what W&B has not got."""
        mode = "disabled" if self.run.disabled else "offline" if self.run.offline else "online"
        folder = None if mode == "disabled" else str(Path(self.run.dir).absolute().parent)
        url = self.run.url if mode == "online" else None
        words = ["wandb", "sync", *(["--no-skip-online"] if mode == "online" else []), folder or ""]
        sync = shlex.join(words) if mode == "offline" or (mode == "online" and not self._sent) else None
        return {"id": self.run.id, "url": url, "mode": mode, "folder": folder, "sync": sync}


def _labelled(label: Label) -> dict[str, Any]:
    """Return the label as W&B names its parts, with what the environment says in place of it or in addition."""
    given = [tag for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag]
    return {
        "name": os.environ.get("WANDB_NAME") or label.name,
        "job_type": os.environ.get("WANDB_JOB_TYPE") or label.job_type,
        "tags": list(dict.fromkeys([*given, *(tag[:64] for tag in label.tags)])),
    }


def _begin(mode: str, run: str | None, chosen: dict[str, Any], stop: Callable[[], None]) -> Any:
    """Return a run of W&B: in the mode if that can be, under another id if W&B holds it deleted, else offline."""
    import wandb

    limits = {"init_timeout": BEGIN, "finish_timeout": END, "finish_timeout_raises": True}
    patience = wandb.Settings(**limits, silent=True, stop_fn=stop)
    try:
        wandb.setup(wandb.Settings(silent=True))
        return wandb.init(mode=mode, id=run, resume="allow", settings=patience, **chosen)  # pyright: ignore[reportArgumentType]
    except Exception as error:  # whatever W&B raises, it is not worth a result
        if mode == "disabled":
            raise
        if mode == "online" and run and not run.endswith(AGAIN) and _is_deleted(error):
            return _begin(mode, f"{run}{AGAIN}", chosen, stop)
        other = "offline" if mode == "online" else "disabled"
        warnings.warn(f"W&B has not begun a run ({error}): it is {other}.", stacklevel=2)
        return _begin(other, run, chosen, stop)


def _is_deleted(error: Exception) -> bool:
    return "409" in str(error) or "deleted" in str(error)


@contextmanager
def _outside_of_cells(cell: bool) -> Iterator[None]:
    """Hide what an agent has told this command from W&B, unless the run is the one that it means."""
    told = {} if cell else {name: os.environ.pop(name) for name in OF_CELL if name in os.environ}
    if told:
        import wandb

        wandb.teardown()  # W&B has read the environment if it has begun a run before
    try:
        yield
    finally:
        os.environ.update(told)
