"""The forecast of memory against the peak that a fresh process measures, of the embedded model's stages."""

import gc
import tempfile
from collections.abc import Callable

from hydra import compose, initialize_config_module

from experiments.benchmarks.measure import Comparison, Options, peak_bytes
from lcx_lightning.runner import stages
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.expand import expand
from lcx_lightning.runner.grid import build
from lcx_lightning.runner.hardware import hardware_of
from lcx_lightning.runner.preflight import prepare
from lcx_lightning.runner.preview.forecast import Forecast
from lcx_lightning.runner.quiet import silence_library_logging

STEPS = 3  # the second is the first that has gradients and states of a step before it
FEW = [f"model.recipe.steps={STEPS}", "model.recipe.schedule.warmup=1", "model.recipe.validation_steps=1"]
FEW += [
    f"training.steps={STEPS}",
    "training.schedule.warmup=1",
    "training.validation_steps=1",
    "evaluation.growing_context.windows=2",
]
QUICK = ["model.recipe.rows=2", "evaluation.growing_context.multiples=[1,2]"]
ARMS = {"base": ["pretrained"], "extend": ["pi", "clex", "lm_infinite"], "evaluate": ["pi", "lm_infinite"]}
OFF = 1.15  # times too much or too little, at most


def run(options: Options) -> list[Comparison]:
    """Compare what the largest step or pass of a stage takes, libraries and data not counted, on CPU."""
    found = []
    for stage, methods in ARMS.items():
        for method in methods:
            line = [f"method={method}", "training=finetune", *FEW, *(QUICK if options.quick else [])]
            built = built_arm(line)
            forecast = Forecast(built, hardware_of(built.arm.config["hardware"], "cpu"))
            told = next(one.peak for one in forecast.stages() if one.name == stage)
            found.append(_compared(f"{stage}, {method}", told, peak_bytes(stage_of, stage, line)))
    return found


def _compared(what: str, forecast: float, measured: float) -> Comparison:
    """How many times the larger of forecast and measured peak is the smaller."""
    off = max(forecast / measured, measured / forecast)
    names = (f"forecast of {what}", "measured peak")
    return Comparison(*names, "MiB", forecast / 2**20, measured / 2**20, off, off, off, OFF, at_least=False)


def stage_of(stage: str, line: list[str]) -> Callable[[], object]:
    """Return a stage of an arm, to be run for the first time in a folder of its own, after one of another seed."""
    silence_library_logging()
    folder = tempfile.mkdtemp()
    line = [*line, f"results_dir={folder}/results", f"cache_dir={folder}/cache"]
    before, built = built_arm([*line, "seed=1"]), built_arm(line)
    for one in ("base", "extend", "evaluate"):
        run_stage(one, before)
    for one in {"base": [], "extend": ["base"], "evaluate": ["base", "extend"]}[stage]:
        run_stage(one, built)
    gc.collect()  # models and optimizers of the stages before: what they leave would not be taken again
    return lambda: run_stage(stage, built)


def run_stage(stage: str, built: BuiltArm) -> None:
    """Run one stage; those before it are cached."""

    def report(*_: object) -> None:
        return None

    base = stages.base(built, report)
    if stage == "base":
        return
    extended = stages.extend(built, base, report)
    if stage == "evaluate":
        model = stages.model_to_evaluate(built, base, extended)
        stages.evaluate(built, model, report)


def built_arm(line: list[str]) -> BuiltArm:
    """Return the arm of a command line, which is found sound."""
    with initialize_config_module("experiments.configs", version_base="1.3"):
        config = compose("run", line)
        (built,) = build(config, expand(config, line))
    prepare(built, here=True)
    return built
