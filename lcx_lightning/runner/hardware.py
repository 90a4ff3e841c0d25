"""Hardware that is known: the peak that utilisation is a share of, and what a forecast assumes. One file each."""

import os
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

FOLDER = Path(str(files("experiments.configs"))) / "hardware"


@dataclass(frozen=True)
class Hardware:
    """What a forecast counts with, of one device."""

    name: str
    flops: float | None  # a second, that training keeps up; None: nobody knows
    memory: float  # bytes
    price: float | None  # of an hour
    assumed: str  # how the first two came about, in words


def hardware_of(config: dict[str, Any], accelerator: str) -> Hardware:
    """Return the hardware that was chosen; what it leaves open is looked up for the accelerator of this machine."""
    if config["peak"] is None and accelerator in ("gpu", "cuda") and torch.cuda.is_available():
        known = entry_of(torch.cuda.get_device_name()) or {}
        free = torch.cuda.get_device_properties(0).total_memory
        config = config | known | {"price": config["price"], "mfu": config["mfu"]} | {"memory": free}
    if config["peak"] is not None:
        assumed = f"{config['mfu']:.0%} of {config['peak'] / 1e12:,.0f} TFLOP/s (dense bfloat16)"
        return Hardware(config["name"], config["mfu"] * config["peak"], config["memory"], config["price"], assumed)
    memory = config["memory"] or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if accelerator != "cpu":
        return Hardware(config["name"], None, memory, config["price"], "a peak that is not known: give hardware.peak")
    cores = os.cpu_count() or 1
    assumed = f"{cores} cores at {config['core'] / 1e9:g} GFLOP/s each (hardware.core), none of them busy"
    return Hardware(config["name"], cores * config["core"], memory, config["price"], assumed)


def peak_flops(device: torch.device) -> float | None:
    """Return the FLOP/s of a device at dense bfloat16, None if it is not known."""
    found = entry_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return found["peak"] if found else None


def entry_of(name: str) -> dict[str, Any] | None:
    """Return what the folder says of a device, by the name that torch gives it; None if it is not there."""
    for entry in table().values():
        if entry.get("device") and re.search(entry["device"], name):
            return entry
    return None


def table() -> dict[str, dict[str, Any]]:
    """Return what each file says, those it starts from included."""
    return {path.stem: _read(path.stem) for path in sorted(FOLDER.glob("*.yaml"))}


def _read(name: str) -> dict[str, Any]:
    said: Any = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    bases = [base for base in said.pop("defaults", []) if base != "_self_"]
    return {k: v for base in bases for k, v in _read(base).items()} | said
