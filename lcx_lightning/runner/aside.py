"""What cannot be used any more is put aside, and never deleted."""

import os
from pathlib import Path


def put_aside(path: Path) -> Path:
    """Move a folder into the folder `aside` beside it, and return its new place."""
    place = path.parent / "aside"
    place.mkdir(exist_ok=True)
    names = (path.name, *(f"{path.name}.{number}" for number in range(1, 10_000)))
    free = next(place / name for name in names if not (place / name).exists())
    os.replace(path, free)
    return free
