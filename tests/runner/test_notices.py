"""What is said before anything is run."""

import io

import pytest
from rich.console import Console

from lcx_lightning.runner.notices import tell_start


@pytest.mark.parametrize(
    ("arms", "missing", "at_once", "said"),
    [
        (9, 9, 2, "9 arms, 2 at a time, results in results/NAME"),
        (9, 4, 2, "9 arms, 4 of them to be run, 2 at a time, results in results/NAME"),
        (9, 0, 2, "9 arms, all of them finished, results in results/NAME"),
        (3, 3, 1, "3 arms, one after another, results in results/NAME"),
        (3, 3, None, "3 arms, results in results/NAME"),
        (1, 1, 2, "1 arm, results in results/NAME"),
    ],
)
def test_the_first_line_tells_how_much_there_is_to_do(arms, missing, at_once, said):
    console = Console(file=io.StringIO(), width=80)
    tell_start(arms, missing, at_once, "results/NAME", console)
    assert console.file.getvalue() == said + "\n"
