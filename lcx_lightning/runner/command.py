"""The command `lcx run`, or `python -m experiments.run`: compose a configuration, run what is missing, report."""

import sys
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from lcx_lightning.methods.library import methods
from lcx_lightning.runner.launch import torchrun
from lcx_lightning.runner.secrets import masked_text, masked_words
from lcx_lightning.runner.startup import without_garbage_collection


def run() -> int:
    """Run the command line of this process, and return its exit code.

    0; 1 if an arm failed; 2 on bad input; 75 when everything is saved because the machine asked for it; 130 when
    interrupted.
    """
    if not torchrun.leads():
        torchrun.follow_rank_zero()
    sys.argv[1:] = map(readable, sys.argv[1:])
    OmegaConf.register_new_resolver("methods", lambda: ", ".join(methods()), replace=True)  # --help sees no searchpath
    try:
        _composed()
    except SystemExit as stop:  # Hydra ends with 1 where its own checks fail
        if isinstance(stop.__context__, HydraException):
            return _refused(stop.__context__)
        return stop.code if isinstance(stop.code, int) else 1
    return 0


@hydra.main(config_path="pkg://experiments.configs", config_name="run", version_base="1.3")
def _composed(config: DictConfig) -> None:
    """Run the experiment of a composed configuration; exit unless all went well."""
    from lcx_lightning.training import preemption

    preemption.listen()
    if _is_new(config):
        from lcx_lightning.runner.launch.forkserver import start_fork_server

        start_fork_server()  # imports what the arms need while this process imports what it needs
    with without_garbage_collection():
        from lcx_lightning.runner.experiment import run_experiment  # heavy: not for --help
        from lcx_lightning.runner.quiet import silence_library_logging

    silence_library_logging()
    typed: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    sys.argv[1:] = masked_words(sys.argv[1:])  # which W&B writes down
    try:
        code = run_experiment(config, typed)
    except Exception:  # Hydra would print every override, with the tokens among them
        sys.stderr.write(masked_text(traceback.format_exc()))
        code = 1
    if code:
        sys.exit(code)


def readable(word: str) -> str:
    """Return an override in whose value Hydra reads a path with brackets, or an arm's name with `=`, as a text.

    Any other word is returned as it is.
    """
    name, _, value = word.partition("=")
    if not ("/" in value or (value and name == "report.against")) or value[0] in "'\"[{$" or name.startswith("-"):
        return word
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        escaped = value.replace("'", "\\'")
        return f"{name}='{escaped}'"
    return word


def _is_new(config: DictConfig) -> bool:
    """Return whether processes of this machine will certainly be needed: nothing of the experiment is there yet."""
    local = config.launch._target_.endswith("LocalLauncher") and not torchrun.started()
    return local and config.dry_run is None and not Path(str(config.results_dir), str(config.experiment)).exists()


def _refused(error: HydraException) -> int:
    """Add to what Hydra has said about bad input what it leaves out, and return the exit code."""
    file = str(error.missing_cfg_file) if isinstance(error, MissingConfigException) and error.options is None else ""
    if file.startswith("method/"):
        sys.stderr.write(f"Available options in 'method': {', '.join(methods())}\n")
    return 2
