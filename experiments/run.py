"""Run one arm, or the grid of an experiment: `python -m experiments.run +exp=quickstart`."""

import sys

from lcx_lightning.results.report.screen import readers_may_leave
from lcx_lightning.runner.command import run

if __name__ == "__main__":
    with readers_may_leave():
        sys.exit(run())
