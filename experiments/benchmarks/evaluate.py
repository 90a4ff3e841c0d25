"""Perplexity of a long text: a stream with a small cache (StreamingLLM, arXiv:2309.17453) and one pass with banded
attention (LM-Infinite, arXiv:2308.16137) against the stock model."""

from collections.abc import Callable

import torch
from torch import Tensor

from experiments.benchmarks.measure import Comparison, Options, faster, interleaved, peak_bytes, smaller
from experiments.benchmarks.models import llama, random_chunks, with_lambda
from lcx_lightning.evaluation.perplexity.nll import token_losses, token_nll
from lcx_lightning.evaluation.perplexity.streaming import stream_nll

LAYERS, HEADS = 2, 8
SEEN, STRIDE = 2048, 512  # tokens: of a window, and of its end that is scored
WINDOWS = f"stock model, windows of {SEEN:,} every {STRIDE}"
WHOLE = "stock model, one pass"


def run(options: Options) -> list[Comparison]:
    """Compare time and peak memory, one row, float32; all score every token but the first."""
    tokens, device = 4096 if options.quick else 16_384, options.device
    stream, once = f"Lambda, stream of {tokens:,} tokens", f"Lambda, one pass of {tokens:,} tokens"
    prepare = {stream: streamed, once: in_one_pass, WINDOWS: in_windows, WHOLE: stock_in_one_pass}
    seconds = interleaved({name: make(tokens, device) for name, make in prepare.items()}, options.repeats, device)
    peaks = {name: peak_bytes(prepare[name], tokens, device, device=device) for name in (stream, WHOLE)}
    return [
        faster(stream, WINDOWS, seconds, 2),
        faster(once, WHOLE, seconds, 1.5),
        smaller(stream, WHOLE, peaks, 0.25),
    ]


def streamed(tokens: int, device: str) -> Callable[[], Tensor]:
    """Return the losses of a stream, sinks and a window in its cache."""
    model = with_lambda(llama(LAYERS, HEADS, device))
    return lambda: torch.cat([*stream_nll(model, random_chunks(tokens, device))], dim=1)


def in_one_pass(tokens: int, device: str) -> Callable[[], Tensor]:
    """Return the losses of one pass with banded attention."""
    model, ids = with_lambda(llama(LAYERS, HEADS, device)), text(tokens, device)
    return lambda: token_nll(model, ids)


def stock_in_one_pass(tokens: int, device: str) -> Callable[[], Tensor]:
    """Return the losses of one pass of the stock model."""
    model, ids = llama(LAYERS, HEADS, device), text(tokens, device)
    return lambda: token_nll(model, ids)


def in_windows(tokens: int, device: str) -> Callable[[], Tensor]:
    """Return the losses of windows that overlap, of each but the first only those of its last tokens."""
    model, ids = llama(LAYERS, HEADS, device), text(tokens, device)

    @torch.inference_mode()
    def last(window: Tensor) -> Tensor:
        hidden = model.base_model(input_ids=window, use_cache=False).last_hidden_state
        return token_losses(model, hidden[:, -STRIDE - 1 : -1], window[:, -STRIDE:])

    def scored() -> Tensor:
        ends = range(SEEN + STRIDE, tokens + 1, STRIDE)
        return torch.cat([token_nll(model, ids[:, :SEEN]), *(last(ids[:, end - SEEN : end]) for end in ends)], dim=1)

    return scored


def text(tokens: int, device: str) -> Tensor:
    """Return random tokens, [1, tokens]."""
    return torch.cat([*random_chunks(tokens, device)], dim=1)
