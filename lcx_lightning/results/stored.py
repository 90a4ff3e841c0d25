"""What the files of an experiment must hold: experiment.json, run.json, and each line of records.jsonl."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict  # that of typing serves pydantic from Python 3.12

from lcx_lightning.schema.files import check_values
from lcx_lightning.schema.kinds import shown

Whole = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Amount = Annotated[Number, Field(ge=0)]
Text = Annotated[str, Field(strict=True)]
Mapped = dict[str, Any] | None
RESULT = ("value", "n", "details")  # what came out, and more about it; all other keys say what a row is the number of
ROW = ("seed", "evaluation", "protocol", "document", "context_length", "metric", "value", "n", "at")
ROW_KINDS = [int, str, str, str, int, str, float, int, dict]
MAY_HOLD_MORE = (*RESULT, "at")  # of the keys of a record: all others tell rows apart


class Row(TypedDict):
    """A record: what a report needs of it."""

    seed: Whole
    evaluation: Text
    protocol: Text
    document: Text | None
    context_length: Amount
    metric: Text
    value: Number
    n: Amount
    at: dict[str, Any]


class RunFile(TypedDict, total=False):
    """run.json: what is used of it."""

    run: Text | None
    arm: Text
    method: Text | None
    seed: Whole
    order: Whole
    state: Text
    reason: Text | None
    pretrain_length: Whole | None
    train_length: Whole | None
    factor: Number | None
    lengths: list[Whole] | None
    not_evaluated: dict[Annotated[str, Field(pattern=r"^\d+$")], Text] | None
    fingerprint: Text | None
    metrics: dict[str, dict[str, Any]] | None
    seconds: dict[str, Amount] | None
    base: Mapped
    extend: Mapped
    throughput: Mapped
    records: Text | None
    command: Text | None
    computed_by: list[dict[str, Any]] | None
    config: Mapped
    corpus: Text | None
    model: Text | None
    examples: Text | None
    contents: dict[str, dict[str, Text]] | None
    wandb: dict[str, Text | None] | None


class Config(TypedDict, total=False):
    """`config` in run.json: what a report reads of it."""

    model: Mapped
    data: Mapped
    method: Mapped
    training: Mapped
    evaluation: Mapped
    trainer: Mapped


class Model(TypedDict, total=False):
    """`config.model` in run.json."""

    source: Mapped


class Stage(TypedDict, total=False):
    """`base` and `extend` in run.json."""

    key: Text | None
    seconds: Amount | None


class ExperimentFile(TypedDict, total=False):
    """experiment.json."""

    name: Text
    question: Text | None
    look_for: list[Text] | None
    protocols: list[Text] | None
    commands: list[Text] | None
    runs: list[Text]
    against: Text | None


class ComputedBy(TypedDict, total=False):
    """Each of `computed_by` in run.json."""

    git_commit: Text | None
    versions: Mapped
    hardware: Mapped


def check_run(info: Mapping[str, Any], place: str, advice: str) -> None:
    """Raise a ValueError if what run.json holds is none of a run; the message names the key."""
    check_values(RunFile, info, place, advice)
    config = info.get("config") or {}
    parts: list[tuple[type, str, Any]] = [(Config, "config", config)]
    parts += [(Stage, name, info.get(name)) for name in ("base", "extend")]
    parts += [(ComputedBy, "computed_by", one) for one in info.get("computed_by") or ()]
    for kind, name, held in parts:
        check_values(kind, held or {}, f"{name} of {place}", advice)
    check_values(Model, config.get("model") or {}, f"config.model of {place}", advice)


def _is_plain(row: Mapping[str, Any]) -> bool:
    """Whether a row is surely a record: what nearly all are, seen in a tenth of the time of their check."""
    kinds = [type(row.get(key)) for key in ROW]
    if kinds != ROW_KINDS or not row["context_length"] >= 0 or row["seed"] < 0 or row["n"] < 0:
        return False
    return math.isfinite(row["value"])


def check_row(row: Mapping[str, Any], place: str, advice: str) -> None:
    """Raise a ValueError if a line of records is no record; the message names the key."""
    if not _is_plain(row):
        check_values(Row, row, place, advice)
    for held, prefix in ((row, ""), (row["at"], "at.")):
        for name, part in held.items():
            if isinstance(part, (dict, list)) and prefix + name not in MAY_HOLD_MORE:
                raise ValueError(
                    f"{prefix}{name} in {place} must be a text, a number or null, got {shown(part)}. {advice}"
                )
