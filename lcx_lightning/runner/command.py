"""The command `lcx run`, or `python -m experiments.run`: compose a configuration, run what is missing, report."""

import atexit
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import hydra
from hydra import initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lcx_lightning.methods.library import methods
from lcx_lightning.results.report.screen import screen
from lcx_lightning.runner.expand import expand
from lcx_lightning.runner.experiments import asks_for_list, experiments, table_of
from lcx_lightning.runner.launch import torchrun
from lcx_lightning.runner.own_files import check_own_files
from lcx_lightning.runner.refusals import BAD_INPUT, refuse, takes_value, wrong_word
from lcx_lightning.runner.secrets import masked_text, masked_words
from lcx_lightning.runner.startup import without_garbage_collection

METHODS = "pkg://lcx_lightning.methods.configs"  # where run.yaml finds methods


def run() -> int:
    """Run the command line of this process, and return its exit code.

    0; 1 if an arm failed; 2 on bad input; 75 when everything is saved because the machine asked for it; 130 when
    interrupted.
    """
    if not torchrun.leads():
        torchrun.follow_rank_zero()
    sys.argv[1:] = options_last(sys.argv[1:])
    own, searched = own_folder(sys.argv[1:]), []
    if own:
        sys.path.append(str(own.parent))  # its classes are FOLDER.MODULE.CLASS
        searched = [f"hydra.searchpath=[{METHODS},'file://{own}']"]
    if asks_for_list(sys.argv[1:]):
        try:
            screen().print(table_of(experiments(own)))
        except ValueError as error:
            return refuse(error, screen())
        return 0
    if said := wrong_word(sys.argv[1:]):
        _tell_sweep(ValueError(said))
        return refuse(ValueError(said), screen())
    sys.argv[1:] = map(readable, sys.argv[1:])
    OmegaConf.register_new_resolver("scratch", _scratch, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("methods", lambda: ", ".join(methods()), replace=True)  # --help sees no searchpath
    os.environ["HYDRA_FULL_ERROR"] = "1"  # it raises what is then explained here
    try:
        check_own_files(sys.argv[1:])
        _composed()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        torchrun.leave_the_word_to_rank_zero()
        _tell_sweep(error)
        with initialize_config_module("experiments.configs", version_base="1.3"):
            words = takewhile(lambda word: not word.startswith("-"), sys.argv[1:])
            return refuse(error, screen(), [*searched, *words])
    return 0


@hydra.main(config_path="pkg://experiments.configs", config_name="run", version_base="1.3")
def _composed(config: DictConfig) -> None:
    """Run the experiment of a composed configuration; exit unless all went well."""
    from lcx_lightning.training import preemption

    preemption.listen()
    typed: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    if code := without_secrets_shown(lambda: _checked_and_run(config, typed)):
        sys.exit(code)


def without_secrets_shown(run: Callable[[], int]) -> int:
    """Return the exit code that a function returns; 1 if it fails. Neither W&B nor a traceback sees tokens."""
    sys.argv[1:] = masked_words(sys.argv[1:])  # which W&B writes down
    try:
        return run()
    except Exception:  # Hydra would print every override, with the tokens among them
        sys.stderr.write(masked_text(traceback.format_exc()))
        return 1


def _checked_and_run(config: DictConfig, typed: list[str]) -> int:
    try:
        grid = expand(config, torchrun.decided(config, typed))
    except BAD_INPUT as error:
        torchrun.leave_the_word_to_rank_zero()
        _tell_sweep(error)
        return refuse(error, screen(), typed)
    with without_garbage_collection():
        from lcx_lightning.runner.experiment import run_experiment  # heavy: not where a value is refused
        from lcx_lightning.runner.quiet import silence_library_logging

    silence_library_logging()
    return run_experiment(config, typed, grid)


def _tell_sweep(error: Exception) -> None:
    """Tell W&B that a command was refused, if it is the cell of a sweep, which would stay pending."""
    if os.environ.get("WANDB_SWEEP_ID"):
        from lcx_lightning.runner.wandb_runs import log_refusal  # heavy

        log_refusal(error)


def options_last(line: list[str]) -> list[str]:
    """Return the words of a command line, options such as -m behind all overrides: Hydra reads none between them."""
    overrides, options, before = [], [], ""
    for word in line:
        belongs = options if word.startswith("-") or takes_value(before, word) else overrides
        belongs.append(word)
        before = word
    return [*overrides, *options]


def own_folder(line: list[str]) -> Path | None:
    """Return the folder of --config-dir, with the user's own files; None if there is none."""
    for word, after in zip(line, [*line[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option in ("--config-dir", "-cd"):
            return Path(value if equals else after).absolute()
    return None


def _scratch() -> str:
    """Return a folder that is removed when the program ends: Hydra keeps a file of what -m is to run there."""
    folder = tempfile.mkdtemp(prefix="lcx-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


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
