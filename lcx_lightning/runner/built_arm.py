"""An arm with what its configuration describes: each part is built once, when it is first asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from transformers import PretrainedConfig

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.suite import EvaluationSuite
from lcx_lightning.methods.library import build_method, complete, read_method
from lcx_lightning.methods.method import Method
from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.models.clex_checkpoint import with_own_clex
from lcx_lightning.models.rope_spec import length_source, rope_spec
from lcx_lightning.models.sources import ModelSource
from lcx_lightning.results.naming import leaves
from lcx_lightning.runner.arms import Arm, key
from lcx_lightning.runner.recipe import Recipe
from lcx_lightning.runner.secrets import as_typed
from lcx_lightning.runner.settings import leave_open
from lcx_lightning.runner.trainer_config import TrainerSettings
from lcx_lightning.schema.build import build


class Described(NamedTuple):
    """A model that is described and not loaded."""

    source: ModelSource
    config: PretrainedConfig
    spec: RopeSpec
    length_source: str  # a sentence: the pretraining length L, and where it comes from


class BuiltArm:
    """An arm and its parts.

    Args:
        arm: Plain data.
        described: Model of the arm, if it has been described before.
        loaded: Data that arms share, by key; data that this arm loads are added.
        ignored: Values of the command line on which nothing of the arm depends.
    """

    def __init__(
        self,
        arm: Arm,
        described: Described | None = None,
        loaded: dict[str, LongContextData] | None = None,
        ignored: Sequence[str] = (),
    ) -> None:
        self.arm, self.ignored = arm, ignored
        self._described, self._loaded = described, {} if loaded is None else loaded

    @cached_property
    def model(self) -> Described:
        """The model that the arm extends."""
        config = self.arm.config
        return self._described or describe(config["model"]["source"], config["pretrain_length"])

    def model_identity(self) -> str | None:
        """Return what changes with the files of the model, if it is a folder."""
        return self.model.source.identity(Path(self.arm.config["cache_dir"]).expanduser() / "hashes")

    def check_model(self) -> None:
        """Raise a ValueError if the model is not the one that the run was planned with."""
        if self.model_identity() != self.arm.model:
            source = self.arm.config["model"]["source"]
            name = source.get("file") or source.get("name") or "that comes with the package"
            raise ValueError(f"The files of the model {name} have changed since this run was planned: start it again.")

    @cached_property
    def trainer(self) -> TrainerSettings:
        """Settings of the trainer."""
        return self.arm.trainer

    @cached_property
    def base_recipe(self) -> Recipe | None:
        """Training of the base, None if the model comes pretrained."""
        return self._recipe(self.arm.config["model"]["recipe"], "model.recipe")

    @cached_property
    def recipe(self) -> Recipe | None:
        """Training of the extension, None if the method is used zero-shot."""
        return self._recipe(self.arm.config["training"], "training")

    @cached_property
    def evaluation(self) -> EvaluationSuite:
        """The evaluations, as one."""
        return EvaluationSuite(build(self.arm.config["evaluation"], "evaluation"))

    @cached_property
    def data(self) -> LongContextData:
        """The data. A corpus whose identity the arm knows is not read again to find it out."""
        return load_data(self.arm.config, self._loaded, self.arm.corpus)

    def method(self) -> Method:
        """Return a new method of the arm, as it is before training."""
        return build_method(DictConfig(self.arm.config["method"]), self.model.spec, own_modules=None)

    def pretrained(self) -> Method:
        """Return the method that leaves the model as it is."""
        return build_method(read_method("pretrained"), self.model.spec)

    def seeded_method(self) -> Method:
        """Return a new method whose own weights are drawn from the arm's seed."""
        torch.manual_seed(self.arm.seed)
        return self.method()

    def _recipe(self, config: dict[str, Any] | None, key: str) -> Recipe | None:
        return Recipe.read(config, self.model.spec.pretrain_length, key) if config else None


