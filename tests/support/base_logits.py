"""Logits of the bases that come with the package; run as a script, it stores them for the test to compare with."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from support.lab import composed
from support.made import made

from lcx_lightning.laboratory import bases

STORED = Path(__file__).parents[1] / "laboratory" / "logits.safetensors"
TEXT = "def shape(self):\n    return self._shape  # of the 3 matrices\n"
LAST = 4  # positions whose logits are stored


def logits_of(seed):
    """Return the logits of a base at the last positions of the text, [position, token]."""
    source = made(composed(f"seed={seed}").model.source)
    tokens = source.tokens()
    with torch.no_grad():
        return source.load(None).eval()(torch.tensor([[*tokens.prefix, *tokens.encode(TEXT)]])).logits[0, -LAST:]


if __name__ == "__main__":
    save_file({str(seed): logits_of(seed).contiguous() for seed in bases.seeds()}, STORED)
