"""Run one arm, or the grid of an experiment: `python -m experiments.run +exp=quickstart`."""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from experiments.torchrun import leads
from lcx_lightning.configs import methods


@hydra.main(config_path="configs", config_name="run", version_base="1.3")
def main(config: DictConfig) -> None:
    """Compose, run what is not done, report. Exit code 1 if an arm failed, 2 on bad input, 130 when interrupted."""
    from experiments.launcher import start_launcher
    from lcx_lightning.training import preemption

    preemption.listen()
    start_launcher()  # imports what the arms need while this process imports what it needs
    from experiments.experiment import run_experiment  # heavy: not for --help
    from experiments.quiet import quieten

    quieten()
    code = run_experiment(config, list(HydraConfig.get().overrides.task))
    if code:
        sys.exit(code)


def refused(error: HydraException) -> int:
    """Add to what Hydra has said about bad input what it leaves out, and return the exit code."""
    file = str(error.missing_cfg_file) if isinstance(error, MissingConfigException) and error.options is None else ""
    if file.startswith("method/"):
        sys.stderr.write(f"Available options in 'method': {', '.join(methods())}\n")
    return 2


if __name__ == "__main__":
    if not leads():
        sys.exit()  # the first process of a machine starts the others of an arm itself
    OmegaConf.register_new_resolver("methods", lambda: ", ".join(methods()), replace=True)  # --help sees no searchpath
    try:
        main()
    except SystemExit as stop:  # Hydra ends with 1 where its own checks fail
        sys.exit(refused(stop.__context__) if isinstance(stop.__context__, HydraException) else stop.code)
