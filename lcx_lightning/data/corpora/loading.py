"""Rows of a dataset, read with the library `datasets`: local files as they are now, those of the hub from its cache."""

from collections.abc import Mapping
from glob import escape
from typing import Any

from datasets import load_dataset

from lcx_lightning.data.corpora.paths import is_local

OF_THE_CACHE = ("num_proc", "keep_in_memory", "streaming")  # arguments of `load_dataset` that say how to fill its cache


def load_rows(load: Mapping[str, Any], split: str) -> Any:
    """Return the rows of a split, for arguments of `load_dataset` as `resolve` returns them.

    `datasets` keeps a copy of what it has read, and knows files by name and time: a file that was changed, and has the
    time of the old one, would give the old rows. So local files are read anew, row by row, and nothing is kept of them.
    """
    if not is_local(load):
        return load_dataset(**load, split=split)
    direct: dict[str, Any] = {name: value for name, value in load.items() if name not in OF_THE_CACHE}
    direct["data_files"] = {split: [escape(file) for file in files] for split, files in load["data_files"].items()}
    return load_dataset(**direct, split=split, streaming=True)
