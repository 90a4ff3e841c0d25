"""The arms of a page: names, styles, knobs, what they cost, and every setting in which they differ."""

from collections.abc import Mapping, Sequence
from typing import Any

from lcx_lightning.results.knobs import knobs
from lcx_lightning.results.naming import OF_EXPERIMENT, leaves
from lcx_lightning.results.records import RUN, Experiment, Run
from lcx_lightning.results.report.dashboard.charts.look import style_of
from lcx_lightning.results.report.dashboard.numbers import costs
from lcx_lightning.results.report.labels import NOT_EVALUATED, arm_label, fingerprint_text, status

SHORT = 12  # characters of a fingerprint, a commit or the id of a run
NO_KNOBS = ("arm", "seed", "experiment", "run", "base", "fingerprint", "git_commit", "corpus", "recipe", "max_context")
NO_KNOBS += ("parameters", "trained_parameters", "pretrain_length")
PLACES = ("results_dir", "cache_dir", "launch", "logger", "hardware", "report", "arms", "in_loop")


def numbers_of(experiment: Experiment) -> dict[str, int]:
    """The number of the arm of each run, by what tells runs apart."""
    ranks = {arm: number for number, arm in enumerate(experiment.arms())}
    return {key_of(run): ranks[run.arm] for run in experiment.runs}


def key_of(run: Run) -> str:
    """What tells a run apart from all others."""
    return str(run.info.get("run") or run.folder)


def arms_of(experiment: Experiment, sources: Mapping[str, Experiment]) -> list[dict[str, Any]]:
    """What the page says of each arm, but for its settings.

    Args:
        experiment: All runs.
        sources: The experiment that each run was read from, by `key_of`.
    """
    found = []
    for number, arm in enumerate(experiment.arms()):
        runs = experiment.runs_of(arm)
        info, source = runs[0].info, sources.get(key_of(runs[0]), experiment)
        found.append({
            "id": str(info.get("run") or number)[:SHORT], "name": arm, "label": arm_label(runs), "state": status(runs),
            "style": style_of(number), "seeds": [run.info["seed"] for run in runs],
            "fingerprint": str(info.get("fingerprint") or NOT_EVALUATED)[:SHORT], "hash": fingerprint_text(runs),
            "experiment": source.name, "again": [one for run in runs if (one := run.info.get("command"))],
            "commands": list(source.meta.get("commands") or ()),
            "links": _links(runs), "cost": costs(runs), "trained": sorted(_trained(runs)),
        })  # fmt: skip
    return found


def _trained(runs: list[Run]) -> set[int]:
    return {run.info["train_length"] for run in runs if run.info.get("train_length")}


def _links(runs: list[Run]) -> list[str]:
    """Addresses of the runs at W&B: only such as a browser opens without running them."""
    found = [str((run.info.get("wandb") or {}).get("url") or "") for run in runs]
    return list(dict.fromkeys(url for url in found if url.startswith(("https://", "http://"))))


def knobs_of(experiment: Experiment) -> dict[str, list[Any]]:
    """The knobs that arms differ in, by name, a value for each arm; None where an arm does not have it."""
    every = [_knobs(experiment.runs_of(arm)[0].info) for arm in experiment.arms()]
    names = [name for name in every[0] if len({repr(one.get(name)) for one in every}) > 1]
    return {name: [one.get(name) for one in every] for name in names}


def _knobs(info: Mapping[str, Any]) -> dict[str, Any]:
    config = info.get("config") or {}
    method = config.get("method") if isinstance(config.get("method"), Mapping) else {}
    parts = {part: _class_name((method or {}).get(part)) for part in ("scaling", "pattern")}
    found = {name: value for name, value in knobs(info).items() if name not in NO_KNOBS}
    return parts | {"max_factor": config.get("max_factor")} | found


def _class_name(part: Any) -> str | None:
    return str(part.get("_target_")).rpartition(".")[2] if isinstance(part, Mapping) and part else None


def settings_of(experiment: Experiment) -> dict[str, Any]:
    """All settings: those that all arms share once, of the others the distinct values and each arm's choice."""
    every = [_settings(experiment.runs_of(arm)[0].info) for arm in experiment.arms()]
    keys = sorted({key for one in every for key in one})
    shared: dict[str, str] = {}
    differing: dict[str, dict[str, Any]] = {}
    for key in keys:
        values = list(dict.fromkeys(one.get(key, NOT_EVALUATED) for one in every))
        if len(values) == 1:
            shared[key] = values[0]
            continue
        place = {value: index for index, value in enumerate(values)}
        differing[key] = {"values": values, "of": [place[one.get(key, NOT_EVALUATED)] for one in every]}
    return {"shared": shared, "differing": differing}


def _settings(info: Mapping[str, Any]) -> dict[str, str]:
    config = {key: value for key, value in (info.get("config") or {}).items() if key not in (*OF_EXPERIMENT, *PLACES)}
    return {key: str(value) for key, value in leaves(config) if key != "seed"}


def missing(source: Experiment) -> list[str]:
    """Names of runs that commands have asked for, and that are not there."""
    there = {run.folder.name for run in source.runs}
    planned: Sequence[str] = source.meta.get("runs") or ()
    return [name for name in planned if name not in there and not (source.folder / name / RUN).exists()]
