"""Files of the user's own configurations, read before Hydra reads them, which would not say what is wrong with them."""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from lcx_lightning.methods.method_file import read_file
from lcx_lightning.schema.yaml_files import read_yaml

GROUP = "method"


def check_own_files(words: Sequence[str]) -> None:
    """Raise a ValueError if a file in the folder of --config-dir that a command line uses is damaged."""
    for path in used_files(words):
        read_file(str(path)) if path.parent.name == GROUP else read_yaml(path)


def used_files(words: Sequence[str]) -> list[Path]:
    """Return the files in the folder of --config-dir whose names stand in a command line, or in a file that is used."""
    folder = get_args_parser().parse_known_args(list(words))[0].config_dir
    levels = ("*.yaml", "*/*.yaml", "*/*/*.yaml") if folder else ()
    files = [path for level in levels for path in sorted(Path(folder).glob(level))]
    used: list[Path] = []
    texts = [" ".join(words)]
    while texts:
        names = set(re.findall(r"[\w.-]+", texts.pop()))
        found = [path for path in files if path.stem in names and path not in used]
        texts += [path.read_text(encoding="utf-8", errors="replace") for path in found if path.is_file()]
        used += found
    return used


def with_own_methods(text: str) -> str:
    """Return a message, with the user's own files of methods if it is about a value of a method and names none."""
    own = [str(path) for path in used_files(sys.argv[1:]) if path.parent.name == GROUP]
    if not own or f"{GROUP}." not in text or any(path in text for path in own):
        return text
    return f"{text} The method is that of {', '.join(own)}."


def method_file(name: str, folders: Iterable[str]) -> str:
    """Return the path of a method in folders of the user's own configurations, or the name of one of the package."""
    paths = [Path(folder) / GROUP / f"{name}.yaml" for folder in folders]
    return next((str(path) for path in paths if path.is_file()), name)


def own_folders(config: DictConfig) -> list[str]:
    """Return the folders of the user's own configurations: that of --config-dir."""
    return [source.path for source in config.hydra.runtime.config_sources if source.schema == "file"]
