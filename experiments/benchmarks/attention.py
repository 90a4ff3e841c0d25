"""Lambda prefill (LM-Infinite, arXiv:2308.16137) against dense attention."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from experiments.benchmarks.measure import Comparison, Options, faster, interleaved, peak_bytes, smaller
from lcx_lightning.attention.attend import attend
from lcx_lightning.attention.rope import Rope
from lcx_lightning.patterns.lambda_mask import Lambda

HEADS, DIM = 8, 64
WINDOW, SINK_TOKENS = 512, 10
DENSE, LAMBDA = "dense SDPA, causal", "Lambda"


def run(options: Options) -> list[Comparison]:
    """Compare one layer's attention over a prompt, forward, one row, float32."""
    tokens = 2048 if options.quick else 16_384
    prepare = {DENSE: dense, LAMBDA: banded}
    seconds = interleaved(
        {name: make(tokens, options.device) for name, make in prepare.items()}, options.repeats, options.device
    )
    peaks = {name: peak_bytes(make, tokens, options.device, device=options.device) for name, make in prepare.items()}
    return [faster(LAMBDA, DENSE, seconds, 5), smaller(LAMBDA, DENSE, peaks, 0.25)]


def dense(tokens: int, device: str) -> Callable[[], Tensor]:
    """Return torch's own causal attention over random tokens, without any rotation."""
    q, k, v = inputs(tokens, device)
    return lambda: scaled_dot_product_attention(q, k, v, is_causal=True)


def banded(tokens: int, device: str) -> Callable[[], Tensor]:
    """Return our attention with the Lambda pattern, rotation included."""
    q, k, v = inputs(tokens, device)
    rope = lambda_rope(tokens, device)
    return lambda: attend(q, k, v, rope, DIM**-0.5)


def inputs(tokens: int, device: str) -> list[Tensor]:
    """Return random queries, keys and values, [1, heads, tokens, dim]."""
    generator = torch.Generator(device).manual_seed(0)
    return [torch.randn(1, HEADS, tokens, DIM, generator=generator, device=device) for _ in range(3)]


def lambda_rope(tokens: int, device: str) -> Rope:
    """Return the pass of a prompt: consecutive positions, no padding."""
    index = torch.arange(tokens, device=device)[None]
    return Rope(
        index=index,
        positions=index.float(),
        valid=torch.ones_like(index, dtype=torch.bool),
        queries=tokens,
        inv_freq=10_000.0 ** -(torch.arange(DIM // 2, device=device)[None] / (DIM // 2)),
        feature_scale=torch.ones(1, device=device),
        logit_scale=None,
        bands=Lambda(window=WINDOW, sink_tokens=SINK_TOKENS, distance_limit=None).bands(),
    )
