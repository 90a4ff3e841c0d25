"""Context parallelism: the ranks of a mesh share every text that a model reads (arXiv:2407.21783, section 3.3.2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, distributed

from lcx_lightning.distributed.key_exchange import ContextShard, local_slice
from lcx_lightning.methods.patterns.base import Pattern
from lcx_lightning.models.attached import Attached, attached, has_method

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def split_texts(model: Any, mesh: "DeviceMesh") -> Any:
    """Make the ranks of a mesh share every text that `model` reads, and return `model`.

    Every rank calls the model with the token ids, and the attention mask, of whole texts, and is given hidden states
    and logits of its own tokens, as `share_of` says. Gradients of the mean loss of these are averaged over the ranks as
    those of data are, each weighed as `own_targets` says. Texts are read at once, without a cache. A mesh of one rank
    splits nothing.

    Args:
        model: With a method attached.
        mesh: Of one dimension, its ranks in the order of the text.

    Raises:
        ValueError: If the model has no method, its pattern cannot be split, or the mesh has several dimensions. In a
            forward pass, if there is a cache, or a text has fewer than two tokens for each rank.
    """
    own = attached(model)
    if mesh.ndim != 1:
        raise ValueError(f"Texts are split over a mesh of one dimension, and this one has {mesh.ndim}: name one of it.")
    check_split(own.method.pattern, None, mesh.size())
    own.mesh = mesh if mesh.size() > 1 else None
    return model


@contextmanager
def whole_texts(model: Any) -> Iterator[None]:
    """Let every rank read whole texts inside this context, whether or not they are split: all read the same ones."""
    own = attached(model)
    mesh, own.mesh = own.mesh, None
    try:
        yield
    finally:
        own.mesh = mesh


def check_split(pattern: Pattern, tokens: int | None, ranks: int) -> None:
    """Raise a ValueError if texts cannot be split over `ranks` ranks under a pattern.

    Args:
        pattern: What queries see.
        tokens: Of a text, None if that is not known yet.
        ranks: One splits nothing.
    """
    if ranks > 1 and pattern.selection() is not None:
        raise ValueError(
            f"{type(pattern).__name__} cannot be split over ranks: the last query chooses among all keys of its text. "
            "Use a pattern of bands alone, as lm_infinite, or one rank."
        )
    if ranks > 1 and tokens is not None:
        local_slice(tokens, 0, ranks)


def shard_for(own: Attached, valid: Bool[Tensor, "rows tokens"], cache: object) -> ContextShard | None:
    """Return what this rank holds of the texts of a pass, None where they are not split.

    Args:
        own: What is attached to the model.
        valid: Mask of the whole texts, False on padding.
        cache: Cache of the pass, or None.
    """
    if own.mesh is None:
        return None
    if cache is not None:
        raise ValueError(
            f"A text that {own.mesh.size()} ranks share is read at once, without a cache: pass past_key_values=None."
        )
    bands = own.method.pattern.bands()
    rank, ranks, group = own.mesh.get_local_rank(), own.mesh.size(), own.mesh.get_group()
    return ContextShard(rank, ranks, bands=bands, valid=valid, group=group)


def own_targets(model: Any, ids: Int[Tensor, "rows tokens"]) -> tuple[Int[Tensor, "rows targets"], float]:
    """Return the tokens that this rank's hidden states predict, and the weight of the mean of their losses.

    The mean over the ranks of these means times their weights is the mean over the texts. The hidden state of the last
    token of a text predicts nothing.
    """
    mesh = _mesh_of(model)
    if mesh is None:
        return ids[:, 1:], 1.0
    own = ids[:, 1:][:, local_slice(ids.shape[1], mesh.get_local_rank(), mesh.size())]
    return own, mesh.size() * own.shape[1] / (ids.shape[1] - 1)


@torch.no_grad()
def of_all_ranks(
    model: Any, losses: Float[Tensor, "rows targets"], ids: Int[Tensor, "rows tokens"]
) -> Float[Tensor, "rows tokens-1"]:
    """Return the losses of whole texts, on every rank, of each rank's losses of its `own_targets`."""
    mesh = _mesh_of(model)
    if mesh is None:
        return losses
    whole = losses.new_zeros(len(ids), ids.shape[1] - 1)
    whole[:, local_slice(ids.shape[1], mesh.get_local_rank(), mesh.size())] = losses
    distributed.all_reduce(whole, group=mesh.get_group())
    return whole


def _mesh_of(model: Any) -> "DeviceMesh | None":
    """Return the ranks that share every text of a model, with a method or without; None: they are not split."""
    return attached(model).mesh if has_method(model) else None
