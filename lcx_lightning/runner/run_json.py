"""run.json: what a run is, what computed its numbers, and how far it came."""

import hashlib
from pathlib import Path
from typing import Any

from lcx_lightning.results import records
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.aside import put_aside
from lcx_lightning.runner.provenance import provenance
from lcx_lightning.runner.secrets import masked, without_secrets

TEXTS = ("reason", "traceback")  # which may quote a secret


def begin_run(arm: Arm) -> None:
    """Write run.json where numbers begin to be computed: their configuration, and by what they are computed.

    A run that goes on elsewhere, or with other versions, is computed by several, in their order.
    """
    before, now = read_run(arm).get("computed_by", []), provenance()
    write_run(arm, "running", **_computed(arm), computed_by=before if now in before[-1:] else [*before, now])


def write_run(arm: Arm, state: str, **more: Any) -> None:
    """Write run.json atomically. What it says of computed numbers stays as it is."""
    more = {name: without_secrets(said, arm.config) if name in TEXTS else said for name, said in more.items()}
    said = _named(arm) | {"state": state, "reason": None, "traceback": None}
    before = read_run(arm)
    kept = _computed(arm) | before if (arm.folder / records.RECORDS).exists() else before | _computed(arm)
    records.write_json(arm.folder / "run.json", kept | said | more)


def described(arm: Arm) -> dict[str, Any]:
    """Return what run.json says of an arm before it runs."""
    return _computed(arm) | _named(arm)


def _named(arm: Arm) -> dict[str, Any]:
    return {
        "run": arm.run,
        "experiment": arm.config["experiment"],
        "arm": arm.name,
        "method": "+".join(arm.methods),
        "factor": arm.factor,
        "seed": arm.seed,
        "order": arm.order,
        "command": arm.command,
    }


def _computed(arm: Arm) -> dict[str, Any]:
    return {
        "pretrain_length": arm.pretrain_length,
        "train_length": arm.train_length,
        "max_context": arm.max_context,
        "lengths": arm.lengths,
        "not_evaluated": arm.not_evaluated,
        "fingerprint": arm.fingerprint,
        "metrics": arm.metrics,
        "config": masked(arm.config),
        "corpus": arm.corpus,
        "model": arm.model,
        "examples": arm.examples,
        "contents": arm.contents,
        "checkpoint": _checkpoint(arm),
    }


def _checkpoint(arm: Arm) -> dict[str, str | None]:
    """Return where the model of an arm is: cache, the stages in it, if there are any, and a folder that it came in."""
    source = arm.config["model"]["source"].get("name")
    return {
        "cache_dir": str(Path(arm.config["cache_dir"]).expanduser().absolute()),
        "base": f"base/{arm.base_key}" if arm.config["model"]["recipe"] else None,
        "extend": f"extend/{arm.extend_key}" if arm.extend_key else None,
        "model": str(Path(source).absolute()) if source and Path(source).is_dir() else None,
    }


def read_run(arm: Arm) -> dict[str, Any]:
    """Return what run.json says, nothing if there is none."""
    return records.read_run_file(arm.folder)


def is_finished(arm: Arm) -> bool:
    """Return whether an arm has all of its numbers, computed by a method that does what it does now."""
    return read_run(arm).get("state") == "finished" and why_stale(arm) is None


def why_stale(arm: Arm) -> str | None:
    """Return why the numbers of a run cannot be used or added to, None if they can or there are none."""
    run, file = read_run(arm), arm.folder / records.RECORDS
    if file.exists() and "fingerprint" not in run:
        return f"run.json does not say what computed {records.RECORDS}"
    if file.exists() and run["fingerprint"] != arm.fingerprint:
        return f"its method has changed (fingerprint {run['fingerprint']}, now {arm.fingerprint})"
    if run.get("state") == "finished" and run.get("records") != checksum(file):
        return f"{records.RECORDS} is not as it was written"
    return None


def checksum(path: Path) -> str | None:
    """Return the hash of a file of records, None if there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def set_aside(arm: Arm) -> str | None:
    """Put the numbers of a run aside if they cannot be used, and return a sentence about it; None: they can be used."""
    why = why_stale(arm)
    if why is None:
        return None
    try:
        kept = put_aside(arm.folder)
    except FileNotFoundError:  # another command has just done so
        return None
    return f"{arm.name}, seed {arm.seed}, is computed again: {why}. What there was is kept in {kept}."
