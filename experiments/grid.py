"""The grid of an experiment: the arms that a configuration and the command line describe, each built once."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from transformers import PretrainedConfig

from experiments.arms import Arm, key
from experiments.check import check_ignored, check_settings, check_trainer, check_training
from experiments.in_loop import FILE, Looks
from lcx_lightning.clex_checkpoint import with_own_clex
from lcx_lightning.configs import build_method, complete, read_method
from lcx_lightning.data.source import LongContextData
from lcx_lightning.evaluation.base import Piece
from lcx_lightning.evaluation.several import Several
from lcx_lightning.fingerprint import alike, digest, fingerprint
from lcx_lightning.models import ModelSource, check_tokens, rope_spec
from lcx_lightning.results.records import IDENTITY
from lcx_lightning.scaling.base import RopeSpec

BASELINE = ["pretrained"]


class Resolved(NamedTuple):
    """The configuration of an arm without interpolations, and its model, which is not loaded."""

    config: dict[str, Any]
    source: ModelSource
    model: PretrainedConfig
    spec: RopeSpec


def expand(config: DictConfig, command_line: list[str]) -> list[tuple[str, list[str], DictConfig]]:
    """Return name, methods and configuration of every arm, without its seed.

    Args:
        config: As composed from the command line.
        command_line: Its overrides, which win over those of an arm: a choice also over what an arm sets inside it.
    """
    parser = OverridesParser.create()
    given = _by_key(parser, command_line)
    grid: dict[tuple[str, ...], dict[str, str]] = {}
    for line in config.arms or [""]:
        for overrides in BasicSweeper.split_arguments(parser.parse_overrides(line.split()), None)[0]:
            own = {k: v for k, v in _by_key(parser, overrides).items() if not {k, k.split(".")[0]} & given.keys()}
            grid.setdefault(tuple(sorted([*own.values(), *given.values()])), own)
    composed = [
        (own, compose("run", [*given.values(), *own.values()], return_hydra_config=True)) for own in grid.values()
    ]
    arms = [(own, methods_of(arm), arm) for own, arm in composed]
    rivals: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for own, names, _ in arms:
        rivals.setdefault(tuple(names), []).append(own)
    return [(arm_name(names, own, rivals[tuple(names)]), names, arm) for own, names, arm in arms]


def _by_key(parser: OverridesParser, overrides: Sequence[str]) -> dict[str, str]:
    """Return overrides by what they override."""
    return {parsed.key_or_group: str(parsed.input_line) for parsed in parser.parse_overrides(list(overrides))}


def methods_of(config: DictConfig) -> list[str]:
    """Return the names of the composed methods, in order.

    Raises:
        ValueError: If two of them set one part differently.
    """
    choices = config.hydra.runtime.choices
    if "method" in choices:
        return [choices["method"]]
    lines = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    lists: list[Any] = [line.value() for line in lines if line.key_or_group == "method"]  # Hydra keeps no lists
    names = [name for names in lists for name in names]
    read_method([_method_file(name, config) for name in names])
    return names


def _method_file(name: str, config: DictConfig) -> str:
    """Return the path of a method in the folder of --config-dir, or the name of one of the package."""
    folders = [Path(source.path) for source in config.hydra.runtime.config_sources if source.schema == "file"]
    paths = [folder / "method" / f"{name}.yaml" for folder in folders]
    return next((str(path) for path in paths if path.is_file()), name)


def arm_name(methods: list[str], own: dict[str, str], rivals: list[dict[str, str]]) -> str:
    """Return the joined methods; where several arms share them, with what sets this arm apart.

    Args:
        methods: Names of the composed methods.
        own: Overrides of the arm, by what they override.
        rivals: Overrides of all arms that share the methods, this one included.
    """
    shared = set.intersection(*(set(rival.items()) for rival in rivals))
    apart = [(name, line) for name, line in own.items() if (name, line) not in shared]
    return " ".join(["+".join(methods), *(line[line.rfind(".", 0, line.find("=")) + 1 :] for _, line in apart)])


def build(config: DictConfig, command_line: list[str], here: bool = True) -> list[Arm]:
    """Return the arms of the grid, one per seed, each built once, so that nothing starts that cannot end.

    Args:
        config: As composed from the command line.
        command_line: Its overrides.
        here: Whether the arms are to run on this machine, which must have what their trainers need.

    Raises:
        ValueError: If any arm cannot be built, its model is not supported, or its data do not reach its lengths.
    """
    check_settings(config)
    arms: list[Arm] = []
    datas: dict[str, LongContextData] = {}
    for order, (name, methods, composed) in enumerate(expand(config, command_line)):
        for seed in range(config.seed, config.seed + config.seeds):
            arms.append(_build(name, methods, order, composed, seed, datas))
            if here and config.forecast == "none":  # a forecast is of any hardware
                check_trainer(arms[-1].config["trainer"])
    check_ignored(arms, command_line)
    return arms


def _build(
    name: str, methods: list[str], order: int, composed: DictConfig, seed: int, datas: dict[str, LongContextData]
) -> Arm:
    plain, source, model_config, spec = resolved(composed, seed)
    data = load_data(plain, datas)
    check_tokens(data.tokens, model_config)
    train_length = plain["training"] and round(plain["training"]["length_factor"] * spec.pretrain_length)
    arm = Arm(name, methods, order, plain, data.corpus.identity(), spec.pretrain_length, train_length)
    method = build_method(DictConfig(plain["method"]), spec)
    evaluation = Several(instantiate(plain["evaluation"]))
    arm.reach = reach = method.reach(spec.pretrain_length)
    wanted = evaluation.lengths(spec.pretrain_length)
    arm.lengths = evaluation.served(spec.pretrain_length, reach)
    arm.not_evaluated = {str(n): f"beyond its reach, {reach} tokens" for n in wanted if n not in arm.lengths}
    if not arm.lengths:
        raise ValueError(
            f"{name} reaches {reach} tokens, but the shortest evaluated length is {wanted[0]}: raise factor."
        )
    _refuse_twins(evaluation.pieces(data, spec.pretrain_length, reach), name)
    if arm.looks:
        Looks(arm, data, arm.folder / FILE)
    check_training(arm, source, method, data)
    sights = fingerprint(method, arm.lengths, train_length)
    untouched = build_method(read_method(BASELINE), spec)
    arm.fingerprint = digest(sights)
    arm.equals_pretrained = methods != BASELINE and alike(sights, fingerprint(untouched, arm.lengths, train_length))
    return arm


def _refuse_twins(pieces: list[Piece], name: str) -> None:
    """Raise a ValueError if records could not tell two numbers of an arm apart."""
    counts = Counter(tuple(row.get(key) for key in IDENTITY) for piece in pieces for row in piece.rows)
    twins = [identity for identity, count in counts.items() if count > 1]
    if twins:
        told = {key: value for key, value in zip(IDENTITY, twins[0], strict=True) if value is not None}
        raise ValueError(
            f"{name} would have two numbers for {told}: evaluate each protocol once, with multiples that are not "
            "the same length."
        )


def resolved(composed: DictConfig, seed: int) -> Resolved:
    """Return the configuration of an arm at a seed, and what its model says."""
    config = composed.copy()
    OmegaConf.set_readonly(config, False)
    OmegaConf.set_struct(config, False)
    config.pop("hydra", None)
    if config.training.get("zero_shot"):
        config.training = None
    source = instantiate(config.model.source)
    model_config = source.config()
    spec = rope_spec(model_config)
    config.pretrain_length, config.seed = spec.pretrain_length, seed
    config.method = with_own_clex(complete(config.method), model_config)
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # pyright: ignore[reportAssignmentType]
    return Resolved(plain, source, model_config, spec)


def load_data(
    config: dict[str, Any], loaded: dict[str, LongContextData], identity: str | None = None
) -> LongContextData:
    """Return the data of an arm; arms with the same data share it. With the corpus's identity it is not read again."""
    data = config["data"]
    name = key(data, config["model"]["source"])
    if name not in loaded:
        tokens = instantiate(config["model"]["source"]).tokens()
        loaded[name] = LongContextData(
            instantiate(data["corpus"]),
            tokens,
            data["mixture"],
            documents=data["documents"],
            minimum_tokens=data["minimum_tokens"],
            cache=Path(config["cache_dir"]).expanduser() / "tokens",
            identity=identity,
        )
    return loaded[name]
