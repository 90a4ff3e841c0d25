"""Methods of the user's own: their files in the folder of --config-dir, which are named where they are refused."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lcx_lightning.schema.checked import SettingError


def own_folders(config: DictConfig) -> list[str]:
    """Return the folders of the user's own configurations: that of --config-dir."""
    return [source.path for source in config.hydra.runtime.config_sources if source.schema == "file"]


def method_file(name: str, config: DictConfig) -> str:
    """Return the path of a method in the folder of --config-dir, or the name of one of the package."""
    paths = [Path(folder) / "method" / f"{name}.yaml" for folder in own_folders(config)]
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
    except ValueError as error:
        files = [file for file in (method_file(name, config) for name in names) if file not in names]
        if not files or not _is_of_method(error, config):
            raise
        raise ValueError(f"{' and '.join(files)}: {error}") from error


def _is_of_method(error: ValueError, config: DictConfig) -> bool:
    """Return whether an error is about the method: its keys, what its parts compute, or a class that it names."""
    classes = OmegaConf.to_yaml(config.method)
    targets = re.findall(r"_target_: ([\w.]+)", str(error))
    computed = isinstance(error, SettingError) and type(error) is not SettingError
    return computed or "method." in str(error) or any(f"_target_: {target}\n" in classes for target in targets)
