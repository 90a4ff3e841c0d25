"""TODO."""

from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from transformers import PretrainedConfig

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.methods.library import complete
from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.models.clex_checkpoint import with_own_clex
from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.models.sources import ModelSource
from lcx_lightning.runner.arms import key


class Resolved(NamedTuple):
    """The configuration of an arm without interpolations, and its model, which is not loaded."""

    config: dict[str, Any]
    source: ModelSource
    model: PretrainedConfig
    spec: RopeSpec


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
