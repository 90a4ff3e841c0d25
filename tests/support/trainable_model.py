"""A model of one layer that learns, and how fast."""

import torch
from omegaconf import OmegaConf

from lcx_lightning.methods.library import build_method, read_method
from lcx_lightning.models.attach import attach
from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.models.sources import EmbeddedModel

RATES = {"matrix_lr": 0.02, "lr": 0.003, "method_lr": 0.01, "betas": (0.9, 0.95)}
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
FROM_BYTES = {"tokenizer": "bytes", "seed": 0, "train": True}  # arguments of an EmbeddedModel that is trained
SOURCE = EmbeddedModel(
    architecture={"model_type": "llama", "vocab_size": 257, "max_position_embeddings": 32, "bos_token_id": 256} | SIZES,
    **FROM_BYTES,
)


def load(name="pretrained"):
    torch.manual_seed(0)
    model = SOURCE.load(None)
    sizes = {"factor": 4, "train_factor": 2, "pretrain_length": 32}
    method = OmegaConf.create(sizes | {"method": read_method(name)}).method
    return attach(model, build_method(method, rope_spec(model.config)))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
