"""Attach a method to a model and generate: `python examples/attach_and_generate.py [name of a model of the hub]`."""

import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

import lcx_lightning as lcx


def load(name: str | None):
    """Return a model of the hub, or a tiny random Llama that needs no network."""
    if name:
        return AutoModelForCausalLM.from_pretrained(name).eval()
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokens = {"vocab_size": 256, "bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(
        AutoConfig.for_model("llama", max_position_embeddings=64, **sizes, **tokens)
    )


def main(name: str | None = None) -> torch.Tensor:
    """Print what the model generates with LM-Infinite and return the tokens."""
    model = load(name)
    prompt = torch.arange(1, 101)[None]  # beyond the 64 tokens of the tiny model's pretraining
    lcx.attach(model, "lm_infinite", sink_tokens=4)  # its window stays as long as pretraining
    tokens = model.generate(prompt, max_new_tokens=20, do_sample=False)
    lcx.detach(model)  # the stock model again
    print(tokens[0, prompt.shape[1] :].tolist())
    return tokens


if __name__ == "__main__":
    main(*sys.argv[1:2])
