"""Show the results of a folder again: `python -m experiments.report results/quickstart`."""

import sys

from lcx_lightning.results.report.command import main
from lcx_lightning.results.report.screen import readers_may_leave

if __name__ == "__main__":
    with readers_may_leave():
        sys.exit(main())
