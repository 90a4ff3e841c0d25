"""The display of jobs: every line is whole in a terminal of 80 columns."""

import io

import pytest
from rich.console import Console

from lcx_lightning.runner.launch.progress import add_job, display_of, shortened, show_event

WORDS = "12,587 tokens/s, loss 5.07"
NAMES = ["base model, seed 0", "dynamic_ntk, seed 10", "clex+lm_infinite factor=8 train_factor=2, seed 3"]


def lines_of(width, names):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    display = display_of(console)
    for name in names:
        show_event(display, add_job(display, name), ("evaluate", 8000, 8000, WORDS))
    console.print(display.get_renderable())
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 119, 120, 200])
def test_a_line_tells_job_stage_parts_time_and_speed(width):
    lines = lines_of(width, NAMES)
    assert len(lines) == len(NAMES)
    for line, name in zip(lines, NAMES, strict=True):
        assert len(line) <= width
        assert name in line or (name[:8] in line and line.index("…") < line.index(name[-8:]))
        for part in ("evaluate", "8000/8000", "left", WORDS):
            assert part in line
    assert ("━" in lines[0]) == (width >= 120)


def test_only_a_name_that_is_too_long_is_shortened():
    assert shortened("pi, seed 0", 10) == "pi, seed 0"
    assert shortened("clex factor=8, seed 12", 20) == "clex fact…8, seed 12"
