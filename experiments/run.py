"""Run one arm, or the grid of an experiment: `python -m experiments.run +exp=quickstart`."""

import sys

from lcx_lightning.runner.command import run

if __name__ == "__main__":
    sys.exit(run())
