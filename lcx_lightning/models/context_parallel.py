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
    """Return `model`, changed in place so that the ranks of a mesh share every text that it reads.

    Every rank calls the model with the token ids, and the attention mask, of whole texts. It gets hidden states and
    logits of its own tokens, those of `local_slice`. Gradients of the mean loss of these are averaged over ranks as in
    data parallelism, each loss with the weight that `local_targets` returns. Texts are read at once, without a cache. A
    mesh of one rank splits nothing.

    Args:
        model: Model with a method attached.
        mesh: Mesh of one dimension, its ranks in the order of the text.

    Raises:
        ValueError: If the model has no method, its pattern cannot be split, or the mesh has several dimensions. Later,
            in a forward pass, if there is a cache, or a text has fewer than two tokens for each rank.
    """
    attachment = attached(model)
    if mesh.ndim != 1:
        raise ValueError(
            f"Texts are split over a mesh of one dimension, and this one has {mesh.ndim}: pass one of its dimensions, "
            "mesh[NAME]."
        )
    check_split(attachment.method.pattern, None, mesh.size())
    attachment.mesh = mesh if mesh.size() > 1 else None
    return model


@contextmanager
def whole_texts(model: Any) -> Iterator[None]:
    """Let every rank read whole texts inside this context, even if texts are split outside; all read the same ones."""
    attachment = attached(model)
    mesh, attachment.mesh = attachment.mesh, None
    try:
        yield
    finally:
        attachment.mesh = mesh


def check_split(pattern: Pattern, tokens: int | None, ranks: int) -> None:
    """Raise a ValueError if texts cannot be split over `ranks` ranks under a pattern.

    Args:
        pattern: Pattern of the method.
        tokens: Length of a text in tokens, or None if not known yet.
        ranks: Number of ranks that share a text; one rank splits nothing.
    """
    if ranks > 1 and pattern.selection() is not None:
        raise ValueError(
            f"{type(pattern).__name__} cannot be split over ranks: the last query selects from all keys of its text. "
            "Use a pattern without selection, such as that of lm_infinite, or one rank."
        )
    if ranks > 1 and tokens is not None:
        local_slice(tokens, 0, ranks)


def shard_for(attachment: Attached, valid: Bool[Tensor, "rows tokens"], cache: object) -> ContextShard | None:
    """Return this rank's shard of the texts of a pass, or None if texts are not split.

    Args:
        attachment: The `Attached` of the model.
        valid: Mask of the whole texts, False on padding.
        cache: Cache of the pass, or None.
    """
    if attachment.mesh is None:
        return None
    if cache is not None:
        raise ValueError(
            f"A text that {attachment.mesh.size()} ranks share is read at once, without a cache: pass "
            "past_key_values=None."
        )
    bands = attachment.method.pattern.bands()
    rank, ranks, group = attachment.mesh.get_local_rank(), attachment.mesh.size(), attachment.mesh.get_group()
    return ContextShard(rank, ranks, bands=bands, valid=valid, group=group)


def local_targets(model: Any, ids: Int[Tensor, "rows tokens"]) -> tuple[Int[Tensor, "rows targets"], float]:
    """Return the tokens that this rank's hidden states predict, and the weight of their mean loss.

    The mean over all ranks of weight times mean loss is the mean loss of the texts. The hidden state of the last token
    of a text predicts nothing.
    """
    mesh = _mesh_of(model)
    if mesh is None:
        return ids[:, 1:], 1.0
    targets = ids[:, 1:][:, local_slice(ids.shape[1], mesh.get_local_rank(), mesh.size())]
    return targets, mesh.size() * targets.shape[1] / (ids.shape[1] - 1)


@torch.no_grad()
def gather_losses(
    model: Any, losses: Float[Tensor, "rows targets"], ids: Int[Tensor, "rows tokens"]
) -> Float[Tensor, "rows tokens-1"]:
    """Return the losses of whole texts, on every rank, from each rank's losses of its `local_targets`."""
    mesh = _mesh_of(model)
    if mesh is None:
        return losses
    whole = losses.new_zeros(len(ids), ids.shape[1] - 1)
    whole[:, local_slice(ids.shape[1], mesh.get_local_rank(), mesh.size())] = losses
    distributed.all_reduce(whole, group=mesh.get_group())
    return whole


def _mesh_of(model: Any) -> "DeviceMesh | None":
    """Return the mesh of the ranks that share every text of a model, or None if texts are not split."""
    return attached(model).mesh if has_method(model) else None
