"""The grid of an experiment: the arms that a configuration and the command line describe, each built once."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.methods.fingerprint import alike, digest, fingerprint
from lcx_lightning.methods.library import complete, read_method
from lcx_lightning.methods.method import Method
from lcx_lightning.methods.targets import check_targets
from lcx_lightning.models.clex_checkpoint import grows, with_own_clex
from lcx_lightning.results.metrics import as_data
from lcx_lightning.runner.arms import Arm
from lcx_lightning.runner.built_arm import BuiltArm, Described, resolve
from lcx_lightning.runner.contents import contents_in
from lcx_lightning.runner.launch import torchrun
from lcx_lightning.runner.recipe import train_length
from lcx_lightning.runner.secrets import masked_words
from lcx_lightning.runner.settings import (
    KNOBS,
    changes_nothing,
    check_added,
    check_ignored,
    check_of_arm,
    check_settings,
    check_trained,
    settle,
)

BASELINE = ["pretrained"]
NAMING = ("model", "method", "training", "evaluation", "in_loop")  # parts that name files; those of data are its corpus


def expand(config: DictConfig, command_line: list[str]) -> list[tuple[str, list[str], DictConfig]]:
    """Return name, methods and configuration of every arm, without its seed.

    Args:
        config: Composed configuration of the command line.
        command_line: Overrides of the command line. They win over those of an arm, a choice of a group also over values
            that an arm sets inside the group.
    """
    parser = OverridesParser.create()
    given = _by_key(parser, command_line)
    grid: dict[tuple[str, ...], dict[str, str]] = {}
    for line in config.arms or [""]:
        for overrides in BasicSweeper.split_arguments(parser.parse_overrides(words_of(line)), None)[0]:
            check_of_arm(_by_key(parser, overrides).values())
            own = {k: v for k, v in _by_key(parser, overrides).items() if not {k, k.split(".")[0]} & given.keys()}
            grid.setdefault(tuple(sorted([*own.values(), *given.values()])), own)
    composed = [
        (own, compose("run", [*given.values(), *own.values()], return_hydra_config=True)) for own in grid.values()
    ]
    arms = [(own, methods_of(arm), arm) for own, arm in composed]
    rivals: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for own, names, _ in arms:
        rivals.setdefault(tuple(names), []).append(own)
    named = [arm_name(names, own, rivals[tuple(names)]) for own, names, _ in arms]
    shared = {name for name, count in Counter(named).items() if count > 1}
    named = [
        arm_name(names, own, rivals[tuple(names)], whole=True) if name in shared else name
        for name, (own, names, _) in zip(named, arms, strict=True)
    ]
    for name, (own, _, arm) in zip(named, arms, strict=True):
        check_trained(own.values(), arm, name)
    return [(name, names, arm) for name, (_, names, arm) in zip(named, arms, strict=True)]


def words_of(line: str) -> list[str]:
    """Return the overrides in a line: words between blanks, but for blanks in quotes and in brackets."""
    words, quote, depth = [""], "", 0
    for before, character in zip(f" {line}", line, strict=False):
        if quote:
            quote = "" if character == quote and before != "\\" else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "[{(") - (character in "]})")
        if character.isspace() and not quote and not depth:
            words.append("")
        else:
            words[-1] += character
    return [word for word in words if word]


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
    paths = [Path(folder) / "method" / f"{name}.yaml" for folder in _own_folders(config)]
    return next((str(path) for path in paths if path.is_file()), name)


def _own_folders(config: DictConfig) -> list[str]:
    """Return the folders of the user's own configurations: that of --config-dir."""
    return [source.path for source in config.hydra.runtime.config_sources if source.schema == "file"]


def arm_name(methods: list[str], own: dict[str, str], rivals: list[dict[str, str]], whole: bool = False) -> str:
    """Return the joined methods; where several arms share them, with what sets this arm apart.

    Args:
        methods: Names of the composed methods.
        own: Overrides of the arm, by what they override.
        rivals: Overrides of all arms that share the methods, this one included.
        whole: Whether settings are named with all of their key, and not with its last part.
    """
    shared = set.intersection(*(set(rival.items()) for rival in rivals))
    apart = [(name, line) for name, line in own.items() if (name, line) not in shared]
    words = [line if whole else line[line.rfind(".", 0, line.find("=")) + 1 :] for _, line in apart]
    return " ".join(["+".join(methods), *masked_words(words)])


