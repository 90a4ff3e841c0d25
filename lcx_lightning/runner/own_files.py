"""Files of the user's own configurations, read before Hydra reads them, which would not say what is wrong with them."""

import re
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser

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
