"""Sliding-window perplexity (arXiv:2012.15832) against the obvious loop: one window at a time, all logits."""

from collections.abc import Callable

import torch
from torch import Tensor

from experiments.benchmarks.measure import Comparison, Options, faster, interleaved, peak_bytes, smaller
from experiments.benchmarks.models import llama
from lcx_lightning.evaluation.perplexity.sliding import sliding_nll
from lcx_lightning.models.attach import attach

VOCABULARY = 32_000
WINDOW, STRIDE = 2048, 256  # tokens
MODELS = {  # layers, heads, features of a head
    "4 layers of 128": {"layers": 4, "heads": 4, "dim": 32},  # as the embedded model
    "2 layers of 512": {"layers": 2, "heads": 8, "dim": 64},
}
OURS = f"windows of {WINDOW:,} every {STRIDE}"
SDPA, EAGER = (f"one window at a time, {attention}, all logits" for attention in ("SDPA", "eager"))
EQUAL = 1e-5  # nats per token
DIFFERENCE = "largest difference of a window's loss per token"


def run(options: Options) -> list[Comparison]:
    """Compare time, peak memory and losses of a text, float32, untouched models of several widths."""
    return [comparison for name in MODELS for comparison in _compared(name, options)]


def _compared(name: str, options: Options) -> list[Comparison]:
    tokens, device = WINDOW + (2 if options.quick else 8) * STRIDE, options.device
    called = f"{OURS}, {name}"
    prepare = {called: (ours, "sdpa"), SDPA: (obvious, "sdpa"), EAGER: (obvious, "eager")}
    calls = {way: make(name, tokens, device, attention) for way, (make, attention) in prepare.items()}
    error = float((calls[called]() - calls[SDPA]()).abs().max()) / EQUAL
    seconds = interleaved(calls, options.repeats, device)
    del calls
    peaks = {
        way: peak_bytes(make, name, tokens, device, attention, device=device)
        for way, (make, attention) in prepare.items()
        if way != EAGER
    }
    return [
        faster(called, SDPA, seconds, 1),
        faster(called, EAGER, seconds, 4),
        smaller(called, SDPA, peaks, 0.25),
        Comparison(f"{DIFFERENCE}, {name}", SDPA, "x 1e-5", error, 1.0, error, error, error, 1.0, at_least=False),
    ]


def ours(name: str, tokens: int, device: str, attention: str) -> Callable[[], Tensor]:
    """Return the loss per token of every window, nats, of the evaluation."""
    model = attach(llama(**MODELS[name], device=device, vocabulary=VOCABULARY, attention=attention), "pretrained")
    ids = text(tokens, device)
    return lambda: torch.stack([scored.mean() for scored in sliding_nll(model, ids, WINDOW, STRIDE, rows=1, ahead=1)])


def obvious(name: str, tokens: int, device: str, attention: str) -> Callable[[], Tensor]:
    """Return the same of the stock model, which is told by labels what to score."""
    model = llama(**MODELS[name], device=device, vocabulary=VOCABULARY, attention=attention)
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
