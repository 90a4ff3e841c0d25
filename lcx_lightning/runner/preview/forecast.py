"""What an arm will need before it is launched: memory, FLOPs, time and money of each stage."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from transformers import PretrainedConfig, PreTrainedModel

from lcx_lightning.attention.backends.dense import is_dense
from lcx_lightning.attention.names import AUTO
from lcx_lightning.evaluation.base import Reading
from lcx_lightning.methods.method import Method
from lcx_lightning.models.attach import attach
from lcx_lightning.models.lora import adapter_parameters, add_adapters
from lcx_lightning.models.sources import skeleton
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.hardware import Hardware
from lcx_lightning.runner.preview.memory_model import Footprint, evaluation_footprint, training_footprint
from lcx_lightning.runner.recipe import Recipe
from lcx_lightning.training.flops import forward_flops, step_flops

FULL = 0.95  # share of the memory of a device that can be used: the rest is of drivers and fragments


@dataclass(frozen=True)
class Stage:
    """One stage of an arm, on the devices of its trainer."""

    name: str
    steps: int  # of the optimizer, or texts read
    tokens: int
    flops: float  # of the model, without what checkpointing computes again
    memory: Footprint  # of a device
    cache: float  # bytes
    seconds: float | None  # None: the hardware is not known
    cost: float | None

    @property
    def peak(self) -> float:
        """Most bytes of a device at once."""
        return self.memory.peak + self.cache


@dataclass(frozen=True)
class Setting:
    """What a step of training can be changed in, to fit."""

    rows: int  # of a step, over all devices and micro-batches
    devices: int
    micro_batches: int = 1
    checkpointing: bool = False

    @property
    def rows_at_once(self) -> int:
        """Rows that a device reads at once."""
        return math.ceil(self.rows / (self.devices * self.micro_batches))


class Forecast:
    """The forecast of one arm.

    Args:
        built: The arm.
        hardware: Hardware of each of its trainer's devices.
    """

    def __init__(self, built: BuiltArm, hardware: Hardware) -> None:
        self._built, self._hardware = built, hardware
        self._config: PretrainedConfig = built.model.config
        torch.manual_seed(built.arm.seed)

    @property
    def parameters(self) -> tuple[int, int]:
        """Parameters of the model, and those of the method that learn."""
        model = sum(p.numel() for p in skeleton(self._config).parameters())
        return model, sum(p.numel() for p in self._method().parameters() if p.requires_grad)

    @property
    def adapters(self) -> int:
        """Parameters of the adapters."""
        return adapter_parameters(self._skeleton("extend", self._built.recipe))

    def stages(self) -> list[Stage]:
        """Return the stages that the arm has, whether or not their results are cached already."""
        trained = [("base", self._built.base_recipe), ("extend", self._built.recipe)]
        return [self._trained(name, recipe) for name, recipe in trained if recipe] + self._evaluated()

    def fitting(self, name: str) -> Iterator[tuple[str, float]]:
        """Yield what would make the training of a stage fit, in words, and the bytes of a device that it takes then."""
        recipe = self._built.base_recipe if name == "base" else self._built.recipe
        assert recipe is not None
        for words, setting in _remedies(self._setting(recipe)):
            peak = self._memory(name, recipe, setting).peak
            if peak <= FULL * self._hardware.memory:
                yield words, peak

    def _trained(self, name: str, recipe: Recipe) -> Stage:
        rows = recipe.steps * recipe.rows
        flops = rows * step_flops(self._skeleton(name, recipe), self._method(name).pattern, recipe.length)
        memory = self._memory(name, recipe, self._setting(recipe))
        devices = self._built.trainer.processes
        return self._stage(name, recipe.steps, rows * recipe.length, flops, memory, 0, devices)

    def _evaluated(self) -> list[Stage]:
        """Return the stage of evaluation, none if no text is read."""
        method, arm = self._method(), self._built.arm
        work_units = self._built.evaluation.work_units(self._built.data, arm.pretrain_length, arm.max_context)
        readings = [reading for unit in work_units for reading in unit.reads]
        if not readings:
            return []
        texts: Counter[int] = Counter()
        for reading in readings:
            texts[reading.tokens] += reading.texts
        tokens = sum(count * length for length, count in texts.items())
        flops = sum(count * self._forward(method, length) for length, count in texts.items())
        found = [(self._read(method, r), _cache_bytes(self._config, method, r)) for r in _largest(readings)]
        memory, cache = max(found, key=lambda one: one[0].peak + one[1])
        if self._built.trainer.shard_evaluation:
            memory = layers_sharded(memory, self._built.trainer.processes, self._config)
        return [self._stage("evaluate", texts.total(), tokens, flops, memory, cache, 1)]

    def _read(self, method: Method, reading: Reading) -> Footprint:
        length = min(reading.chunk or reading.tokens, reading.tokens)
        return evaluation_footprint(
            self._config, method, rows=reading.rows, length=length, attention=self._attention(method)
        )

    def _memory(self, name: str, recipe: Recipe, setting: Setting) -> Footprint:
        method = self._method(name)
        whole = training_footprint(
            self._config,
            method,
            recipe,
            rows=setting.rows_at_once,
            length=recipe.length,
            attention=self._attention(method),
            precision=self._built.trainer.precision,
            checkpointing=setting.checkpointing,
        )
        return sharded(whole, setting.devices, self._config.num_hidden_layers)

    def _stage(
        self, name: str, steps: int, tokens: int, flops: float, memory: Footprint, cache: float, devices: int
    ) -> Stage:
        rate, price = self._hardware.flops, self._hardware.price
        seconds = None if rate is None else flops / (rate * devices)
        cost = None if seconds is None or price is None else seconds / 3600 * devices * price
        return Stage(name, steps, tokens, flops, memory, cache, seconds, cost)

    def _setting(self, recipe: Recipe) -> Setting:
        trainer = self._built.trainer
        return Setting(recipe.rows, trainer.processes, trainer.micro_batches, self._built.arm.config["recompute"])

    def _skeleton(self, stage: str, recipe: Recipe | None) -> PreTrainedModel:
        model = attach(skeleton(self._config), self._method(stage))
        return add_adapters(model, **recipe.lora, seed=0) if recipe and recipe.lora else model

    def _forward(self, method: Method, length: int) -> int:
        return forward_flops(skeleton(self._config), method.pattern, length)

    def _method(self, stage: str = "extend") -> Method:
        """Return the method of a stage: the base is trained with the method `pretrained`."""
        return self._built.pretrained() if stage == "base" else self._built.method()

    def _attention(self, method: Method) -> str:
        """Return the implementation of attention on the trainer's devices. What flex_bands holds, flash_bands does."""
        chosen = self._built.arm.config["attention"]
        if chosen == AUTO and self._built.trainer.accelerator != "cpu" and not is_dense(method.pattern.bands()):
            return "blocks"
        return "flash_bands" if chosen == "flex_bands" else chosen


