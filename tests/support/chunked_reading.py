"""Ways to read a text: padded, token by token, in chunks; and the frequencies that it is read with."""

import torch

CHUNKS_MATTER = {"lm_infinite_top_k"}  # by definition: the last query of a pass chooses what it sees besides


def pad(ids, left, right):
    """Return ids with padding around them, and their attention mask."""
    widths = (left, right)
    return (torch.nn.functional.pad(x, widths) for x in (ids, torch.ones_like(ids)))


def token_by_token(model, ids):
    cache, logits = None, []
    for i in range(ids.shape[1]):
        out = model(ids[:, i : i + 1], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        logits.append(out.logits)
    return torch.cat(logits, dim=1)


def in_chunks(model, ids, ends, mask=None):
    """Return the logits of a text that is read in chunks, into one cache."""
    cache, logits, start = None, [], 0
    for end in ends:
        seen = None if mask is None else mask[:, :end]
        out = model(ids[:, start:end], attention_mask=seen, past_key_values=cache, use_cache=True)
        cache, start = out.past_key_values, end
        logits.append(out.logits)
    return torch.cat(logits, dim=1)


def is_static(model, length):
    """Return whether no length up to `length` changes the frequencies."""
    return torch.equal(frequencies(model, 1), frequencies(model, length))


def frequencies(model, length):
    return model.base_model.attached.method.rope(torch.ones(1, length, dtype=torch.bool), 1).inv_freq
