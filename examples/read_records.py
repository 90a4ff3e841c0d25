"""Read the records of an experiment into pandas: `python examples/read_records.py results/quickstart`."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd


def records(folder: Path) -> pd.DataFrame:
    """Return every evaluated number of an experiment, one a row, with the arm and the seed of its run."""
    runs = []
    for path in sorted(folder.glob("*/records.jsonl")):
        run = json.loads((path.parent / "run.json").read_text())
        runs.append(pd.read_json(path, lines=True).assign(arm=run["arm"], seed=run["seed"]))
    return pd.concat(runs, ignore_index=True)


def perplexity(rows: pd.DataFrame) -> pd.DataFrame:
    """Return perplexity by arm and context length: NLL is kept as a sum in nats with the number of tokens."""
    nll = rows[rows["metric"] == "nll"].groupby(["protocol", "arm", "context_length"])[["value", "n"]].sum()
    return np.exp(nll["value"] / nll["n"]).unstack()


def main(folder: str) -> pd.DataFrame:
    """Print the table of perplexities and return it."""
    table = perplexity(records(Path(folder)))
    print(table.round(2).to_string())
    return table


if __name__ == "__main__":
    main(sys.argv[1])
