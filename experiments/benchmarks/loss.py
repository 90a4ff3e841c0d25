"""The next-token loss of a long batch, in chunks, against all logits at once."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from experiments.benchmarks.measure import Comparison, Options, costs, interleaved, peak_bytes, smaller
from lcx_lightning.models.lm_head import LOGITS
from lcx_lightning.training.loss import chunked_sum

VOCABULARY, FEATURES = 32_768, 256
CHUNKED, PLAIN = "chunked loss", "plain cross entropy"


def run(options: Options) -> list[Comparison]:
    """Compare loss and gradients of hidden states and head: memory above those, and time, of 8k tokens, float32."""
    prepare = {CHUNKED: chunked, PLAIN: plain}
    tokens = 1024 if options.quick else 8192
    peaks = {name: peak_bytes(make, tokens, options.device, device=options.device) for name, make in prepare.items()}
    calls: dict[str, Callable[[], object]] = {name: make(tokens, options.device) for name, make in prepare.items()}
    seconds = interleaved(calls, options.repeats, options.device)
    return [smaller(CHUNKED, PLAIN, peaks, 0.2), costs(CHUNKED, PLAIN, seconds, 1.1)]


def chunked(tokens: int, device: str) -> Callable[[], None]:
    """Return our loss, forward and backward."""
    hidden, weight, targets = inputs(tokens, device)

    def total(hidden: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(linear(hidden, weight), targets, reduction="sum")

    def loss() -> Tensor:
        return chunked_sum(total, hidden, targets, [weight], LOGITS // VOCABULARY) / tokens

    return lambda: differentiate(loss(), hidden, weight)


def plain(tokens: int, device: str) -> Callable[[], None]:
    """Return the loss of all logits, forward and backward."""
    hidden, weight, targets = inputs(tokens, device)
    return lambda: differentiate(cross_entropy(linear(hidden, weight), targets), hidden, weight)


def differentiate(loss: Tensor, *of: Tensor) -> None:
    """Take the gradient, and let it go."""
    torch.autograd.grad(loss, of)


def inputs(tokens: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return random hidden states, head and targets."""
    generator = torch.Generator(device).manual_seed(0)
    hidden = torch.randn(tokens, FEATURES, generator=generator, device=device)
    weight = torch.randn(VOCABULARY, FEATURES, generator=generator, device=device) * FEATURES**-0.5
    targets = torch.randint(VOCABULARY, (tokens,), generator=generator, device=device)
    return hidden.requires_grad_(), weight.requires_grad_(), targets
