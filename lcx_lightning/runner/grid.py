"""The grid of an experiment: the arms that a configuration and the command line describe, each built once."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.base import WorkUnit
from lcx_lightning.evaluation.suite import EvaluationSuite
from lcx_lightning.methods.fingerprint import alike, digest, fingerprint
from lcx_lightning.methods.library import build_method, read_method
from lcx_lightning.models.sources import check_tokens
from lcx_lightning.results.metrics import as_data
from lcx_lightning.results.records import identity
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.built_arm import load_data, resolved
from lcx_lightning.runner.in_loop_evaluation import FILE, InLoopEvaluation
from lcx_lightning.runner.preflight import check_ignored, check_settings, check_trainer, check_training

BASELINE = ["pretrained"]


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
    evaluation = EvaluationSuite(instantiate(plain["evaluation"]))
    arm.max_context = max_context = method.max_context(spec.pretrain_length)
    wanted = evaluation.lengths(spec.pretrain_length)
    arm.lengths = evaluation.served(spec.pretrain_length, max_context)
    arm.not_evaluated = {str(n): f"beyond its reach, {max_context} tokens" for n in wanted if n not in arm.lengths}
    if not arm.lengths:
        raise ValueError(
            f"{name} reaches {max_context} tokens, but the shortest evaluated length is {wanted[0]}: raise factor."
        )
    arm.metrics = as_data(evaluation.metrics())
    _refuse_twins(evaluation.work_units(data, spec.pretrain_length, max_context), name)
    if arm.evaluates_in_loop:
        InLoopEvaluation(arm, data, arm.folder / FILE)
    check_training(arm, source, method, data)
    passes = fingerprint(method, arm.lengths, train_length)
    untouched = build_method(read_method(BASELINE), spec)
    arm.fingerprint = digest(passes)
    arm.equals_pretrained = methods != BASELINE and alike(passes, fingerprint(untouched, arm.lengths, train_length))
    return arm


def _refuse_twins(work_units: list[WorkUnit], name: str) -> None:
    """Raise a ValueError if records could not tell two numbers of an arm apart."""
    counts = Counter(identity(row) for unit in work_units for row in unit.rows)
    twins = [dict(one) for one, count in counts.items() if count > 1]
    if twins:
        raise ValueError(
            f"{name} would have two numbers for {twins[0]}: evaluate each protocol once, with multiples that are not "
            "the same length."
        )
