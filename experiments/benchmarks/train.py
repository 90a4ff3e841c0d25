"""A training step with CLEX (arXiv:2310.16450) against one with Position Interpolation, small embedded model."""

from collections.abc import Callable

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from torch import nn

from experiments.benchmarks.measure import Comparison, Options, costs, interleaved
from lcx_lightning.methods.scaling.clex import CLEX
from lcx_lightning.models.attach import attach
from lcx_lightning.schema.build import build
from lcx_lightning.training.loss import next_token_loss

CLEX_STEP, PI_STEP = "CLEX training step", "PI training step"
FACTOR = 16  # t is drawn from 1 .. 16
STEPS = 10  # rounds for each repeat: a step takes a fraction of a second
FIELD = 0.01  # standard deviation of the weights that start at 0, as after training


def run(options: Options) -> list[Comparison]:
    """Compare whole steps: loss, gradients, clipping, optimizer, of the batches of the fine-tuning recipe, float32."""
    with initialize_config_module("experiments.configs", version_base="1.3"):
        config = compose("run", ["model=embedded", "training=finetune"])
    names = {CLEX_STEP: "clex", PI_STEP: "pi"}
    steps: dict[str, Callable[[], object]] = {
        name: step_of(method, config, options.device) for name, method in names.items()
    }
    seconds = interleaved(steps, options.repeats * (1 if options.quick else STEPS), options.device)
    return [costs(CLEX_STEP, PI_STEP, seconds, 1.05)]


def step_of(method: str, config: DictConfig, device: str) -> Callable[[], None]:
    """Return one optimizer step; every call draws its positions anew."""
    torch.manual_seed(0)
    model = attach(build(config.model.source, "model.source").load(None), method, factor=FACTOR)
    model.to(torch.device(device)).train()  # pyright: ignore[reportArgumentType]
    for scaling in model.modules():
        if isinstance(scaling, CLEX):
            nn.init.normal_(scaling.down.weight, std=FIELD)
    recipe, length = config.training, int(config.training.length_factor * model.config.max_position_embeddings)
    optimizer = build(recipe.optimizer, "model.recipe.optimizer")(model)
    ids = torch.randint(256, (recipe.rows, length), device=device)
    draws = iter(range(10**9))

    def step() -> None:
        next_token_loss(model, ids, placement_seed=next(draws)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad()

    return step
