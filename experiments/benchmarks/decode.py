"""Lambda decode with a cache of sinks and a window (LM-Infinite, arXiv:2308.16137) against all keys, and a stream."""

from collections.abc import Callable

import torch
from transformers import DynamicCache, PreTrainedModel, StaticCache
from transformers.cache_utils import Cache

from experiments.benchmarks.measure import Comparison, Options, costs, faster, interleaved, peak_bytes, smaller
from experiments.benchmarks.models import DIM, llama, random_chunks, with_lambda
from lcx_lightning.evaluation.perplexity.streaming import stream_nll
from lcx_lightning.models.cache.choose import smallest_cache

LAYERS, HEADS = 4, 8
NEW = 8  # tokens decoded in each round
GROWING, FIXED = "dense, DynamicCache (the default of generate)", "dense, StaticCache"


def run(options: Options) -> list[Comparison]:
    """Compare a token at the end of a context, one row, float32; and the memory of a long stream and a short one."""
    short, long = (1024, 4096) if options.quick else (1024, 32_768)
    near, far = f"Lambda at {short:,}", f"Lambda at {long:,}"
    seconds = interleaved(
        {
            GROWING: dense(long, options.device, DynamicCache()),
            FIXED: dense(long, options.device, None),
            far: banded(long, options.device),
            near: banded(short, options.device),
        },
        options.repeats,
        options.device,
    )
    seconds = {name: [value / NEW for value in values] for name, values in seconds.items()}
    return [
        faster(far, GROWING, seconds, 4),
        faster(far, FIXED, seconds, 4),
        costs(far, near, seconds, 1.1),
        *_streams(options),
    ]


def _streams(options: Options) -> list[Comparison]:
    lengths = (2**13, 2**15) if options.quick else (2**16, 2**20)
    short, long = (f"stream of {length:,} tokens" for length in lengths)
    peaks = {
        name: peak_bytes(stream, length, options.device, device=options.device)
        for name, length in zip((short, long), lengths, strict=True)
    }
    return [smaller(long, short, peaks, 1.02)]


def dense(context: int, device: str, cache: Cache | None) -> Callable[[], None]:
    """Return the stock model with SDPA, decoding after `context` random keys; None for a cache of fixed size."""
    model = llama(LAYERS, HEADS, device)
    if cache is None:  # an empty cache is false
        cache = StaticCache(model.config, max_cache_len=context + 2**10)
    for layer in range(LAYERS):
        keys, values = (torch.randn(1, HEADS, context, DIM, device=device) for _ in range(2))
        cache.update(keys, values, layer)
    return lambda: decode(model, cache)


def banded(context: int, device: str) -> Callable[[], None]:
    """Return the model with Lambda attention, decoding after a prompt of `context` tokens."""
    model = with_lambda(llama(LAYERS, HEADS, device))
    cache = smallest_cache(model)
    with torch.inference_mode():
        for ids in random_chunks(context, device):
            model.base_model(input_ids=ids, past_key_values=cache)
    return lambda: decode(model, cache)


@torch.inference_mode()
def decode(model: PreTrainedModel, cache: Cache) -> None:
    """Read and choose a few tokens, one by one."""
    ids = torch.ones(1, 1, dtype=torch.int64, device=model.device)
    for _ in range(NEW):
        ids = model(ids, past_key_values=cache).logits[:, -1:].argmax(dim=-1)


def stream(tokens: int, device: str) -> Callable[[], float]:
    """Return the loss of a random stream, read by a small model with Lambda attention."""
    model = with_lambda(llama(2, 2, device))
    return lambda: sum(float(nll.sum()) for nll in stream_nll(model, random_chunks(tokens, device)))
