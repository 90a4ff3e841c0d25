"""The weight files of a checkpoint, in the order of transformers: names and data types, from their headers alone."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils.hub import cached_file

from lcx_lightning.schema.files import read_json

UNREADABLE = (SafetensorError, UnpicklingError, EOFError, OSError, RuntimeError)  # raised on damaged or missing files
FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
DTYPES = {  # of weights: by their name in safetensors
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
CLEX_ODE = ("model.clex_layer.proj_func.ode_up_proj", "model.clex_layer.proj_func.ode_down_proj")
CLEX_KEYS = (*CLEX_ODE, "model.clex_layer.inv_freq")  # all that a released CLEX has in addition to its model
RECOMPUTED = ("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached")  # buffers of old checkpoints
NOT_WEIGHTS = (*RECOMPUTED, ".attention.bias", ".attention.masked_bias")  # the last two of GPT-NeoX, masks


class Entry(NamedTuple):
    """A tensor in a weight file."""

    name: str
    dtype: str
    file: Path


def weight_files(name: str | Path, revision: str = "main") -> list[Path]:
    """Return the files from which transformers reads the weights of a checkpoint.

    Args:
        name: Name of the checkpoint on the hub, or a folder.
        revision: Branch, tag or commit.

    Raises:
        ValueError: If the index of the shards is no such index, or names a file outside the folder.
        OSError: If a shard is missing.
    """
    for file in FILES:
        path = cached_file(
            str(name),
            file,
            revision=revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if path is None:
            continue
        if not file.endswith(".json"):
            return [Path(path)]
        with naming_lost_shards(Path(path)):
            return [Path(str(cached_file(str(name), shard, revision=revision))) for shard in _shards(Path(path))]
    return []


@contextmanager
def naming_lost_shards(index: Path) -> Iterator[None]:
    """Name the index in an OSError about a shard that it names, and that is not there."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{index} names a shard that is not there: {error}") from error


@contextmanager
def naming_weights(file: Path) -> Iterator[None]:
    """Raise an OSError with the name of a weight file where it cannot be read, whatever its reader raises."""
    try:
        yield
    except UnpicklingError as error:  # whose message tells how to run code that comes with the file
        raise OSError(f"{file.name} is no pickle of tensors alone") from error
    except UNREADABLE as error:
        why = (str(error).strip() or "it is empty").splitlines()[0].rstrip(".")
        raise OSError(f"{file.name}: {why}") from error


def entries(file: Path) -> list[Entry]:
    """Return every tensor in a weight file, without reading its numbers.

    Raises:
        OSError: If the file is damaged.
    """
    with naming_weights(file):
        return list(_entries(file))


def _entries(file: Path) -> Iterator[Entry]:
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118
                yield Entry(key, opened.get_slice(key).get_dtype(), file)
        return
    names = {dtype: short for short, dtype in DTYPES.items()}
    for key, value in _pickled(file).items():
        if isinstance(value, torch.Tensor):
            yield Entry(key, names.get(value.dtype, str(value.dtype)), file)


def read_tensor(entry: Entry) -> torch.Tensor:
    """Return the numbers of a tensor in a weight file; an OSError if it is damaged."""
    with naming_weights(entry.file):
        if entry.file.suffix != ".safetensors":
            return _pickled(entry.file, "cpu")[entry.name]
        with safe_open(entry.file, framework="pt") as opened:
            return opened.get_tensor(entry.name)


def check_weight_files(name: str | Path, revision: str, config: PretrainedConfig) -> list[Path]:
    """Return the weight files of a checkpoint.

    Raises:
        ValueError: If a weight is stored twice, or in a data type that is no floating-point number. Quantized weights
            would be cast without their scales; of two tensors for one weight, one would be taken silently.
        OSError: If a file is missing or damaged.
    """
    files = weight_files(name, revision)
    found = [entry for file in files for entry in entries(file)]
    kept = [entry for entry in found if not entry.name.endswith(NOT_WEIGHTS)]
    for entry in kept:
        check_dtype(entry, name)
        if "rotary_emb." in entry.name:  # transformers drops all that begin like a buffer
            raise ValueError(f"The weights of {name} have, and the model has not, {entry.name}. Remove it.")
    by_weight: dict[str, Entry] = {}
    model: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    for entry in kept:
        weight = _without_prefix(entry.name, model.base_model_prefix)
        if (first := by_weight.setdefault(weight, entry)) is not entry:
            raise ValueError(
                f"The weights of {name} have one weight twice: {first.name} in {first.file.name} and {entry.name} in "
                f"{entry.file.name}. Remove the wrong one."
            )
    if config.tie_word_embeddings:
        _check_tied(by_weight, model, name)
    return files


def check_dtype(entry: Entry, name: str | Path) -> None:
    """Raise a ValueError if a tensor is not stored in a data type of weights."""
    if entry.dtype not in DTYPES:
        raise ValueError(
            f"The weights of {name} are quantized, or no weights: {entry.name} in {entry.file.name} has the data type "
            f"{entry.dtype}. Supported: float16, bfloat16, float32 and float64. Take the unquantized checkpoint."
        )


def _check_tied(by_weight: dict[str, Entry], model: Any, name: str | Path) -> None:
    """Raise a ValueError if the output embedding is stored beside the input embedding that it equals, and differs."""
    for pair in model._tied_weights_keys.items():
        stored = [by_weight.get(_without_prefix(key, model.base_model_prefix)) for key in pair]
        if stored[0] and stored[1] and not torch.equal(read_tensor(stored[0]), read_tensor(stored[1])):
            raise ValueError(
                f"The weights of {name} have {stored[0].name} beside {stored[1].name}, and they differ, but its "
                "config.json says tie_word_embeddings=true. Set it to false, or remove the first."
            )


def _without_prefix(name: str, prefix: str) -> str:
    while name.startswith(f"{prefix}."):
        name = name.removeprefix(f"{prefix}.")
    return name


def _shards(index: Path) -> list[str]:
    """Return the names of the shards in an index."""
    content = read_json(index, "Copy the checkpoint again.")
    shards: Any = content.get("weight_map")
    held = isinstance(shards, dict) and shards and all(isinstance(shard, str) for shard in shards.values())
    if not held or not isinstance(content.get("metadata"), dict):
        raise ValueError(
            f"{index} is no index of shards: it needs weight_map, the file of each weight, and "
            "metadata, which may be {}. Copy the checkpoint again."
        )
    for shard in set(shards.values()):
        path = PurePosixPath(shard.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{index} names {shard}, a file outside the checkpoint: move it into it.")
    return sorted(set(shards.values()))


def _pickled(file: Path, device: str = "meta") -> dict[str, Any]:
    return torch.load(file, map_location=device, weights_only=True, mmap=zipfile.is_zipfile(file))
