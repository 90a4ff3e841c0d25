"""Draw who sees whom under a method's pattern, as text: `python examples/draw_mask.py self_extend`."""

import sys

import torch

from lcx_lightning.methods import build_method, read_method
from lcx_lightning.methods.overrides import open_values, with_values
from lcx_lightning.scaling import RopeSpec

SPEC = RopeSpec(dim=16, base=10_000.0, pretrain_length=12)
FACTORS = {"factor": 4, "train_factor": 1}


def mask(name: str, tokens: int = 36) -> torch.Tensor:
    """Return the distance at which each pair of query and key is rotated, -1 where the query does not see the key."""
    config = read_method(name)
    config = with_values(config, SPEC.pretrain_length, {k: FACTORS[k] for k in open_values(config)})
    index = torch.arange(tokens)
    distances = torch.full((tokens, tokens), -1.0)
    for band in build_method(config, SPEC).pattern.bands():
        rotated = band.query_at(index)[:, None] - band.key_at(index)[None]
        distances = torch.where(band.visible(index[:, None], index[None]), rotated.float(), distances)
    return distances


def main(name: str = "lm_infinite") -> None:
    """Print a row for each query: the rotated distance in base 36, a dot where the key is not seen."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    for query, row in enumerate(mask(name).tolist()):
        print("".join("." if distance < 0 else digits[int(distance)] for distance in row[: query + 1]))


if __name__ == "__main__":
    main(*sys.argv[1:2])
