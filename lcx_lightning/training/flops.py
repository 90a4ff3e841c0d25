"""Model FLOPs of a text, for matrices and for the pairs in a pattern (PaLM, arXiv:2204.02311, appendix B)."""

from typing import TYPE_CHECKING

import torch

from lcx_lightning.methods.patterns.base import Band, Pattern
from lcx_lightning.methods.rope_views import clip_bands
from lcx_lightning.models.rope_spec import layer_windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STEP = 3  # forward and backward passes: the gradients of the two factors of a product cost as much as the product each


def forward_flops(model: "PreTrainedModel", pattern: Pattern, tokens: int) -> int:
    """Return the multiplications and additions of one forward pass over a text; a training step has 3 times as many.

    There are 2 for each token and parameter of a matrix, and 4 head_dim for each head and pair in the pattern: queries
    times keys, and weights times values. The paper counts n^2 pairs for n tokens; we count those that are seen,
    n (n + 1) / 2 under dense attention. As in the paper, softmax, norms and recomputation are not counted; nor are
    rotation, the ODE of a learned scaling and selected keys.

    Args:
        model: Model with or without a method, on any device.
        pattern: Pattern of its attention.
        tokens: Length of the text in tokens.
    """
    config = model.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    windows = layer_windows(config)
    pairs = {window: visible_pairs(pattern.bands(), tokens, window) for window in set(windows)}
    attended = sum(pairs[window] for window in windows)
    return 2 * matrix_parameters(model) * tokens + 4 * config.num_attention_heads * head_dim * attended


def step_flops(model: "PreTrainedModel", pattern: Pattern, tokens: int) -> int:
    """Return the FLOPs of a training step on a text, as in `forward_flops`; frozen matrices need no gradient."""
    return STEP * forward_flops(model, pattern, tokens) - 2 * tokens * matrix_parameters(model, frozen=True)


def matrix_parameters(model: "PreTrainedModel", *, frozen: bool = False) -> int:
    """Return the number of parameters that every token is multiplied by: not embeddings, and only active experts.

    Args:
        model: Model of any kind.
        frozen: Whether to count only frozen parameters.
    """
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    embeddings, head = (None if module is None else module.weight for module in ends)
    config = model.config
    experts = getattr(config, "num_local_experts", None)
    share = config.num_experts_per_tok / experts if experts else 1.0
    total = 0
    for name, parameter in model.named_parameters():
        if ".method." in name or parameter.ndim < 2 or (parameter is embeddings and parameter is not head):
            continue
        if frozen and parameter.requires_grad:
            continue
        total += round(parameter.numel() * (share if parameter.ndim == 3 else 1.0))
    return total


def visible_pairs(bands: list[Band], tokens: int, window: int | None = None) -> int:
    """Return the number of pairs in disjoint bands over a text of `tokens` tokens, within a native window if given."""
    query = torch.arange(tokens)
    bands = bands if window is None else clip_bands(bands, window)
    return sum(int(band.keys_seen(query).sum()) for band in bands)
