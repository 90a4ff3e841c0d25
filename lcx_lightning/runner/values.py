"""The values of a run: which names run.yaml and its groups have, and what is allowed there, known without torch.

Values that an object is built from are described by its constructor: see `lcx_lightning.schema.build`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import MinLen
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from lcx_lightning.attention.names import Backend
from lcx_lightning.runner.recipe import DEFAULT_SCHEDULE, Training, schedule_of
from lcx_lightning.schema.build import TARGET, check
from lcx_lightning.schema.checked import SettingError, checked_arguments
from lcx_lightning.schema.kinds import LargeNumber, shown

Part = Mapping[str, Any]


@dataclass(frozen=True)
class Values:
    """The top level: run.yaml says what each value means."""

    experiment: str | None
    question: str | None
    takes: str | None
    look_for: Sequence[str]
    arms: Sequence[str]
    factor: PositiveFloat
    train_factor: PositiveFloat
    pretrain_length: PositiveInt
    attention: Backend
    grow: bool | None
    recompute: bool
    seed: NonNegativeInt
    seeds: PositiveInt
    dry_run: Literal["fingerprint", "forecast", "data"] | None
    in_loop: Part
    nonfinite: Literal["stop", "skip"]
    jobs: PositiveInt
    checkpoint_seconds: PositiveFloat
    report: Part
    results_dir: str
    cache_dir: str
    model: Part
    data: Part
    method: Part
    training: Part | None
    evaluation: Part
    trainer: Part
    launch: Part
    logger: Part | None
    hardware: Part
    lengths: Annotated[Sequence[PositiveInt], MinLen(1)] | None
    window: PositiveInt | None = None  # a knob that is not set is missing
    sink_tokens: NonNegativeInt | None = None
    distance_limit: PositiveInt | None = None
    width: PositiveFloat | None = None
    max_factor: PositiveFloat | None = None
    solver_steps: PositiveInt | None = None


@dataclass(frozen=True)
class InLoop:
    """Evaluation during training."""

    every: NonNegativeInt  # optimizer steps; 0: none
    batches: PositiveInt
    evaluation: Mapping[str, Part]


@dataclass(frozen=True)
class Report:
    """What the report compares."""

    against: str | None  # name of an arm


@dataclass(frozen=True)
class Model:
    """The model that is extended."""

    source: Part
    recipe: Part | None
    train: bool = False  # whether a base is trained even if one comes with the package


@dataclass(frozen=True)
class Hardware:
    """What a forecast counts with."""

    name: str
    device: str | None
    peak: LargeNumber | None  # FLOP/s
    memory: LargeNumber | None  # bytes
    core: LargeNumber  # FLOP/s
    mfu: PositiveFloat
    price: NonNegativeFloat | None


def check_values(config: dict[str, Any]) -> None:
    """Raise a SettingError for the first value of a resolved configuration that is not allowed, or has no meaning.

    Args:
        config: Plain data. A `pretrain_length` that is not known yet may be any length.
    """
    checked_arguments(Values, config, "")
    for name, kind in (("in_loop", InLoop), ("report", Report), ("model", Model), ("hardware", Hardware)):
        checked_arguments(kind, config[name], name)
    for key, values in (("training", config["training"]), ("model.recipe", config["model"]["recipe"])):
        if values is not None:
            checked_arguments(Training, values, key)
    _check_objects(config)


def _check_objects(config: dict[str, Any]) -> None:
    """As `check_values`, of the parts that objects are built from. Their modules are imported: torch, then."""
    from lcx_lightning.runner.trainer_config import TrainerSettings

    TrainerSettings.read(config["trainer"])
    for key in ("trainer.strategy", "launch", "logger"):
        part, _, inner = key.partition(".")
        node = config[part].get(inner) if inner else config[part]
        if node is not None:
            _check_object(node, key, *(["new"] if key == "logger" else []))
    for part, node in config["method"].items():
        _check_object(node, f"method.{part}", *(["spec"] if part == "scaling" else []))
    _check_evaluations(config)
    for key, values in (("training", config["training"]), ("model.recipe", config["model"]["recipe"])):
        if values is not None:
            _check_training(values, key)
    _check_data(config["data"])
    _check_object(config["model"]["source"], "model.source")  # the last: it imports transformers


def _check_object(node: Any, key: str, *given_later: str) -> None:
    if not isinstance(node, dict) or not isinstance(node.get(TARGET), str):
        raise SettingError(f"{key} must be a mapping with the name of a class in {TARGET}, got {shown(node)}.")
    check(node, key, given_later)


def _check_evaluations(config: dict[str, Any]) -> None:
    chosen = [name for name, node in config["evaluation"].items() if not isinstance(node, dict) or TARGET in node]
    for name, node in config["evaluation"].items():
        if name not in chosen:  # a line or an experiment sets a value of it
            raise SettingError(
                f"evaluation.{name} is set to {shown(node)}, but the evaluation {name} is not chosen. Add "
                f"evaluation=[{','.join([*chosen, name])}], or leave out what sets it, on the line or in "
                f"experiment {config['experiment']}."
            )
        _check_object(node, f"evaluation.{name}")


def _check_data(values: Part) -> None:
    from lcx_lightning.data.dataset import LongContextData

    _check_object(values.get("corpus"), "data.corpus")
    others = {name: value for name, value in values.items() if name != "corpus"}
    checked_arguments(LongContextData, others, "data", given_later=("corpus", "tokens", "cache", "identity"))


def _check_training(values: Part, key: str) -> None:
    _check_object(values["optimizer"], f"{key}.optimizer", "model")
    _check_object({**DEFAULT_SCHEDULE, **values["schedule"]}, f"{key}.schedule", "steps")
    if not values.get("zero_shot"):
        schedule_of(values, key)
    if values.get("lora") is not None:
        from lcx_lightning.models.lora import add_adapters

        checked_arguments(add_adapters, values["lora"], f"{key}.lora", given_later=("model", "seed"))
