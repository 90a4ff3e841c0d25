"""Lambda prefill (LM-Infinite, arXiv:2308.16137): time, memory and growth against dense and materialised attention.

One layer, one row, forward only, float32 on CPU and bfloat16 on a GPU. Queries and keys are rotated inside what is
measured, but for torch's dense attention, which gets them as they are.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from experiments.benchmarks.measure import Comparison, Options, faster, grows, interleaved, peak_bytes, smaller
from lcx_lightning.attention.dispatch import attend, backend_of
from lcx_lightning.attention.forward_pass import ForwardPass
from lcx_lightning.attention.rotation import rotate
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.rope import Rope

HEADS, DIM = 8, 64
WINDOW, SINK_TOKENS = 512, 10
DENSE = "dense SDPA, causal, not rotated"
MATERIALISED = "blocks of a window, logits in float32"


def run(options: Options) -> list[Comparison]:
    """Compare at 16k tokens, and growth from 8k to 64k."""
    tokens, sizes = (2048, (1024, 2048, 4096)) if options.quick else (16_384, (8192, 16_384, 32_768, 65_536))
    device = options.device
    ours = f"Lambda, {backend_of(ForwardPass(lambda_rope(1024, device)))}, {tokens} tokens"
    prepare = {ours: banded, DENSE: dense, MATERIALISED: materialised}
    calls = {name: make(tokens, device) for name, make in prepare.items()}
    seconds = interleaved(calls, options.repeats, device)
    del calls
    peaks = {name: peak_bytes(prepare[name], tokens, device, device=device) for name in (ours, MATERIALISED)}
    growth = interleaved({n: banded(n, device) for n in sizes}, options.repeats, device)
    return [
        faster(ours, DENSE, seconds, 5),
        faster(ours, MATERIALISED, seconds, 3),
        smaller(ours, MATERIALISED, peaks, 0.25),
        grows(f"Lambda, slope from {sizes[0]} to {sizes[-1]} tokens", "itself", growth, 1.1),
    ]


def dense(tokens: int, device: str) -> Callable[[], Tensor]:
    """Return torch's own causal attention over random tokens."""
    q, k, v = inputs(tokens, device)
    return lambda: scaled_dot_product_attention(q, k, v, is_causal=True)


def banded(tokens: int, device: str) -> Callable[[], Tensor]:
    """Return our attention with the Lambda pattern."""
    q, k, v = inputs(tokens, device)
    rope = lambda_rope(tokens, device)
    return lambda: attend(q, k, v, ForwardPass(rope), DIM**-0.5)


def materialised(tokens: int, device: str) -> Callable[[], Tensor]:
    """Return the Lambda pattern with blocks of one window, each with two windows of keys, whose logits are all held.

    This is what the authors' code does, apart from its distance limit, which would only add to the cost.
    """
    q, k, v = inputs(tokens, device)
    rope = lambda_rope(tokens, device)
    (near, at_sinks), keys = rope.bands, rope.key_index
    block = torch.arange(WINDOW, device=device)[:, None]
    two = torch.arange(2 * WINDOW, device=device)[None] - WINDOW
    hidden = ~near.visible(block, two)[None, None] | (keys[:, ::WINDOW, None, None] + two < 0)  # before the first key
    no_sink = ~at_sinks.visible(keys[0, :, None], keys[0, None, :SINK_TOKENS])

    def attended() -> Tensor:
        turned, turned_keys = rotate(q, rope.query_tables[0]) * DIM**-0.5, rotate(k, rope.key_tables[0])
        queries, pairs = turned.unflatten(2, (-1, WINDOW)), two_windows(turned_keys)
        local = (queries @ pairs.mT).float().masked_fill(hidden, -torch.inf)
        sinks = (turned @ turned_keys[:, :, :SINK_TOKENS].mT).float().masked_fill(no_sink, -torch.inf)
        weights = torch.cat([local.flatten(2, 3), sinks], dim=-1).softmax(dim=-1).to(v.dtype)
        of_window, of_sinks = weights.split([2 * WINDOW, SINK_TOKENS], dim=-1)
        out = (of_window.unflatten(2, (-1, WINDOW)) @ two_windows(v)).flatten(2, 3)
        return out + of_sinks @ v[:, :, :SINK_TOKENS]

    return attended


def two_windows(x: Tensor) -> Tensor:
    """Return for each block of one window its tokens and those of the block before, zeros before the first."""
    blocks = pad(x, (0, 0, WINDOW, 0)).unflatten(2, (-1, WINDOW))
    return torch.cat([blocks[:, :, :-1], blocks[:, :, 1:]], dim=3)


def inputs(tokens: int, device: str) -> list[Tensor]:
    """Return random queries, keys and values, [1, heads, tokens, dim]."""
    generator = torch.Generator(device).manual_seed(0)
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
    return [torch.randn(1, HEADS, tokens, DIM, generator=generator, device=device).to(dtype) for _ in range(3)]


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
