"""Show the results of a folder again: `python -m experiments.report results/quickstart`."""

import sys

from lcx_lightning.results.report.command import main

if __name__ == "__main__":
    sys.exit(main())
