"""The study of a search: cells that were chosen, by which results, and who computes them. Workers share its journal."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.pruners import HyperbandPruner, NopPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from lcx_lightning.runner.sweep.files import Sweep

JOURNAL, LOCK, OWNERS = ".search.journal", ".search.lock", ".search"  # in the folder of the experiment


class Study:
    """The cells of a search, in a journal that any number of workers read and write.

    A cell belongs to the process that holds the lock of its number. The operating system frees the lock of a process
    that ends, however that happens, and then another worker takes the cell over.

    Args:
        sweep: What the file asks for.
        folder: Folder of the experiment.
        most: Largest number of cells, over all workers.
        looks: Number of times that a run is looked at while it is trained, for ending it early.
    """

    def __init__(self, sweep: Sweep, folder: Path, most: int, looks: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._sweep, self._folder, self._most = sweep, folder, most
        self._owned: dict[int, FileLock] = {}
        (folder / OWNERS).mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):
            self._study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
                study_name=sweep.path.stem,
                direction="maximize" if sweep.goal == "maximize" else "minimize",
                pruner=_pruner(sweep, looks),
                load_if_exists=True,
            )

    def take(self) -> Trial | None:
        """Return a cell that this process owns now: one whose process is dead, or a new one. None: none is left.

        The same history makes the same choice: what is drawn depends on the number of the cell.
        """
        with FileLock(self._folder / LOCK):
            every = self._study.get_trials(deepcopy=False)
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

    def tell(self, trial: Trial, state: TrialState, value: float | None = None) -> None:
        """Write down how a cell has ended, and what its metric is if it has finished."""
        self._study.tell(trial, value, state=state)
        self._owned.pop(trial.number).release()

    def is_bad(self, trial: Trial, history: list[tuple[int, float]]) -> bool:
        """Return whether a run is to be ended early.

        Args:
            trial: Its cell.
            history: Optimizer steps at which it was looked at so far, ascending, with its metric.
        """
        known = self.trial(trial.number).intermediate_values
        for look, (_, value) in enumerate(history, 1):
            if look not in known:
                trial.report(value, look)
        return bool(history) and trial.should_prune()

    def trial(self, number: int) -> FrozenTrial:
        """Return what is known of a cell."""
        return self._study.get_trials(deepcopy=False)[number]

    def best(self) -> FrozenTrial | None:
        """Return the best cell of those that have finished, None if there is none."""
        finished = self._study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        return self._study.best_trial if finished else None

    def __iter__(self) -> Iterator[FrozenTrial]:
        return iter(self._study.get_trials(deepcopy=False))

    def _own(self, number: int) -> bool:
        """Return whether the lock of a cell has become this process's now."""
        if number in self._owned:
            return False
        lock = FileLock(self._folder / OWNERS / f"{number}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self._owned[number] = lock
        return True


def _sampler(sweep: Sweep, number: int) -> Any:
    if sweep.method == "random":
        return RandomSampler(seed=number)
    return TPESampler(seed=number, constant_liar=True)  # cells that others compute count as bad ones


def _pruner(sweep: Sweep, looks: int) -> Any:
    """Return the pruner of `early_terminate`, whose numbers count evaluations during training, as those of W&B."""
    asked = sweep.early_terminate
    if not asked:
        return NopPruner()
    eta = int(asked.get("eta", 3))
    least = asked.get("min_iter") or max(1, int(asked["max_iter"]) // eta ** int(asked.get("s", 2)))
    return HyperbandPruner(min_resource=int(least), max_resource=max(looks, int(least)), reduction_factor=eta)