def build(config: DictConfig, command_line: list[str]) -> list[BuiltArm]:
    """Return the arms of the grid, one per seed, each with what its method does.

    Neither data nor weights are read, and nothing is looked for on this machine: see `preflight.check_arm`.

    Args:
        config: Composed configuration of the command line.
        command_line: Overrides of the command line.

    Raises:
        ValueError: If an arm cannot be built, or its model is not supported.
    """
    settle(config)
    check_settings(config)
    check_added(command_line)
    arms: list[BuiltArm] = []
    loaded: dict[str, LongContextData] = {}
    for order, (name, methods, composed) in enumerate(expand(config, command_line)):
        own_modules = [Path(folder).name for folder in _own_folders(composed)]
        check_targets(composed, own_modules)
        source: Any = OmegaConf.to_container(composed.model.source, resolve=True)
        check_targets({"source": source}, own_modules)  # built ahead of the rest
        own = OmegaConf.masked_copy(composed, [str(part) for part in composed if part != "hydra"])
        settle(own)
        check_settings(own)
        given = {line.partition("=")[0] for line in command_line}
        for seed in range(config.seed, config.seed + config.seeds):
            plain, described = resolve(composed, seed)
            check_targets(plain, own_modules)  # a resolver may have made one
            idle = _idle_knobs(composed, described)
            ignored = [knob for knob in idle if knob in given]
            factor = None if "factor" in idle else plain["factor"]
            built = BuiltArm(Arm(name, methods, order, plain, factor=factor), described, loaded, ignored)
            method = _fill_in(built)
            if "grow" in given and not method.positions.length_dependent:
                built.ignored = [*ignored, "grow"]
            arms.append(built)
    launched_here = "at_once" in config.launch and not torchrun.started()
    check_ignored([built.arm for built in arms], command_line, launched_here)
    return arms


def _idle_knobs(composed: DictConfig, described: Described) -> list[str]:
    """Return the knobs that an arm does not depend on, with the settings of its checkpoint."""
    config = composed.copy()
    OmegaConf.set_readonly(config, False)
    OmegaConf.set_struct(config, False)
    config.method = with_own_clex(complete(config.method), described.config)
    return [knob for knob in KNOBS if changes_nothing(config, knob)]


def _fill_in(built: BuiltArm) -> Method:
    """Fill in the lengths of an arm and what its method does at these, and return the method."""
    arm, length, evaluation = built.arm, built.model.spec.pretrain_length, built.evaluation
    training = arm.config["training"]
    arm.pretrain_length, arm.train_length = length, training and train_length(training, length)
    arm.contents = {part: found for part in NAMING if (found := contents_in(arm.config[part]))}
    method = built.method()
    arm.grows = grows(arm.config["grow"], method, built.model.config)
    if arm.config["grow"] is None:
        arm.config["grow"] = arm.grows
    arm.max_context = method.max_context(length)
    wanted, arm.lengths = evaluation.lengths(length), evaluation.served(length, arm.max_context)
    arm.not_evaluated = {str(n): f"beyond its reach, {arm.max_context} tokens" for n in wanted if n not in arm.lengths}
    if not arm.lengths:
        raise ValueError(
            f"{arm.name} reaches {arm.max_context} tokens, but the shortest evaluated length is {wanted[0]}: raise "
            "factor."
        )
    arm.metrics = as_data(evaluation.metrics())
    passes = fingerprint(method, arm.lengths, arm.train_length)
    pretrained = fingerprint(built.pretrained(), arm.lengths, arm.train_length)
    arm.fingerprint = digest(passes)
    arm.training_fingerprint = digest({name: one for name, one in passes.items() if name.startswith("training")})
    arm.equals_pretrained = arm.methods != BASELINE and alike(passes, pretrained)
    return method
