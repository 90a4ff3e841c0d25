"""Curves of a training as they are kept beside the trained model: one JSON line for each time something was logged."""

import json
from pathlib import Path
from typing import Any

FILE = "curves.jsonl"


def read_curves(folder: Path | None) -> list[dict[str, Any]]:
    """Return one row for each step of a trained stage, ascending; none where no curves were kept.

    A training that went on from a checkpoint has logged some steps twice: the last number counts.
    """
    rows: dict[int, dict[str, Any]] = {}
    path = folder and folder / FILE
    for line in path.read_text().splitlines() if path and path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # of a process that was killed, or is writing
            continue
        rows.setdefault(row["step"], {}).update(row)
    return [rows[step] for step in sorted(rows)]
