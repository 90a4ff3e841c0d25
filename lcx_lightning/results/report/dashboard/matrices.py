"""Ablations in two knobs: which arms form a matrix, and in which cell each stands."""

from collections.abc import Sequence
from typing import Any, NamedTuple

PAIRS = (("window", "sink_tokens"), ("ode_width", "max_factor"), ("scaling", "pattern"))
FEWEST = 3  # cells of a matrix


class Matrix(NamedTuple):
    """Arms by two knobs, all else being equal."""

    across: str
    down: str
    of: str  # what the arms share, in words
    cells: list[tuple[int, Any, Any]]  # number of an arm, and its value of each knob


def matrices(knobs: dict[str, list[Any]], names: Sequence[str], arms: Sequence[int]) -> list[Matrix]:
    """The matrices that arms form, of each pair of knobs.

    Args:
        knobs: Knobs that arms differ in, a value for each arm.
        names: Name of the method of each arm.
        arms: Numbers of the arms that can be compared.
    """
    found = []
    for across, down in PAIRS:
        if across in knobs and down in knobs:
            having = [arm for arm in arms if None not in (knobs[across][arm], knobs[down][arm])]
            found += _of_pair(knobs, names, having, (across, down))
    return found


def _of_pair(knobs: dict[str, list[Any]], names: Sequence[str], arms: list[int], pair: tuple[str, str]) -> list[Matrix]:
    is_parts = pair == PAIRS[-1]  # of which a method is made: other methods are other cells
    others = [name for name in knobs if name not in (*pair, "method") and not (is_parts and name not in OF_PARTS)]
    families: dict[str, list[int]] = {}
    for arm in arms:
        families.setdefault("" if is_parts else names[arm], []).append(arm)
    found = []
    for family, some in families.items():
        leading = [name for name in others if not _follows(knobs, name, pair, some)]
        groups: dict[tuple, list[int]] = {}
        for arm in some:
            groups.setdefault(tuple(repr(knobs[name][arm]) for name in leading), []).append(arm)
        for group in groups.values():
            shared = [f"{name}={knobs[name][group[0]]}" for name in leading if knobs[name][group[0]] is not None]
            matrix = Matrix(*pair, " ".join(filter(None, [family, *shared])), _cells(knobs, pair, group))
            found += [matrix] if _is_one(matrix) else []
    return found


OF_PARTS = ("factor", "train_length", "trained", "train_factor", "model", "data")


def _follows(knobs: dict[str, list[Any]], name: str, pair: tuple[str, str], arms: list[int]) -> bool:
    """Whether a knob has one value for each pair of values."""
    seen: dict[tuple, str] = {}
    return all(
        seen.setdefault((repr(knobs[pair[0]][arm]), repr(knobs[pair[1]][arm])), repr(knobs[name][arm]))
        == repr(knobs[name][arm])
        for arm in arms
    )


def _cells(knobs: dict[str, list[Any]], pair: tuple[str, str], group: list[int]) -> list[tuple[int, Any, Any]]:
    """The first arm of each cell."""
    first: dict[tuple, tuple[int, Any, Any]] = {}
    for arm in group:
        across, down = (knobs[name][arm] for name in pair)
        first.setdefault((repr(across), repr(down)), (arm, across, down))
    return [*first.values()]


def _is_one(matrix: Matrix) -> bool:
    sides = [{repr(cell[side]) for cell in matrix.cells} for side in (1, 2)]
    return len(matrix.cells) >= FEWEST and min(map(len, sides)) > 1