def describe(source: Any, pretrain_length: int | None = None) -> Described:
    """Return the model of a configuration, without loading weights.

    Args:
        source: Configuration of the model's source.
        pretrain_length: Pretraining length L in tokens. None: what the model's config tells.

    Raises:
        ValueError: If the model is not supported.
    """
    built = build(source, "model.source")
    config = built.config()
    spec, source = rope_spec(config), length_source(config)
    if pretrain_length and pretrain_length != spec.pretrain_length:
        source = f"L = {pretrain_length:,} tokens, as pretrain_length says. Of the model itself, {source}"
        spec = replace(spec, pretrain_length=pretrain_length)
    return Described(built, config, spec, source)


def resolve(composed: DictConfig, seeds: Sequence[int]) -> Iterator[tuple[dict[str, Any], Described]]:
    """Yield the configuration of an arm at each seed without interpolations, and its model.

    A branch or tag of the hub becomes the commit that it names now. Secrets from environment variables stay as typed.
    """
    config = OmegaConf.masked_copy(composed, [str(part) for part in composed if part != "hydra"])
    OmegaConf.set_readonly(config, False)
    OmegaConf.set_struct(config, False)
    if config.training.get("zero_shot"):
        config.training = None
    leave_open(config)
    given = None if OmegaConf.is_missing(config, "pretrain_length") else config.pretrain_length
    lengths, model, method = config.pop("lengths"), config.model, complete(config.method)
    config.method = method
    typed = OmegaConf.to_container(config)
    for seed in seeds:
        config.seed, config.model = seed, model  # a copy, which the seed before has not changed
        described = describe(config.model.source, given)
        if described.source.has_weights:
            check_recipe(config.model.recipe, described.source)
            config.model.recipe = None
        elif "train" in config.model:
            config.model.train = config.model.source.train = True
        if commit := described.source.commit():
            config.model.source.revision = commit
        config.pretrain_length = described.spec.pretrain_length
        if lengths:
            evaluate_at(config.evaluation, lengths, config.pretrain_length)
        config.method = with_own_clex(method, described.config)
        plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # pyright: ignore[reportAssignmentType]
        yield as_typed(plain, typed), described


def check_recipe(recipe: DictConfig | None, source: ModelSource) -> None:
    """Raise a ValueError if a model that comes pretrained is given a recipe which it was not trained by."""
    trained_by = dict(leaves(source.recipe or {}))
    for name, value in leaves(OmegaConf.to_container(recipe, resolve=True) if recipe else {}):
        if name not in trained_by or trained_by[name] != value:
            raise ValueError(
                f"model.recipe.{name}={value} would change nothing: the model comes pretrained. Add model.train=true, "
                "if it is one that can be trained here, or leave the recipe out."
            )


def evaluate_at(evaluations: DictConfig, lengths: Sequence[int], pretrain_length: int) -> None:
    """Set the context lengths in tokens of all evaluations that have multiples of L, in place.

    Raises:
        ValueError: If none has.
    """
    scaled = [name for name, node in evaluations.items() if "multiples" in node]
    if not scaled:
        raise ValueError(
            f"lengths={list(lengths)} would change nothing: no context length of {', '.join(map(str, evaluations))} is "
            "a multiple of L. Choose another evaluation, such as evaluation=growing_context."
        )
    multiples = [length / pretrain_length for length in sorted(set(lengths))]
    for name in scaled:
        evaluations[name].multiples = [int(one) if one.is_integer() else one for one in multiples]


def load_data(
    config: dict[str, Any], loaded: dict[str, LongContextData], identity: str | None = None
) -> LongContextData:
    """Return the data of an arm; arms with the same data share it.

    Args:
        config: Resolved configuration of the arm.
        loaded: Data that were loaded before, by key.
        identity: Identity of the corpus, if it is known: then the corpus is not read to find it out.
    """
    data, source = config["data"], config["model"]["source"]
    name = key(data, {part: value for part, value in source.items() if part != "seed"})  # no tokenizer depends on it
    if name not in loaded:
        loaded[name] = LongContextData(
            build(data["corpus"], "data.corpus"),
            build(source, "model.source").tokens(),
            **{part: values for part, values in data.items() if part != "corpus"},
            cache=Path(config["cache_dir"]).expanduser() / "tokens",
            identity=identity,
        )
    return loaded[name]
