"""The terminal: what is shown there never ends a command, even if it cannot be shown."""

import io
import os
import sys
from contextlib import suppress
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


def screen() -> "Console":
    """The terminal; where the output goes to a file or a pipe, COLUMNS wide, or 120. Square brackets are no markup."""
    from rich.console import Console

    output: Any = Output(sys.stdout)
    return Console(file=output, width=None if output.isatty() or os.environ.get("COLUMNS") else 120, markup=False)


def say(console: "Console", text: str, mark: str = "", style: str = "") -> None:
    """Print a line that is not wrapped, after a mark in a style such as red, if there is one."""
    from rich.text import Text

    console.print(Text.assemble((f"{mark} " if mark else "", style), text), highlight=False, soft_wrap=True)
