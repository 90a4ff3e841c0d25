"""GGUF files, the format of llama.cpp: read once by transformers, and kept as a checkpoint of safetensors.

A GGUF file holds weights, most often quantized, and the tokenizer. Its numbers become float32, which is exact.
"""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.import_utils import is_gguf_available

from lcx_lightning.models.checkpoint_files import last_line
from lcx_lightning.models.contents import file_identity, folder_identity
from lcx_lightning.models.families import FAMILIES

if TYPE_CHECKING:
    from gguf import GGUFReader

MAGIC = b"GGUF"
SCALED = ("rope_freqs.", "rope_factors_")  # tensors of a scaling, which transformers leaves out
ORIGIN = ".converted.json"  # hidden: it is no part of the checkpoint
WHOLE = "Download it again, or choose another one."


def converted(file: Path, cache: Path) -> Path:
    """Return the folder of a checkpoint with the weights and the tokenizer of a GGUF file, made now if there is none.

    Args:
        file: GGUF file.
        cache: Folder in which such checkpoints are kept.

    Raises:
        ValueError: If the file is missing, damaged, cut short, or of an architecture that is not supported, or if the
            checkpoint has changed since it was made.
    """
    check_file(file)
    identity = file_identity(file, cache / "hashes")
    folder = cache / identity
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            check_contents(file)
            _convert(file, folder)
        _verify(folder, cache / "hashes")
    return folder


def check_file(file: Path) -> None:
    """Raise a ValueError if a file is missing or is no GGUF file."""
    if not file.is_file():
        raise ValueError(f"model.source.file={file} is no file: give the path of a .gguf file.")
    with file.open("rb") as opened:
        if (start := opened.read(len(MAGIC))) != MAGIC:
            raise ValueError(f"model.source.file={file} is no GGUF file: it begins with {start!r}. {WHOLE}")


def check_contents(file: Path) -> None:
    """Raise a ValueError if a GGUF file is cut short or damaged, or its model is not supported."""
    reader = _reader(file)
    field = reader.get_field("general.architecture")
    architecture = field.contents() if field else None
    if architecture not in FAMILIES:
        raise ValueError(
            f"The model of {file} has the architecture {architecture!r}, which is not supported. Supported are "
            f"{', '.join(sorted(FAMILIES))}, as far as transformers reads them from GGUF."
        )
    names = [tensor.name for tensor in reader.tensors]
    scaling = reader.get_field(f"{architecture}.rope.scaling.type")
    if scaled := [name for name in names if name.startswith(SCALED)]:
        raise ValueError(
            f"{file} carries a scaling of its rotary embedding ({scaled[0]}), which transformers leaves out. Take the "
            "checkpoint in safetensors, with model=hub."
        )
    if scaling is not None and scaling.contents() != "none":
        raise ValueError(
            f"{file} carries a scaling of its rotary embedding ({architecture}.rope.scaling.type={scaling.contents()}),"
            " which transformers leaves out. Take the checkpoint in safetensors, with model=hub."
        )


def _reader(file: Path) -> "GGUFReader":
    """Return what reads a GGUF file, whose tensors are all there."""
    if not is_gguf_available():
        raise ValueError("A GGUF file is read with the package gguf, which is not installed: pip install gguf.")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        for tensor in reader.tensors:
            tensor.data[-1:].sum()
    except (ValueError, LookupError, TypeError, ArithmeticError, OverflowError, OSError, MemoryError) as error:
        raise ValueError(
            f"{file} is damaged, or was downloaded in part: {last_line(error)}. It has {file.stat().st_size:,} bytes. "
            f"{WHOLE}"
        ) from error
    return reader


def _convert(file: Path, folder: Path) -> None:
    """Write the checkpoint of a GGUF file; `folder` is there only if all went well."""
    work = folder.with_suffix(".part")
    shutil.rmtree(work, ignore_errors=True)
    given: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=torch.float32, output_loading_info=True, **given
        )
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **given)
    except Exception as error:  # transformers and gguf have no class of their own for what they raise
        raise ValueError(f"transformers cannot read {file}: {last_line(error)}. {WHOLE}") from error
    model, found = loaded
    if missing := [key for key in found["missing_keys"] if key not in model.all_tied_weights_keys]:
        raise ValueError(f"{file} lacks weights of its model: {', '.join(sorted(missing)[:3])}. {WHOLE}")
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # the weights are not quantized any more
    model.hf_quantizer = None
    model.save_pretrained(work)
    tokenizer.save_pretrained(work)
    _drop_added_tokens(work, model.config.vocab_size)
    (work / ORIGIN).write_text(
        json.dumps({"file": file.name, "contents": folder_identity(work, folder.parent / "hashes")})
    )
    os.replace(work, folder)


def _drop_added_tokens(folder: Path, vocab_size: int) -> None:
    """Drop the tokens that transformers has added to a saved tokenizer, of which the model knows nothing."""
    path, settings_path = folder / "tokenizer.json", folder / "tokenizer_config.json"
    saved, settings = (json.loads(one.read_text(encoding="utf-8")) for one in (path, settings_path))
    added = {token["content"] for token in saved["added_tokens"] if token["id"] >= vocab_size}
    if not added:
        return
    saved["added_tokens"] = [token for token in saved["added_tokens"] if token["id"] < vocab_size]
    path.write_text(json.dumps(saved, ensure_ascii=False), encoding="utf-8")
    kept = {name: value for name, value in settings.items() if not isinstance(value, str) or value not in added}
    kept.pop("added_tokens_decoder", None)  # tokenizer.json has them
    settings_path.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")


def _verify(folder: Path, memory: Path) -> None:
    """Raise a ValueError if a checkpoint is not as it was made."""
    try:
        said = json.loads((folder / ORIGIN).read_text())["contents"]
    except (OSError, ValueError, LookupError, TypeError):
        said = None
    if folder_identity(folder, memory) != said:
        raise ValueError(
            f"The checkpoint {folder}, which was made of a GGUF file, is not as it was written. Move it away, and the "
            "same command makes it anew."
        )
