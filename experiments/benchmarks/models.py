"""Models with random weights, and random tokens, for benchmarks."""

from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from lcx_lightning.models.attach import attach

DIM = 64  # features of a head
VOCABULARY = 4096  # with 32,000 the head would be most of so small a model
WINDOW, SINK_TOKENS = 512, 10
CHUNK = 1024  # tokens of a pass over a prompt or a stream


def llama(
    layers: int, heads: int, device: str, *, dim: int = DIM, vocabulary: int = VOCABULARY, attention: str = "sdpa"
) -> PreTrainedModel:
    """Return a Llama with random weights and heads of `dim` features."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=heads * dim,
        intermediate_size=2 * heads * dim + 3 * heads * dim // 4,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        vocab_size=vocabulary,
        max_position_embeddings=4096,
    )
    model = LlamaForCausalLM._from_config(config, attn_implementation=attention).eval()
    return model.to(device)  # pyright: ignore[reportArgumentType]


def with_lambda(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model with LM-Infinite's attention."""
    return attach(model, "lm_infinite", window=WINDOW, sink_tokens=SINK_TOKENS, distance_limit=WINDOW)


def random_chunks(tokens: int, device: str) -> Iterator[Tensor]:
    """Yield random tokens, chunk by chunk."""
    generator = torch.Generator(device).manual_seed(0)
    for start in range(0, tokens, CHUNK):
        yield torch.randint(VOCABULARY, (1, min(CHUNK, tokens - start)), generator=generator, device=device)
