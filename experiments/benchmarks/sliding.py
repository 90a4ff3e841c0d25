"""Sliding-window perplexity (arXiv:2012.15832) against the obvious loop: one window at a time, all logits."""

from collections.abc import Callable

import torch
from torch import Tensor

from experiments.benchmarks.measure import Comparison, Options, faster, interleaved, peak_bytes, smaller
from experiments.benchmarks.models import llama
from lcx_lightning.attachment import attach
from lcx_lightning.evaluation.sliding import sliding_nll

LAYERS, HEADS, VOCABULARY = 2, 8, 32_000
WINDOW, STRIDE = 2048, 256  # tokens
OURS = f"windows of {WINDOW:,} every {STRIDE}"
SDPA, EAGER = (f"one window at a time, {attention}, all logits" for attention in ("SDPA", "eager"))
EQUAL = 1e-5  # nats per token
DIFFERENCE = "largest difference of a window's loss per token"


def run(options: Options) -> list[Comparison]:
    """Compare time, peak memory and losses of a text, float32, the untouched model."""
    tokens, device = WINDOW + (2 if options.quick else 24) * STRIDE, options.device
    prepare = {OURS: (ours, "sdpa"), SDPA: (obvious, "sdpa"), EAGER: (obvious, "eager")}
    calls = {name: make(tokens, device, attention) for name, (make, attention) in prepare.items()}
    error = float((calls[OURS]() - calls[SDPA]()).abs().max()) / EQUAL
    seconds = interleaved(calls, options.repeats, device)
    del calls
    peaks = {
        name: peak_bytes(make, tokens, device, attention, device=device)
        for name, (make, attention) in prepare.items()
        if name != EAGER
    }
    return [
        faster(OURS, SDPA, seconds, 1),
        faster(OURS, EAGER, seconds, 4),
        smaller(OURS, SDPA, peaks, 0.25),
        Comparison(DIFFERENCE, SDPA, "x 1e-5", error, 1.0, error, error, error, 1.0, at_least=False),
    ]


def ours(tokens: int, device: str, attention: str) -> Callable[[], Tensor]:
    """Return the loss per token of every window, nats, of the evaluation."""
    model = attach(llama(LAYERS, HEADS, device, vocabulary=VOCABULARY, attention=attention), "pretrained")
    ids = text(tokens, device)
    return lambda: torch.stack([scored.mean() for scored in sliding_nll(model, ids, WINDOW, STRIDE, rows=1)])


def obvious(tokens: int, device: str, attention: str) -> Callable[[], Tensor]:
    """Return the same of the stock model, which is told by labels what to score."""
    model = llama(LAYERS, HEADS, device, vocabulary=VOCABULARY, attention=attention)
    ids = text(tokens, device)

    @torch.inference_mode()
    def scored() -> Tensor:
        losses = []
        for end in range(WINDOW, tokens + 1, STRIDE):
            window = ids[None, end - WINDOW : end].clone()
            window[:, 0] = ids[0]
            labels = window.clone()
            labels[:, : 1 if end == WINDOW else WINDOW - STRIDE] = -100
            losses.append(model(window, labels=labels, use_cache=False).loss)
        return torch.stack(losses)

    return scored


def text(tokens: int, device: str) -> Tensor:
    """Return random tokens, [tokens]."""
    return torch.randint(VOCABULARY, (tokens,), generator=torch.Generator(device).manual_seed(0), device=device)
