"""Dense methods (PI, YaRN, CLEX at a held factor) against the stock model with SDPA: prefill, and a token after it."""

from collections.abc import Callable

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache

from experiments.benchmarks.decode import HEADS, LAYERS, NEW, decode
from experiments.benchmarks.decode import dense as stock_decoding
from experiments.benchmarks.measure import Comparison, Options, costs, interleaved
from experiments.benchmarks.models import DIM, VOCABULARY, llama
from lcx_lightning.models.attach import attach
from lcx_lightning.models.attached import attached, method_of
from lcx_lightning.models.cache.base import MethodCache
from lcx_lightning.models.cache.choose import smallest_cache

METHODS = ("pi", "yarn", "clex")
FACTOR = 16  # held: the context is planned to grow to 16 x 4096 tokens
STOCK, FIXED = "stock model, SDPA", "stock model, SDPA, StaticCache"


def run(options: Options) -> list[Comparison]:
    """Compare at 32k tokens, one row, float32: a prompt read at once by one layer, and a token after it by four."""
    tokens = 2048 if options.quick else 32_768
    read, token = f"{tokens:,} tokens", f"a token at {tokens:,}"
    prompts = {STOCK: prefill(None, tokens, options.device)}
    prompts |= {f"{method}, {read}": prefill(method, tokens, options.device) for method in METHODS}
    found = _compared(interleaved(prompts, options.repeats, options.device), [STOCK])
    del prompts
    steps = {STOCK: decoding(None, tokens, options.device), FIXED: stock_decoding(tokens, options.device, None)}
    steps |= {f"{method}, {token}": decoding(method, tokens, options.device) for method in METHODS}
    seconds = interleaved(steps, options.repeats, options.device)
    return found + _compared(
        {name: [value / NEW for value in taken] for name, taken in seconds.items()}, [STOCK, FIXED]
    )


def _compared(seconds: dict[str, list[float]], rivals: list[str]) -> list[Comparison]:
    ours = [name for name in seconds if name not in rivals]
    return [costs(name, rival, seconds, 1.05) for rival in rivals for name in ours]


def prefill(method: str | None, tokens: int, device: str) -> Callable[[], None]:
    """Return a pass over a prompt that fills a new cache; None for the stock model."""
    model = with_method(llama(1, HEADS, device), method)
    ids = torch.randint(VOCABULARY, (1, tokens), device=device)

    @torch.inference_mode()
    def read() -> None:
        model(ids, past_key_values=cache_of(model, method), logits_to_keep=1)

    return read


@torch.no_grad()
def decoding(method: str | None, tokens: int, device: str) -> Callable[[], None]:
    """Return a few tokens, one by one, after random keys; None for the stock model."""
    model = with_method(llama(LAYERS, HEADS, device), method)
    cache = cache_of(model, method)
    if isinstance(cache, MethodCache):
        valid = torch.ones(1, tokens, dtype=torch.bool, device=device)
        own = method_of(model)
        cache.begin(own.rope(valid, tokens, future_tokens=planned(model) - tokens, rotated=True))
    for layer in range(LAYERS):
        keys, values = (torch.randn(1, HEADS, tokens, DIM, device=device) for _ in range(2))
        cache.update(keys, values, layer)
    return lambda: decode(model, cache)


def cache_of(model: PreTrainedModel, method: str | None) -> Cache:
    """Return what `generate` would take."""
    return DynamicCache(config=model.config) if method is None else smallest_cache(model, fixed_factor=True)


def planned(model: PreTrainedModel) -> int:
    """Return the length in tokens whose factor is held."""
    return FACTOR * model.config.max_position_embeddings


def with_method(model: PreTrainedModel, method: str | None) -> PreTrainedModel:
    """Return the model with the method at its held factor, as within `generate`; None leaves it as it is."""
    if method is None:
        return model
    attach(model, method, factor=FACTOR)
    attached(model).planned_length = planned(model)
    return model
