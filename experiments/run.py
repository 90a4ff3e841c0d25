"""Run one arm, or the grid of an experiment: `python -m experiments.run +exp=quickstart`."""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


@hydra.main(config_path="configs", config_name="run", version_base="1.3")
def main(config: DictConfig) -> None:
    """Compose, run what is not done, report. Exit code 1 if an arm failed, 2 on bad input, 130 when interrupted."""
    from experiments.experiment import run_experiment  # heavy: not for --help

    code = run_experiment(config, list(HydraConfig.get().overrides.task))
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
