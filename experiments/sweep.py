"""Run the cells of a sweep without a server: `python -m experiments.sweep sweeps/window.yaml`."""

import sys

from lcx_lightning.results.report.screen import readers_may_leave
from lcx_lightning.runner.sweep.command import main

if __name__ == "__main__":
    with readers_may_leave():
        sys.exit(main())
