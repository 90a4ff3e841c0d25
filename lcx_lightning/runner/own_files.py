"""Files of the user's own, in the folder of --config-dir: read before Hydra reads them, and named in refusals."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lcx_lightning.methods.method_file import read_file
from lcx_lightning.runner.refusals import explained
from lcx_lightning.schema.checked import SettingError
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


def own_folders(config: DictConfig) -> list[str]:
    """Return the folders of the user's own configurations: that of --config-dir."""
    return [source.path for source in config.hydra.runtime.config_sources if source.schema == "file"]


def method_file(name: str, config: DictConfig) -> str:
    """Return the path of a method in the folder of --config-dir, or the name of one of the package."""
    paths = [Path(folder) / GROUP / f"{name}.yaml" for folder in own_folders(config)]
    return next((str(path) for path in paths if path.is_file()), name)


@contextmanager
def method_files_named(names: Sequence[str], config: DictConfig) -> Iterator[None]:
    """Put the files of own methods ahead of an error that is about their method.

    Args:
        names: Names of the methods of an arm.
        config: Composed configuration of the arm.
    """
    try:
        yield
    except (ValueError, OmegaConfBaseException) as error:
        said = explained(error, ()) if isinstance(error, OmegaConfBaseException) else str(error)
        files = [file for file in (method_file(name, config) for name in names) if file not in names]
        if not files or not _is_of_method(error, said, config) or any(file in said for file in files):
            raise
        raise ValueError(f"{' and '.join(files)}: {said}") from error


def _is_of_method(error: Exception, said: str, config: DictConfig) -> bool:
    """Return whether an error is about the method: its keys, what its parts compute, or a class that it names."""
    computed = isinstance(error, SettingError) and type(error) is not SettingError
    if computed or f"{GROUP}." in said:
        return True
    classes = OmegaConf.to_yaml(config.method)
    return any(f"_target_: {target}\n" in classes for target in re.findall(r"_target_: ([\w.]+)", said))


def _config_dir(words: Sequence[str]) -> str:
    """Return the folder that --config-dir names in a command line, which may be none of Hydra's; "" if none."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name in OPTIONS:
            return value or following
    return ""
