"""Texts, patterns and caches for tests of what a cache holds."""

import torch

from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.patterns.streaming_llm import StreamingLLM
from lcx_lightning.models.cache.choose import rotation_of
from lcx_lightning.models.cache.rotated import RotatedCache
from lcx_lightning.models.cache.window import WindowCache

TOKENS, ROOM = 100, 5
IDS = torch.randint(1, 64, (2, TOKENS), generator=torch.Generator().manual_seed(0))
SHAPES = {
    "limit as the window": Lambda(window=16, sink_tokens=3, distance_limit=16),
    "limit beyond the window": Lambda(window=16, sink_tokens=3, distance_limit=40),
    "limit inside the window": Lambda(window=16, sink_tokens=3, distance_limit=6),
    "no limit": Lambda(window=16, sink_tokens=3, distance_limit=None),
    "window": Lambda(window=7, sink_tokens=0, distance_limit=None),
    "window of one": Lambda(window=1, sink_tokens=2, distance_limit=None),
    "streaming": StreamingLLM(window=12, sink_tokens=4),
}
MASKS = {  # by slot of two rows, 106 slots
    "none": [(0, 106), (0, 106)],
    "left": [(6, 106), (40, 106)],
    "right": [(0, 100), (0, 50)],
    "both": [(0, 90), (80, 104)],
}
HELD = {"as they come": False, "rotated": True}  # how keys are held
GENERATION = {
    "greedy": {},
    "sampling": {"do_sample": True, "top_k": 5},
    "beams": {"num_beams": 3},
    "sampled beams": {"num_beams": 2, "do_sample": True},
    "several": {"do_sample": True, "num_return_sequences": 2},
    "chunks": {"prefill_chunk_size": 9},
}


def close(actual, wanted):
    torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


def read(model, ids, ends, cache, mask=None):
    """Return the logits of a text that is read in chunks into a cache."""
    logits, start = [], 0
    for end in ends:
        seen = None if mask is None else mask[:, :end]
        logits.append(model(ids[:, start:end], attention_mask=seen, past_key_values=cache).logits)
        start = end
    return torch.cat(logits, dim=1)


def small(model, *, rotated=False):
    return WindowCache(model.base_model.attached.method.pattern, rotation_of(model) if rotated else None)


def every_key(model):
    return RotatedCache(rotation_of(model))
