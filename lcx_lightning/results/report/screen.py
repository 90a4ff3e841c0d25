"""The terminal: what is shown there never ends a command, even if it cannot be shown."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console


class Output:
    """A text file whose reader may leave: what is written after that is lost, and nothing is raised.

    Args:
        file: The file; None if the process has none, as under `>&-`.
    """

    def __init__(self, file: TextIO | None) -> None:
        self._file: Any = file or io.StringIO()
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors="replace")  # an ASCII terminal shows a question mark for what it does not have

    def write(self, text: str) -> int:
        """Write a text, if somebody reads it."""
        try:
            return self._file.write(text)
        except (OSError, ValueError):  # a pipe or terminal that is closed
            self._leave()
            return len(text)

    def flush(self) -> None:
        """Flush, if somebody reads it."""
        try:
            self._file.flush()
        except (OSError, ValueError):
            self._leave()

    def _leave(self) -> None:
        """Lead the file itself to nowhere: Python flushes it once more when it ends."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._file.fileno())
            os.close(nowhere)
        self._file = io.StringIO()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Let this process print to a pipe whose reader has left, as `head` does, or to nothing at all, as under `>&-`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Output(before[0]), Output(before[1])
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # here, and not where Python ends
        sys.stdout, sys.stderr = before


def screen() -> "Console":
    """The terminal; where the output goes to a file or a pipe, COLUMNS wide, or 120. Square brackets are no markup."""
    from rich.console import Console

    output: Any = Output(sys.stdout)
    return Console(file=output, width=None if output.isatty() or os.environ.get("COLUMNS") else 120, markup=False)


def say(console: "Console", text: str, mark: str = "", style: str = "") -> None:
    """Print a line that is not wrapped, after a mark in a style such as red, if there is one."""
    from rich.text import Text

    console.print(Text.assemble((f"{mark} " if mark else "", style), text), highlight=False, soft_wrap=True)


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Return a line for each row, with columns of the widths that they need; those in `right` end at their width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def size_text(count: float) -> str:
    """Return bytes with their unit: "1.5 GiB"; a dash for none."""
    if count < 2**10:
        return f"{count:.0f} B" if count else "-"
    unit, power = next(((u, p) for u, p in (("GiB", 30), ("MiB", 20)) if count >= 2**p), ("KiB", 10))
    return f"{count / 2**power:,.3g} {unit}" if count < 1000 * 2**power else f"{count / 2**power:,.0f} {unit}"
