"""The study of a search: cells that were chosen, by which results, and who computes them. Workers share its journal."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.pruners import HyperbandPruner, NopPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from lcx_lightning.runner.arms import key
from lcx_lightning.runner.settings import OF_EXPERIMENT
from lcx_lightning.runner.sweep.files import Goal, Sweep

JOURNAL, LOCK, OWNERS = ".search.journal", ".search.lock", ".search"  # in the folder of the experiment
NO_NUMBER = {*OF_EXPERIMENT, "logger", "hydra"} - {"exp", "arms", "seed"}  # settings that change none
REASON, SKIPPED = (
    "reason",
    "skipped",
)  # attributes of a cell: why it has no result, whether because it equals pretrained


def name_of(sweep: Sweep, shared: Sequence[str], run: str) -> str:
    """Return the name of a search: another one if it draws other values, judges them otherwise, or computes others.

    Args:
        sweep: What the file asks for. How many cells are drawn makes no difference.
        shared: Overrides that its cells share. Those that change no number make no difference.
        run: Id of the run of one of its cells, for what no override says, such as its documents.
    """
    early = sweep.early_terminate
    words = sorted(word for word in shared if word.lstrip("+~").partition("=")[0].split(".")[0] not in NO_NUMBER)
    asked = [sweep.method, sweep.metric, sweep.goal, sweep.values, sweep.drawn, early and asdict(early)]
    return f"{sweep.path.stem}-{key(*asked, words, run)}"


def cells_in(folder: Path, name: str) -> list[FrozenTrial]:
    """Return the cells of a search so far, none if it has not begun. Nothing is written."""
    if not (folder / JOURNAL).exists():
        return []
    try:
        return optuna.load_study(study_name=name, storage=_storage(folder)).get_trials(deepcopy=False)
    except KeyError:  # the journal is of other searches
        return []


def best_of(cells: Sequence[FrozenTrial], goal: Goal) -> FrozenTrial | None:
    """Return the best cell of those that have finished, None if there is none."""
    finished = [one for one in cells if one.state == TrialState.COMPLETE]
    sign = -1 if goal == "maximize" else 1
    return min(finished, key=lambda one: sign * (one.value or 0.0), default=None)


class Study:
    """The cells of a search, in a journal that any number of workers read and write.

    A cell belongs to the process that holds the lock of its number. The operating system frees the lock of a process
    that ends, however that happens, and then another worker takes the cell over.

    Args:
        sweep: What the file asks for.
        name: Name of the search: see `name_of`.
        folder: Folder of the experiment.
        most: Largest number of cells, over all workers.
        evaluations: Number of evaluations of a run during its training, after each of which it may be ended.
    """

    def __init__(self, sweep: Sweep, name: str, folder: Path, most: int, evaluations: int) -> None:
        self._sweep, self._folder, self._most = sweep, folder, most
        self._owners = folder / OWNERS / name
        self._owned: dict[int, FileLock] = {}
        self._owners.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):
            self._study = optuna.create_study(
                storage=_storage(folder),
                study_name=name,
                direction=sweep.goal,
                pruner=_pruner(sweep, evaluations),
                load_if_exists=True,
            )

    def take(self) -> Trial | None:
        """Return a cell that this process owns now: one whose process is dead, or a new one. None: none is left.

        The same history makes the same choice: what is drawn depends on the number of the cell.
        """
        with FileLock(self._folder / LOCK):
            every = self.cells()
            dead = (one for one in every if one.state == TrialState.RUNNING and self._own(one.number))
            left = next(dead, None)
            if left is not None:
                trial = Trial(self._study, left._trial_id)  # pyright: ignore[reportPrivateUsage]
            elif len(every) < self._most:
                trial = self._study.ask()
                self._own(trial.number)
            else:
                return None
        self._study.sampler = _sampler(self._sweep, trial.number)
        return trial

    def finish(self, trial: Trial, value: float) -> None:
        """Write down that a cell has finished, and what its metric is."""
        self._end(trial, TrialState.COMPLETE, value)

    def prune(self, trial: Trial) -> None:
        """Write down that a cell was ended early."""
        self._end(trial, TrialState.PRUNED)

    def give_up(self, trial: Trial, reason: str, *, skipped: bool = False) -> None:
        """Write down that a cell has no result and why: it failed, or there is nothing to compute."""
        trial.set_user_attr(REASON, reason)
        trial.set_user_attr(SKIPPED, skipped)
        self._end(trial, TrialState.FAIL)

    def _end(self, trial: Trial, state: TrialState, value: float | None = None) -> None:
        self._study.tell(trial, value, state=state)
        self._owned.pop(trial.number).release()

    def is_bad(self, trial: Trial, history: list[tuple[int, float]]) -> bool:
        """Return whether a run is to be ended early.

        Args:
            trial: Its cell.
            history: Optimizer steps at which it was evaluated so far, ascending, with its metric.
        """
        known = self.cells()[trial.number].intermediate_values
        for number, (_, value) in enumerate(history, 1):
            if number not in known:
                trial.report(value, number)
        return bool(history) and trial.should_prune()

    def cells(self) -> list[FrozenTrial]:
        """Return the cells so far, by number."""
        return self._study.get_trials(deepcopy=False)

    def _own(self, number: int) -> bool:
        """Return whether the lock of a cell has become this process's now."""
        if number in self._owned:
            return False
        lock = FileLock(self._owners / f"{number}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self._owned[number] = lock
        return True


def _storage(folder: Path) -> JournalStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))


def _sampler(sweep: Sweep, number: int) -> Any:
    if sweep.method == "random":
        return RandomSampler(seed=number)
    return TPESampler(seed=number, constant_liar=True)  # cells that others compute count as bad ones


def _pruner(sweep: Sweep, evaluations: int) -> Any:
    """Return the pruner of `early_terminate`, whose numbers count evaluations during training, as those of W&B."""
    asked = sweep.early_terminate
    if asked is None:
        return NopPruner()
    least = asked.min_iter or max(1, (asked.max_iter or 1) // asked.eta**asked.s)
    return HyperbandPruner(min_resource=least, max_resource=max(evaluations, least), reduction_factor=asked.eta)
