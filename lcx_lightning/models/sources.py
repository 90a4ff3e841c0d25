"""Sources of models: their config and tokenizer before loading, and the loaded model."""

import abc
import copy
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import NonNegativeInt
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from lcx_lightning.data.tokenizers import ByteTokens, HubTokens, NoTokenizerError, Tokens
from lcx_lightning.laboratory import bases
from lcx_lightning.models.checkpoint_files import check_tokenizer, why_no_tokenizer
from lcx_lightning.models.clex_checkpoint import separate_clex
from lcx_lightning.models.config_file import place_of, read_config
from lcx_lightning.models.config_rope import rope_in_one_place
from lcx_lightning.models.contents import commit_of, folder_identity
from lcx_lightning.models.families import FAMILIES
from lcx_lightning.models.loading import load_weights
from lcx_lightning.models.rope_spec import without_scaling
from lcx_lightning.schema.checked import checked
from lcx_lightning.schema.files import naming

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BYTES, LABORATORY = "bytes", "laboratory"  # tokenizers that are no files of the user's
DTYPES = ("float32", "bfloat16", "float16", "float64")
SHORT_NAMES = {
    **dict.fromkeys(("fp32", "float", "f32", "torch.float32"), "float32"),
    **dict.fromkeys(("bf16", "torch.bfloat16"), "bfloat16"),
    **dict.fromkeys(("fp16", "half", "f16", "torch.float16"), "float16"),
    **dict.fromkeys(("fp64", "double", "f64", "torch.float64"), "float64"),
}


class ModelSource(abc.ABC):
    """A model whose config and tokenizer are known before it is loaded.

    Attributes:
        has_weights: Whether it comes pretrained.
        recipe: How it was pretrained, if it says so.
    """

    has_weights: bool = True
    recipe: Mapping[str, Any] | None = None

    @abc.abstractmethod
    def config(self) -> PretrainedConfig:
        """Return the model's config, without loading weights."""

    @abc.abstractmethod
    def tokens(self) -> Tokens:
        """Return the model's tokenizer."""

    def identity(self, memory: Path) -> str | None:
        """Return a text that changes with the files of the model, None if it is not a folder.

        Args:
            memory: Folder in which the hashes of large files are remembered.
        """
        return None

    def commit(self) -> str | None:
        """Return the commit of the hub that the model's branch or tag names now, None if it is not from the hub."""
        return None

    @abc.abstractmethod
    def load(self, folder: Path | None, ranks: int = 1) -> "PreTrainedModel":
        """Return the model: the pretrained base in `folder`, or the checkpoint itself if `folder` is None.

        If several processes are to share the model, all `ranks` of them call this together, and each may read only its
        own shards of the weights.

        Raises:
            ValueError: If the weights are not exactly those of the model, cannot be read, or are not finite.
        """


class EmbeddedModel(ModelSource):
    """A small model of the laboratory: a base that comes with the package, or one that this program pretrains.

    A base comes with the package for some seeds and one architecture; any other one is pretrained.

    Args:
        architecture: Arguments of the transformers config, `model_type` among them.
        tokenizer: `bytes` for UTF-8 bytes, `laboratory` for the byte pairs that come with the package, or a folder with
            a tokenizer in the format of the Hugging Face hub.
        seed: Seed of the base.
        train: Whether it is pretrained even if it comes with the package.

    Attributes:
        has_weights: Whether it comes with the package.

    Raises:
        ValueError: If there is no base of the seed, or the package was installed without its bases, or there is no such
            tokenizer.
    """

    @checked
    def __init__(self, *, architecture: Mapping[str, Any], tokenizer: str, seed: NonNegativeInt, train: bool) -> None:
        self.architecture, self.tokenizer = dict(architecture), tokenizer
        if tokenizer not in (BYTES, LABORATORY) and not Path(tokenizer).is_dir():
            raise ValueError(f"tokenizer must be {BYTES}, {LABORATORY} or a folder that is there, got {tokenizer!r}.")
        if not train and bases.architecture() is None:
            raise ValueError(
                f"This installation lacks the bases of the laboratory, {bases.FOLDER}: install the package again, or "
                "train one with model.train=true."
            )
        shipped = not train and self.architecture == bases.architecture() and tokenizer == LABORATORY
        if shipped and seed not in bases.seeds():
            raise ValueError(
                f"Bases come with the package for the seeds {', '.join(map(str, bases.seeds())) or '(none)'}, and seed "
                f"{seed} was asked for. To train one, which takes an hour or two, add model.train=true; a quick one: "
                "model.train=true model.recipe.steps=800."
            )
        self.seed, self.has_weights = seed, shipped
        self.recipe = (bases.about() or {}).get("recipe") if shipped else None

    def config(self) -> PretrainedConfig:
        kind = self.architecture.get("model_type")
        if not isinstance(kind, str) or kind not in FAMILIES:
            raise ValueError(
                f"model.source.architecture.model_type must be one of {', '.join(sorted(FAMILIES))}, got {kind!r}."
            )
        try:
            return AutoConfig.for_model(**rope_in_one_place(self.architecture))
        except Exception as error:  # transformers refuses values in many ways
            raise ValueError(f"model.source.architecture makes no model: {' '.join(str(error).split())}") from error

    def tokens(self) -> Tokens:
        if self.tokenizer == BYTES:
            return ByteTokens()
        return bases.tokens() if self.tokenizer == LABORATORY else _checked_tokens(self.tokenizer, "main", None)

    def identity(self, memory: Path) -> str | None:
        """Return what changes with the files: those of the bases, or of the tokenizer, which bytes have not."""
        if self.has_weights:
            return bases.identity()
        if self.tokenizer == BYTES:
            return None
        return folder_identity(bases.TOKENIZER if self.tokenizer == LABORATORY else Path(self.tokenizer), memory)

    def load(self, folder: Path | None, ranks: int = 1) -> "PreTrainedModel":
        if folder is not None:
            return load_weights(folder)
        model = AutoModelForCausalLM.from_config(self.config())
        if self.has_weights:
            model.load_state_dict(bases.load(self.seed))
        return model


