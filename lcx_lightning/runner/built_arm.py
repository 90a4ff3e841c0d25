"""An arm with what its configuration describes: each part is built once, when it is first asked for."""

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from transformers import PretrainedConfig

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.suite import EvaluationSuite
from lcx_lightning.methods.library import build_method, complete, read_method
from lcx_lightning.methods.method import Method
from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.models.clex_checkpoint import with_own_clex
from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.models.sources import ModelSource
from lcx_lightning.runner.arms import Arm, key
from lcx_lightning.runner.recipe import Recipe
from lcx_lightning.runner.trainer_config import TrainerSettings


class Described(NamedTuple):
    """A model that is described and not loaded."""

    source: ModelSource
    config: PretrainedConfig
    spec: RopeSpec


class BuiltArm:
    """An arm and its parts.

    Args:
        arm: Plain data.
        described: Model of the arm, if it has been described before.
        loaded: Data that arms share, by key; data that this arm loads are added.
    """

    def __init__(
        self, arm: Arm, described: Described | None = None, loaded: dict[str, LongContextData] | None = None
    ) -> None:
        self.arm = arm
        self._described, self._loaded = described, {} if loaded is None else loaded

    @cached_property
    def model(self) -> Described:
        """The model that the arm extends."""
        return self._described or describe(self.arm.config["model"]["source"])

    @cached_property
    def trainer(self) -> TrainerSettings:
        """Settings of the trainer."""
        return self.arm.trainer

    @cached_property
    def base_recipe(self) -> Recipe | None:
        """Training of the base, None if the model comes pretrained."""
        return self._recipe(self.arm.config["model"]["recipe"], "base")

    @cached_property
    def recipe(self) -> Recipe | None:
        """Training of the extension, None if the method is used zero-shot."""
        return self._recipe(self.arm.config["training"], "extension")

    @cached_property
    def evaluation(self) -> EvaluationSuite:
        """The evaluations, as one."""
        return EvaluationSuite(instantiate(self.arm.config["evaluation"]))

    @cached_property
    def data(self) -> LongContextData:
        """The data. A corpus whose identity the arm knows is not read again to find it out."""
        return load_data(self.arm.config, self._loaded, self.arm.corpus)

    def method(self) -> Method:
        """Return a new method of the arm, as it is before training."""
        return build_method(DictConfig(self.arm.config["method"]), self.model.spec)

    def pretrained(self) -> Method:
        """Return the method that leaves the model as it is."""
        return build_method(read_method("pretrained"), self.model.spec)

    def seeded_method(self) -> Method:
        """Return a new method whose own weights are drawn from the arm's seed."""
        torch.manual_seed(self.arm.seed)
        return self.method()

    def _recipe(self, config: dict[str, Any] | None, stage: str) -> Recipe | None:
        length = self.model.spec.pretrain_length
        return Recipe.read(config, length, f"{stage} of {self.arm.name}") if config else None


def describe(source: Any) -> Described:
    """Return the model of a configuration, without loading weights.

    Raises:
        ValueError: If the model is not supported.
    """
    built = instantiate(source)
    config = built.config()
    return Described(built, config, rope_spec(config))


def resolve(composed: DictConfig, seed: int) -> tuple[dict[str, Any], Described]:
    """Return the configuration of an arm at a seed without interpolations, and its model."""
    config = composed.copy()
    OmegaConf.set_readonly(config, False)
    OmegaConf.set_struct(config, False)
    config.pop("hydra", None)
    if config.training.get("zero_shot"):
        config.training = None
    described = describe(config.model.source)
    config.pretrain_length, config.seed = described.spec.pretrain_length, seed
    config.method = with_own_clex(complete(config.method), described.config)
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # pyright: ignore[reportAssignmentType]
    return plain, described


def load_data(
    config: dict[str, Any], loaded: dict[str, LongContextData], identity: str | None = None
) -> LongContextData:
    """Return the data of an arm; arms with the same data share it.

    Args:
        config: Resolved configuration of the arm.
        loaded: Data that were loaded before, by key.
        identity: Identity of the corpus, if it is known: then the corpus is not read to find it out.
    """
    data = config["data"]
    name = key(data, config["model"]["source"])
    if name not in loaded:
        loaded[name] = LongContextData(
            instantiate(data["corpus"]),
            instantiate(config["model"]["source"]).tokens(),
            data["mixture"],
            documents=data["documents"],
            minimum_tokens=data["minimum_tokens"],
            cache=Path(config["cache_dir"]).expanduser() / "tokens",
            identity=identity,
        )
    return loaded[name]
