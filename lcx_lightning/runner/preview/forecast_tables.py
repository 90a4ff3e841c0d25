"""`dry_run=forecast`: what every arm needs in memory, FLOPs, time and money, as tables, and what would fit instead."""

from itertools import islice
from typing import TYPE_CHECKING

from lcx_lightning.results.report.labels import seconds_text
from lcx_lightning.results.report.screen import say, size_text
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.hardware import Hardware, hardware_of
from lcx_lightning.runner.preview.forecast import FULL, Forecast, Stage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

REMEDIES = 3  # that are told


def show_forecasts(arms: list[BuiltArm], console: "Console") -> None:
    """Print a block per arm; seeds share it, because they differ in no size."""
    for built in [built for built in arms if built.arm.seed == arms[0].arm.seed]:
        hardware = _hardware(built)
        forecast = Forecast(built, hardware)
        model, learned = forecast.parameters
        own = f" and {learned:,} of the method" if learned else ""
        own += f" and {forecast.adapters:,} of adapters" if forecast.adapters else ""
        console.rule(f"{built.arm.name}   {model:,} parameters{own}", align="left", style="bold")
        stages = forecast.stages()
        console.print(stage_table(stages))
        for stage in stages:
            if stage.peak > FULL * hardware.memory:
                say(console, _advice(stage, forecast, hardware), "does not fit:", "red")
    _assumptions(arms[0], console)


def stage_table(stages: list[Stage]) -> "Table":
    """A row per stage: what it computes, how long that takes and costs, and what a device holds."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    header = ("steps", "tokens", "FLOPs", "time", "cost", "weights", "grad.", "optim.", "activ.", "logits", "cache")
    table.add_column("stage", no_wrap=True)
    for name in (*header, "peak"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in stages:
        held = stage.memory
        time = "?" if stage.seconds is None else seconds_text(stage.seconds)
        parts = (held.weights, held.gradients, held.optimizer, held.activations, held.logits, stage.cache, stage.peak)
        table.add_row(
            stage.name,
            f"{stage.steps:,}" if stage.name != "evaluate" else "-",
            _count(stage.tokens),
            _count(stage.flops),
            time,
            "-" if stage.cost is None else f"{stage.cost:,.2f}",
            *(size_text(part) for part in parts),
        )
    return table


def _count(number: float) -> str:
    power, unit = next(
        ((p, u) for p, u in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")) if number >= p),
        (1, ""),
    )
    return f"{number / power:.3g}{unit}"


def _advice(stage: Stage, forecast: Forecast, hardware: Hardware) -> str:
    """Return what a stage needs, what there is, and what would fit."""
    needed = f"{stage.name} needs {size_text(stage.peak)} of the {size_text(hardware.memory)} of {hardware.name}."
    if stage.name == "evaluate":
        return (
            f"{needed} Read fewer rows at once, or shorter texts (see evaluation in the configuration), or divide the "
            "model: trainer=fsdp trainer.strategy.shard_evaluation=true."
        )
    found = [f"{words} ({size_text(peak)})" for words, peak in islice(forecast.fitting(stage.name), REMEDIES)]
    if not found:
        return f"{needed} Nothing that was tried would fit: take shorter rows, or hardware of more memory."
    return f"{needed} These would fit: {', '.join(found)}."


def _assumptions(built: BuiltArm, console: "Console") -> None:
    """Print what the figures rest on."""
    hardware, devices = _hardware(built), built.trainer.processes
    price = "no price given (hardware.price)" if hardware.price is None else f"{hardware.price:g} an hour"
    console.print(
        f"Memory is that of a device. Assumed: {devices} x {hardware.name} with {size_text(hardware.memory)}, "
        f"{hardware.assumed}, {price}. Nothing was measured; stages whose results are cached will not run again.",
        highlight=False,
        soft_wrap=True,
    )


def _hardware(built: BuiltArm) -> Hardware:
    return hardware_of(built.arm.config["hardware"], built.trainer.accelerator)
