"""Documents of letters, and attention written out pair by pair."""

import torch
from support.losses_by_hand import Letters
from support.text_corpora import CORPUS_ONLY, Books

from lcx_lightning.data.corpora.base import SPLITS
from lcx_lightning.data.dataset import LongContextData

LENGTH = 32  # tokens, pretraining length


def letters(length=400):
    """Return data of three documents a split, no two equal letters within 59: largest keys are never a draw."""
    text = ["".join(chr(65 + (7 * i + 5 * d * i + d) % 59) for i in range(length)) for d in range(3)]
    return LongContextData(Books(**dict.fromkeys(SPLITS, text)), Letters(), CORPUS_ONLY)


def unrotated(model, ids):
    """Return by layer queries and keys of a Llama, [rows, heads, tokens, features], from its projections."""
    found, width = [], model.config.hidden_size // model.config.num_attention_heads
    for layer in model.base_model.layers:
        parts = {}
        for name in ("q_proj", "k_proj"):
            projection = getattr(layer.self_attn, name)

            def keep(module, given, out, name=name, parts=parts):
                parts[name] = out.detach().unflatten(-1, (-1, width)).transpose(1, 2).double()

            parts[name + " hook"] = projection.register_forward_hook(keep)
        found.append(parts)
    with torch.no_grad():
        model.base_model(input_ids=ids, use_cache=False)
    for parts in found:
        parts["q_proj hook"].remove()
        parts["k_proj hook"].remove()
    shared = model.config.num_attention_heads // model.config.num_key_value_heads
    return [(parts["q_proj"], parts["k_proj"].repeat_interleave(shared, dim=1)) for parts in found]


def at_distances(q, k, distance, inv_freq):
    """Return q . R(distance) k of every pair, [rows, heads, queries, keys]: the real part of sums of products."""
    pairs = len(inv_freq)
    q, k = (torch.complex(x[..., :pairs], x[..., pairs : 2 * pairs]) for x in (q, k))
    turned = torch.exp(1j * distance[..., None] * inv_freq)
    return torch.einsum("bhqp,bhkp,qkp->bhqk", q, k.conj(), turned).real


def dense_logits(model, q, k, depth):
    """Return the logits of all pairs under the method of a model, -inf where a key is not seen."""
    method, tokens, scale = model.base_model.attached.method, q.shape[2], q.shape[-1] ** -0.5
    rope = method.rope(torch.ones(1, tokens, dtype=torch.bool), tokens)
    place, position = rope.key_index[0], rope.key_pos[0]
    scale = scale * float(rope.feature_scale[0]) ** 2

    def over(band):
        apart = band.query_at(position)[:, None] - band.key_at(position)[None, :]
        return band.visible(place[:, None], place), at_distances(q, k, apart, rope.inv_freq[0].double()) * scale

    logits = torch.full((*q.shape[:3], tokens), -torch.inf, dtype=torch.float64)
    for band in rope.bands:
        seen, found = over(band)
        logits = torch.where(seen, found, logits)
    chosen = rope.selection
    if chosen is not None and depth > chosen.first_layer:
        seen, found = over(chosen.candidates)
        for row in range(len(q)):
            for head in range(q.shape[1]):
                of_last = found[row, head, -1].masked_fill(~seen[-1], -torch.inf)
                for key in of_last.argsort(descending=True)[: chosen.tokens]:
                    if seen[-1, key]:
                        logits[row, head, -1, key] = of_last[key]
    return logits if rope.logit_scale is None else logits * rope.logit_scale[:, None, :, None].double()
