"""Next-token loss computed in chunks, never holding all logits of a long batch (as Liger Kernel, arXiv:2410.10989)."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.nn.functional import cross_entropy

from lcx_lightning.models import lm_head
from lcx_lightning.models.context_parallel import local_targets

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNKED_LOSS = "loss_in_chunks"  # attribute of a sharded model under which FSDP knows the loss


def next_token_loss(model: "PreTrainedModel", ids: Int[Tensor, "rows tokens"], **given: Any) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood of every token after the first, in nats, float32.

    Logits that fit into memory are computed at once, by the model itself. If ranks share the texts, the result is the
    mean over this rank's tokens, weighted so that the mean over ranks is that of the texts; so are the gradients.

    Args:
        model: Model with or without a method.
        ids: Token ids.
        given: Further arguments of the model.
    """
    chunk = max(1, lm_head.LOGITS // model.config.vocab_size)
    if ids.numel() <= chunk:
        targets, weight = local_targets(model, ids)
        logits = model(input_ids=ids, use_cache=False, **given).logits
        return weight * cross_entropy(logits[:, : targets.shape[1]].float().flatten(0, 1), targets.flatten())
    return vars(model).get(CHUNKED_LOSS, partial(_loss_in_chunks, model))(ids, chunk, given)


def register_chunked_loss(model: "PreTrainedModel") -> None:
    """Let FSDP gather the parameters of `model` around its chunked loss, as it does around its forward pass."""
    setattr(model, CHUNKED_LOSS, partial(_loss_in_chunks, model))
    register_fsdp_forward_method(model, CHUNKED_LOSS)


def _loss_in_chunks(
    model: "PreTrainedModel", ids: Int[Tensor, "rows tokens"], chunk: int, given: dict[str, Any]
) -> Float[Tensor, ""]:
    targets, weight = local_targets(model, ids)
    hidden = model.base_model(input_ids=ids, use_cache=False, **given).last_hidden_state
    hidden, targets = hidden[:, : targets.shape[1]].flatten(0, 1), targets.flatten()

    def total(hidden: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(lm_head.logits_of(model, hidden), targets, reduction="sum")

    module = model.get_output_embeddings()
    assert module is not None
    return weight * chunked_sum(total, hidden, targets, list(module.parameters()), chunk) / len(targets)


def chunked_sum(
    total: Callable[[Tensor, Tensor], Tensor],
    hidden: Float[Tensor, "tokens features"],
    targets: Int[Tensor, " tokens"],
    parameters: list[Tensor],
    chunk: int,
) -> Float[Tensor, ""]:
    """Return total(hidden, targets), a sum over tokens, computed from `chunk` tokens at a time.

    The gradients are computed together with the sum, chunk by chunk, so that the memory of a chunk is free when the
    next one begins; the backward pass can therefore be called once only. Gradients of `parameters` are accumulated in
    float32. torch's own chunked loss is 4% off in bfloat16 on CPU, has no logit scale and no soft cap, and is new in
    2.13.

    Args:
        total: Function that returns the sum of the losses of some tokens.
        hidden: Hidden state of each token.
        targets: Target id of each token.
        parameters: All tensors with gradients that `total` uses, apart from its arguments.
        chunk: Number of tokens in a chunk.
    """
    out = _ChunkedSum.apply(total, hidden, targets, chunk, torch.is_grad_enabled(), *parameters)
    assert isinstance(out, Tensor)
    return out


class _ChunkedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        total: Callable[[Tensor, Tensor], Tensor],
        hidden: Tensor,
        targets: Tensor,
        chunk: int,
        differentiable: bool,
        *parameters: Tensor,
    ) -> Tensor:
        tensors, needed = [hidden, *parameters], [ctx.needs_input_grad[1], *ctx.needs_input_grad[5:]]
        wanted = [i for i, need in enumerate(needed) if need and differentiable]
        sums = {i: torch.zeros_like(tensors[i], dtype=torch.float32) for i in wanted}
        value = hidden.new_zeros((), dtype=torch.float32)
        for begin in range(0, len(hidden), chunk):
            part = slice(begin, begin + chunk)
            with torch.set_grad_enabled(bool(wanted)):
                tensors[0] = hidden[part].detach().requires_grad_(0 in wanted)
                loss = total(tensors[0], targets[part])
            value += loss.detach()
            found = torch.autograd.grad(loss, [tensors[i] for i in wanted], materialize_grads=True) if wanted else ()
            for i, gradient in zip(wanted, found, strict=True):
                (sums[0][part] if i == 0 else sums[i]).add_(gradient)
        ctx.gradients = [sums[i].to(x.dtype) if i in sums else None for i, x in enumerate(tensors)]
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if ctx.gradients is None:
            raise RuntimeError("The gradient of this loss can be taken once, and was taken already: compute it again.")
        of_hidden, *of_parameters = (None if x is None else x.mul_(grad) for x in ctx.gradients)
        ctx.gradients = None
        return None, of_hidden, None, None, None, *of_parameters
