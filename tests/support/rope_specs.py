"""Two rotary embeddings to scale, and the frequencies at one factor."""

import torch

from lcx_lightning.methods.scaling.base import RopeSpec

LLAMA2 = RopeSpec(dim=128, base=10_000.0, pretrain_length=4096)
SMALL = RopeSpec(dim=64, base=10_000.0, pretrain_length=4096)


def at(scaling, factor):
    return scaling(torch.tensor([float(factor)]))[0].detach()
