"""The display of jobs that run: a line each, whole in a terminal of 80 columns."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

WIDE = 120  # columns of a terminal from which there is room for a bar and the time that a job has taken
BESIDE = 57  # columns beside the name: stage 8, parts 9, left 4, time 5, `12,587 tokens/s, loss 5.07` 26, and between
BAR = 24
ELAPSED = 7
SHORTEST = 12  # columns of a name
TAIL = 10  # of a name that is too long, its last characters, which tell the seed


class _Name(ProgressColumn):
    """The name of a job, shortened in its middle to the columns that the others leave."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def render(self, task: Task) -> Text:
        return Text(shortened(task.description, self._room), no_wrap=True)


def display_of(console: Console) -> Progress:
    """Return an empty display of the progress of jobs."""
    wide = console.width >= WIDE
    room = console.width - BESIDE - (BAR + ELAPSED + 2 if wide else 0)
    return Progress(
        _Name(max(room, SHORTEST)),
        TextColumn("{task.fields[stage]}", markup=False),
        *([BarColumn(bar_width=BAR)] if wide else []),
        MofNCompleteColumn(),
        *([TimeElapsedColumn()] if wide else []),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[words]}", markup=False),
        console=console,
        transient=True,
    )


def add_job(display: Progress, name: str) -> TaskID:
    """Add a line for a job that starts."""
    return display.add_task(name, total=None, stage="", words="starting")


def show_event(display: Progress, task: TaskID, event: tuple[str, int, int, str]) -> None:
    """Show how far a job is: stage, parts done, parts in all, a few words."""
    stage, done, total, words = event
    display.update(task, stage=stage, completed=done, total=total, words=words)


def shortened(name: str, room: int) -> str:
    """Return a name in at most `room` characters, with its end, and an ellipsis for what is left out."""
    return name if len(name) <= room else f"{name[: room - TAIL - 1]}…{name[-TAIL:]}"