def sharded(whole: Footprint, devices: int, layers: int) -> Footprint:
    """Return what one of several devices holds: its share of weights, gradients and states, and two layers gathered.

    FSDP2 gathers the weights of a layer while it computes, and those of the next one meanwhile.
    """
    if devices == 1:
        return whole
    gathered = 2 * whole.weights / max(layers, 2)
    parts = {name: getattr(whole, name) / devices for name in ("weights", "gradients", "optimizer")}
    held = sum(getattr(whole, name) - part for name, part in parts.items())
    return replace(whole, **parts, peak=whole.peak - held + gathered)


def layers_sharded(whole: Footprint, devices: int, config: PretrainedConfig) -> Footprint:
    """Return what one of several devices holds in evaluation: its share of the layers, one layer gathered, the rest."""
    if devices == 1:
        return whole
    model = skeleton(config)
    layers = sum(p.numel() for p in model.base_model.get_submodule("layers").parameters())
    held = whole.weights * layers / sum(p.numel() for p in model.parameters())
    weights = whole.weights - held + held / devices
    return replace(whole, weights=weights, peak=whole.peak - whole.weights + weights + held / config.num_hidden_layers)


def _remedies(now: Setting) -> Iterator[tuple[str, Setting]]:
    """Yield changes that make a step smaller and leave its result as it is, those that cost least first."""
    again = replace(now, checkpointing=True)
    if not now.checkpointing:
        yield "recompute=true", again
    parts = 2 * now.micro_batches
    while parts * now.devices <= now.rows:
        said = f"trainer.accumulate_grad_batches={parts}"
        yield said, replace(now, micro_batches=parts)
        yield f"{said} recompute=true", replace(again, micro_batches=parts)
        parts *= 2
    devices = 2 * now.devices
    while devices * now.micro_batches <= now.rows:
        yield f"trainer.devices={devices} recompute=true", replace(again, devices=devices)
        devices *= 2


def _largest(readings: list[Reading]) -> list[Reading]:
    """Return those that may take most memory: most tokens at once, and the longest."""
    at_once = max(readings, key=lambda r: r.rows * (r.chunk or r.tokens))
    longest = max(readings, key=lambda r: r.tokens)
    return [at_once] if at_once == longest else [at_once, longest]


def _cache_bytes(config: PretrainedConfig, method: Method, reading: Reading) -> int:
    """Return the bytes of keys and values that the smallest cache of a text keeps, float32."""
    if reading.chunk is None:
        return 0
    widths = [band.first_keys or band.max_distance for band in method.pattern.bands()]
    endless = any(width is None for width in widths)
    kept = reading.tokens if endless else min(reading.tokens, sum(w or 0 for w in widths) + reading.chunk)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 4 * 2 * reading.rows * config.num_hidden_layers * config.num_key_value_heads * head_dim * kept