def _checked_tokens(name: str, revision: str, config: PretrainedConfig | None) -> Tokens:
    """Return a tokenizer of the hub or of a folder.

    Raises:
        ValueError: If it is damaged, or needs Python code of its own. The message says what to do.
    """
    check_tokenizer(name, revision)
    try:
        return HubTokens(name, revision, config)
    except NoTokenizerError as error:
        if "trust_remote_code" not in str(error.__cause__):
            raise ValueError(why_no_tokenizer(name, revision, error.__cause__)) from error
        raise ValueError(
            f"The tokenizer of {name} needs Python code of its own (auto_map in its tokenizer_config.json). "
            "Code that comes with a checkpoint is never run. Save it as a tokenizer.json of the tokenizers library."
        ) from error


class HubModel(ModelSource):
    """A checkpoint from the Hugging Face hub, or a folder in its format.

    Args:
        name: Name of the checkpoint on the hub, or a folder.
        revision: Branch, tag or commit.
        dtype: Data type of the weights: float32, bfloat16, float16 or float64.
        own_scaling: Whether a checkpoint that carries a scaling, such as Llama-3.1, starts from its scaled frequencies
            and the length that they support. If False, it starts from the unscaled ones and its original length.

    Raises:
        ValueError: If the data type is none of these. Later, if there is no such folder or its files make no sense.
    """

    @checked
    def __init__(self, *, name: str, revision: str, dtype: str, own_scaling: bool) -> None:
        self.name, self.revision, self.own_scaling = name, revision, own_scaling
        self.dtype = _dtype(dtype)

    def config(self) -> PretrainedConfig:
        config = read_config(self.name, self.revision)
        with naming(place_of(self.name)):
            config = separate_clex(config, self.name, self.revision)
            return config if self.own_scaling else without_scaling(config)

    def tokens(self) -> Tokens:
        return _checked_tokens(self.name, self.revision, read_config(self.name, self.revision))

    def identity(self, memory: Path) -> str | None:
        folder = Path(self.name)
        return folder_identity(folder, memory) if folder.is_dir() else None

    def commit(self) -> str | None:
        return commit_of(self.name, self.revision)

    def load(self, folder: Path | None, ranks: int = 1) -> "PreTrainedModel":
        config = self.config()
        given = {"config": config, "revision": self.revision} if folder is None else {}
        name = folder or self.name
        if ranks == 1 or hasattr(config, "clex"):  # the weights of its ODE are read from whole files
            return load_weights(name, dtype=self.dtype, **given)
        from lcx_lightning.distributed.sharded_loading import load_sharded  # seconds, where a model is only described

        return load_sharded(partial(load_weights, name, dtype=self.dtype, **given), ranks)


def _dtype(name: str) -> torch.dtype:
    """Return a data type of weights by its name.

    Raises:
        ValueError: If it is not one of those in which a model can compute.
    """
    if name not in DTYPES:
        meant = SHORT_NAMES.get(str(name))
        hint = f"Write {meant}." if meant else f"Choose {', '.join(DTYPES)}."
        raise ValueError(f"model.source.dtype={name} is no data type of weights. {hint}")
    return getattr(torch, name)


def skeleton(config: PretrainedConfig) -> "PreTrainedModel":
    """Return the model without weights, on the meta device: to see what can be built on it."""
    with torch.device("meta"):
        own = copy.deepcopy(config)  # a method that is attached sets its attention
        return AutoModelForCausalLM.from_config(own, trust_remote_code=False)


def check_tokens(tokens: Tokens, config: PretrainedConfig) -> None:
    """Raise a ValueError if a tokenizer has more ids than a model; warn if its BOS is not that of the config."""
    if tokens.vocab_size > config.vocab_size:
        raise ValueError(
            f"The tokenizer has {tokens.vocab_size:,} ids, and the model embeds {config.vocab_size:,}: it belongs to "
            "another model, or tokens were added to it. Put the model's own tokenizer beside its weights."
        )
    bos, expected = getattr(tokens, "own_bos", None), config.bos_token_id
    if bos is not None and expected is not None and bos != expected:
        warnings.warn(
            f"The tokenizer's BOS token has the id {bos}, and the model's config says bos_token_id={expected}. Rows "
            f"and windows start with {list(tokens.prefix)}, as the tokenizer says. If it belongs to another model, put "
            "the right one beside the weights.",
            stacklevel=2,
        )
