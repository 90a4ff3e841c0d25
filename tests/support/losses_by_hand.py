"""Losses by hand, and what evaluations are tested on: a tokenizer of letters, and all rows of their pieces."""

import torch
from torch.nn.functional import log_softmax

from lcx_lightning.data.tokenizers import Tokens
from lcx_lightning.evaluation.base import run


class Letters(Tokens):
    """A tokenizer of 60 letters."""

    vocab_size, prefix = 64, (63,)

    def encode(self, text):
        return [ord(c) - ord("A") for c in text]

    def decode(self, ids):
        return "".join(chr(i + ord("A")) for i in ids)


def all_rows(work_units, model, done=lambda row: False):
    return [row for rows in run(work_units, model, done, lambda done, total: None) for row in rows]


def by_hand(model, ids):
    """Return -log p of every token after the first, from all logits at once in float64."""
    with torch.no_grad():
        logs = log_softmax(model(input_ids=ids, use_cache=False).logits.double(), dim=-1)
    return torch.stack([-logs[r, i, ids[r, i + 1]] for r in range(len(ids)) for i in range(ids.shape[1] - 1)]).view(
        len(ids), -1
    )
