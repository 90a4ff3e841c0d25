"""Context parallelism: the ranks of a mesh share every text that a model reads (arXiv:2407.21783, section 3.3.2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, distributed

from lcx_lightning.attention.share import Share, share_of
from lcx_lightning.patterns.base import Pattern

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
    base = model.base_model
    if not hasattr(base, "method"):
        raise ValueError("The model has no method, so its texts cannot be split: attach one first.")
    if mesh.ndim != 1:
        raise ValueError(f"Texts are split over a mesh of one dimension, and this one has {mesh.ndim}: name one of it.")
    check_split(base.method.pattern, None, mesh.size())
    if mesh.size() > 1:
        vars(base)["alone"], vars(base)["context"] = vars(model).get("generate"), mesh
        vars(model)["generate"] = _refuse_to_generate
    return model


@contextmanager
def whole_texts(model: Any) -> Iterator[None]:
    """Let every rank read whole texts inside this context, whether or not they are split: all read the same ones."""
    base = model.base_model
    mesh = vars(base).pop("context", None)
    if mesh is None:
        yield
        return
    del vars(model)["generate"]
    if vars(base)["alone"] is not None:
        vars(model)["generate"] = vars(base)["alone"]
    try:
        yield
    finally:
        vars(base)["context"], vars(model)["generate"] = mesh, _refuse_to_generate


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
        share_of(tokens, 0, ranks)


def _refuse_to_generate(*_: object, **__: object) -> None:
    raise ValueError("A model whose texts are split over ranks does not generate: load it on each rank for itself.")


def share_for(base: Any, valid: Bool[Tensor, "rows tokens"], cache: object) -> Share | None:
    """Return what this rank holds of the texts of a pass, None where they are not split.

    Args:
        base: Model whose texts may be split.
        valid: Of the whole texts, False on padding.
        cache: Of the pass.
    """
    mesh = vars(base).get("context")
    if mesh is None:
        return None
    if cache is not None:
        raise ValueError(
            f"A text that {mesh.size()} ranks share is read at once, without a cache: pass past_key_values=None."
        )
    bands = base.method.pattern.bands()
    return Share(mesh.get_local_rank(), mesh.size(), bands=bands, valid=valid, group=mesh.get_group())


def own_targets(model: Any, ids: Int[Tensor, "rows tokens"]) -> tuple[Int[Tensor, "rows targets"], float]:
    """Return the tokens that this rank's hidden states predict, and the weight of the mean of their losses.

    The mean over the ranks of these means times their weights is the mean over the texts. The hidden state of the last
    token of a text predicts nothing.
    """
    mesh = vars(model.base_model).get("context")
    if mesh is None:
        return ids[:, 1:], 1.0
    own = ids[:, 1:][:, share_of(ids.shape[1], mesh.get_local_rank(), mesh.size())]
    return own, mesh.size() * own.shape[1] / (ids.shape[1] - 1)


@torch.no_grad()
def of_all_ranks(
    model: Any, losses: Float[Tensor, "rows targets"], ids: Int[Tensor, "rows tokens"]
) -> Float[Tensor, "rows tokens-1"]:
    """Return the losses of whole texts, on every rank, of each rank's losses of its `own_targets`."""
    mesh = vars(model.base_model).get("context")
    if mesh is None:
        return losses
    whole = losses.new_zeros(len(ids), ids.shape[1] - 1)
    whole[:, share_of(ids.shape[1], mesh.get_local_rank(), mesh.size())] = losses
    distributed.all_reduce(whole, group=mesh.get_group())
    return whole
