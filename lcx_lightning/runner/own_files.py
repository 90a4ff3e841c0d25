"""Files of the user's own configurations, read before Hydra reads them, which would not say what is wrong with them."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from lcx_lightning.methods.method_file import read_file
from lcx_lightning.schema.yaml_files import read_yaml

GROUP = "method"
OPTIONS = ("--config-dir", "-cd")


def check_own_files(words: Sequence[str]) -> None:
    """Raise a ValueError if a file in the folder of --config-dir that a command line uses is damaged."""
    for path in used_files(words):
        read_file(str(path)) if path.parent.name == GROUP else read_yaml(path)


def used_files(words: Sequence[str]) -> list[Path]:
    """Return the files in the folder of --config-dir whose names stand in a command line, or in a file that is used."""
    folder = _config_dir(words)
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
    """Return a message, with the user's own files of methods if it is about a value of a method and names none.

    Values are looked up in many places, also ahead of the arms, and what OmegaConf raises there knows no files.
    """
    own = [str(path) for path in used_files(sys.argv[1:]) if path.parent.name == GROUP]
    if not own or f"{GROUP}." not in text or any(path in text for path in own):
        return text
    return f"{' and '.join(own)}: {text}"


def _config_dir(words: Sequence[str]) -> str:
    """Return the folder that --config-dir names in a command line, which may be none of Hydra's; "" if none."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name in OPTIONS:
            return value or following
    return ""
