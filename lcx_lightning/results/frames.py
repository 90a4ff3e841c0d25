"""Records as a data frame, for notebooks: one row for each evaluated number, with the knobs of its arm as columns."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from lcx_lightning.results.knobs import knobs
from lcx_lightning.results.records import Experiment, columns_of, joined, read_experiment

if TYPE_CHECKING:
    import pandas
    import polars  # pyright: ignore[reportMissingImports]

Folders = Path | str | Sequence[Path | str]


@overload
def read_records(folder: Folders, library: Literal["pandas"] = "pandas") -> "pandas.DataFrame": ...
@overload
def read_records(folder: Folders, library: Literal["polars"]) -> "polars.DataFrame": ...
def read_records(folder: Folders, library: str = "pandas") -> Any:
    """Return every evaluated number of an experiment, one a row, with the knobs of its arm as columns.

    Columns are the keys of a record (`value` is a sum over `n` tokens or trials; NLL in nats), `at.layer` and the like
    for what is in `at`, the `state` of the run, and what `run.json` says of the arm: `window`, `sink_tokens`, `lr` ...
    Numbers of arms that have not finished are there as well: filter by `state`. What an arm does not have is missing.

    Args:
        folder: A results folder, an archive of one, or several of them, whose equal runs count once.
        library: pandas, or polars if it is installed.

    Raises:
        ValueError: If a folder holds no runs, the library is another one, or is not installed.
    """
    if library not in ("pandas", "polars"):
        raise ValueError(f"Records are read into pandas or polars, got library={library!r}.")
    if find_spec(library) is None:
        raise ValueError(f"library={library!r} needs {library}, which is not installed: pip install {library}")
    folders = [folder] if isinstance(folder, Path | str) else folder
    columns = _columns(joined([read_experiment(one) for one in folders]))
    if library == "polars":
        import polars  # pyright: ignore[reportMissingImports]

        return polars.DataFrame(columns, strict=False)
    import pandas  # 0.5 s that `import lcx_lightning.results` should not cost

    return pandas.DataFrame(columns)


def _columns(experiment: Experiment) -> dict[str, list[Any]]:
    """All rows by column: those of records first, then those of their arms."""
    found: dict[str, list[Any]] = {}
    of_arms: dict[str, list[Any]] = {}
    length = 0
    for run in experiment.runs:
        for row in run.rows:
            for name, value in columns_of(row | {"arm": run.arm}).items():
                column = found.setdefault(name, [])
                column += [None] * (length - len(column))
                column.append(value)
            length += 1
        for name, value in ({"state": run.info.get("state")} | knobs(run.info)).items():
            column = of_arms.setdefault(name, [])
            column += [value] * (length - len(column))
    columns = found | {name: column for name, column in of_arms.items() if name not in found}
    return {name: column + [None] * (length - len(column)) for name, column in columns.items()}
