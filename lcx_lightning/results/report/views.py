"""The views of a measure: its tables and its figures."""

from typing import TYPE_CHECKING

from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.records import Experiment
from lcx_lightning.results.report.figures import length_figure
from lcx_lightning.results.report.heatmaps import depth_figure, k_max_table, task_table
from lcx_lightning.results.report.tables import Table, length_table

if TYPE_CHECKING:
    import altair


def tables_of(experiment: Experiment, measure: Measure) -> list[Table]:
    """The table of arms by length, and those by task and of k_max if the rows have tasks or distances."""
    first = next(one for one in experiment.measures() if one.protocol == measure.protocol)
    found = [task_table(experiment, measure.protocol) if measure == first else None, k_max_table(experiment, measure)]
    return [length_table(experiment, measure), *(table for table in found if table)]


def figures_of(experiment: Experiment, measure: Measure) -> dict[str, "altair.TopLevelMixin"]:
    """Figures by the end of their file's name: the measure against length, and by length and depth if rows have depths.

    Raises:
        ValueError: If there is no finite number to draw.
    """
    found = {"": length_figure(experiment, measure), "_depth": depth_figure(experiment, measure)}
    return {name: figure for name, figure in found.items() if figure is not None}
