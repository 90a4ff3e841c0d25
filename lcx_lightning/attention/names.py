"""The names of the attention backends, for those who choose one before torch is imported."""

from typing import Literal

AUTO = "auto"  # the fastest backend for every pass
Backend = Literal["auto", "dense", "flash_bands", "blocks", "flex_bands"]
