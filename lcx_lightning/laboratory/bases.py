"""The bases that come with the package: what they are, where their weights lie, and how they are put there."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from lcx_lightning.data.tokenizers import HubTokens, Tokens

FOLDER = Path(__file__).parent / "bases"
TOKENIZER = Path(__file__).parent / "tokenizer"  # in the format of the Hugging Face hub
ABOUT = "about.json"


@cache
def about(folder: Path | None = None) -> dict[str, Any] | None:
    """Return what the bases are, None if the package was installed without them.

    `architecture` has the arguments of their config; `recipe`, `data` and `corpus` say how they were trained;
    `versions` and `sha256` have, for each seed, what it was trained with and the checksum of its file.
    """
    path = (folder or FOLDER) / ABOUT
    return json.loads(path.read_text()) if path.is_file() else None


def architecture() -> dict[str, Any] | None:
    """Return the arguments of the config of all bases, None if the package was installed without them."""
    return (about() or {}).get("architecture")


def seeds() -> list[int]:
    """Return the seeds for which there is a base."""
    return sorted(map(int, (about() or {}).get("sha256", {})))


def tokens() -> Tokens:
    """Return the tokenizer of the bases, byte pairs of the laboratory's text."""
    return HubTokens(str(TOKENIZER), None)


def file_of(seed: int | str, folder: Path | None = None) -> Path:
    """Return the file with the weights of the base of a seed."""
    return (folder or FOLDER) / f"seed{seed}.safetensors"


def identity() -> str:
    """Return a hash that changes with the weights of the bases and their tokenizer, the same for all seeds.

    Raises:
        ValueError: If a file is missing or is not the one that came with the package.
    """
    stated = (about() or {}).get("sha256", {})
    for seed, checksum in stated.items():
        path = file_of(seed)
        if not path.is_file() or _checksum(path) != checksum:
            raise ValueError(f"{path} is missing or damaged: its SHA-256 is not {checksum}. Install the package again.")
    contents = [stated, _checksum(TOKENIZER / "tokenizer.json")]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:16]


def load(seed: int) -> dict[str, torch.Tensor]:
    """Return the weights of the base of a seed, in float32."""
    return {name: weight.float() for name, weight in load_file(file_of(seed)).items()}


def put(
    seed: int, weights: Path, described: Mapping[str, Any], versions: Mapping[str, str], folder: Path | None = None
) -> Path:
    """Put a trained base into the package, in bfloat16, and return its file.

    Args:
        seed: Seed of the base; one that is there is replaced.
        weights: Its weights, a safetensors file.
        described: What `about` says of all bases alike.
        versions: Versions of the libraries that it was trained with.
        folder: Folder of the bases; None for that of the package.

    Raises:
        ValueError: If there are bases of another architecture, recipe, data or corpus.
    """
    folder = folder or FOLDER
    about.cache_clear()
    before = dict(about(folder) or {})
    by_seed = {name: before.pop(name, {}) for name in ("versions", "sha256")}
    if differing := [name for name in described if before and before.get(name) != described[name]]:
        raise ValueError(
            f"The bases in {folder} differ from the one of seed {seed} in {', '.join(differing)}: the bases of all "
            "seeds are trained alike. Remove those that are there first."
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = file_of(seed, folder)
    path.write_bytes(save({name: weight.to(torch.bfloat16) for name, weight in load_file(weights).items()}))
    by_seed["versions"][str(seed)], by_seed["sha256"][str(seed)] = dict(versions), _checksum(path)
    sorted_by_seed = {name: dict(sorted(values.items())) for name, values in by_seed.items()}
    (folder / ABOUT).write_text(json.dumps({**described, **sorted_by_seed}, indent=1) + "\n")
    about.cache_clear()
    return path


def _checksum(path: Path) -> str:
    known = path.stat()
    return _checksum_of(path, known.st_mtime_ns, known.st_size)


@lru_cache(maxsize=16)  # every arm of a grid asks for all of them
def _checksum_of(path: Path, _changed: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
