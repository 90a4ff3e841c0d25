"""The console script `lcx`: `lcx run` is `python -m experiments.run`, and so on for the other commands."""

import sys
from importlib import import_module

from lcx_lightning.results.report.screen import readers_may_leave

COMMANDS = {  # name -> function that runs it, module:name, and what it does
    "run": ("lcx_lightning.runner.command:run", "run one arm, or the grid of an experiment: lcx run +exp=quickstart"),
    "sweep": ("lcx_lightning.runner.sweep.command:main", "run a grid that W&B agents could run too: lcx sweep window"),
    "experiments": ("lcx_lightning.runner.experiments:main", "which experiments there are, and what they ask"),
    "report": ("experiments.report:main", "tables, figures and verdicts on claims: lcx report results/NAME"),
    "list": ("experiments.list:main", "experiments, their arms with states, sizes of results and cache: lcx list"),
    "clean": ("experiments.clean:main", "remove results or cached models, after asking: lcx clean NAME"),
    "bench": ("experiments.bench:main", "measure speed or memory against an alternative: lcx bench attention"),
}


@readers_may_leave()
def main() -> int:
    """Run the command that the first argument names, with the other arguments as its own, and return its exit code."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in COMMANDS:
        asked = name in ("-h", "--help", "help")
        lines = [f"  {command:12}{what}" for command, (_, what) in COMMANDS.items()]
        text = "\n".join(["usage: lcx COMMAND ...", "", *lines, "", "lcx COMMAND --help says more of a command."])
        print(text if asked else f"There is no command {name!r}.\n{text}", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    module, function = COMMANDS[name][0].split(":")
    del sys.argv[1]  # the command, Hydra among them, reads its own arguments
    return getattr(import_module(module), function)()
