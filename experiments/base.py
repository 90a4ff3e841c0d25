"""Put the bases of an experiment into the package: `python -m experiments.base results/base`, after `+exp=base`."""

import argparse
import sys
from pathlib import Path

from lcx_lightning.laboratory import bases
from lcx_lightning.results.records import read_experiment


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0, or 2 if the experiment has no bases that belong together."""
    parser = argparse.ArgumentParser(prog="python -m experiments.base", description=__doc__)
    parser.add_argument("results", type=Path, help="folder of the experiment")
    parser.add_argument("--to", type=Path, default=bases.FOLDER, help="folder of the bases (%(default)s)")
    asked = parser.parse_args(arguments)
    try:
        found = {run.info["checkpoint"]["base"]: run for run in read_experiment(asked.results).runs}  # arms share it
        for run in found.values():
            config, place = run.info["config"], run.info["checkpoint"]
            if not run.finished:
                raise ValueError(f"{run.folder} is not finished: run `python -m experiments.run +exp=base` again.")
            if not place["base"]:
                raise ValueError(f"{run.folder} has no base of its own: run `python -m experiments.run +exp=base`.")
            described = {
                "architecture": config["model"]["source"]["architecture"],
                "recipe": config["model"]["recipe"],
                "data": config["data"],
                "corpus": run.info["corpus"],
            }
            versions = run.info["base"]["computed_by"][0]["versions"]
            weights = Path(place["cache_dir"]) / place["base"] / "model.safetensors"
            print(bases.put(config["seed"], weights, described, versions, asked.to))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
