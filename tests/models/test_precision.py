"""Methods in half precision, under autocast and in sharded mixed precision."""

import pytest
import torch
from support.cache_inputs import IDS, TOKENS
from support.chunked_reading import CHUNKS_MATTER, frequencies, in_chunks
from support.pairs import pairs
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from lcx_lightning.attention.dispatch import attend
from lcx_lightning.methods.library import methods
from lcx_lightning.models.families import FAMILIES


def off_by(logits, wanted):
    """Return the error of logits as a share of them."""
    return float((logits.float() - wanted).detach().norm() / wanted.detach().norm())


@pytest.mark.parametrize(("dtype", "name"), pairs([torch.bfloat16, torch.float16], methods(), meets=1))
@torch.no_grad()
def test_a_model_in_half_precision_stays_one_and_is_as_exact_as_the_stock_model_there(tiny, extended, name, dtype):
    model = extended(name).to(dtype)
    model.model.attached.method.float()
    logits = model(IDS).logits
    assert logits.dtype == dtype
    assert frequencies(model, TOKENS).dtype == torch.float32
    rounding = off_by(tiny().to(dtype)(IDS).logits, tiny()(IDS).logits)
    assert off_by(logits, extended(name)(IDS).logits) < 1.2 * rounding


@pytest.mark.parametrize(
    ("family", "name"),
    pairs(list(FAMILIES), ["pretrained", "lm_infinite", "self_extend", "log_n", "lm_infinite_top_k"]),
)
def test_autocast_rounds_as_that_of_the_stock_model_in_passes_of_every_kind(tiny, extended, name, family):
    """Under it values are of the lower precision, and queries and keys that were normed or turned are not."""
    model, stock = extended(name, family).train(), tiny(family).train()
    exact, stock_exact = model(IDS, labels=IDS), stock(IDS, labels=IDS)
    with torch.autocast("cpu", torch.bfloat16):
        whole, stock_whole = model(IDS, labels=IDS), stock(IDS, labels=IDS)
        with torch.no_grad():
            last = in_chunks(model, IDS, [60, TOKENS - 1, TOKENS])[:, -1]
    rounding = off_by(stock_whole.logits, stock_exact.logits)
    assert off_by(whole.logits, exact.logits) < 1.5 * rounding
    if name not in CHUNKS_MATTER:
        assert off_by(last, exact.logits[:, -1]) < 2 * rounding
    whole.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("name", "family"), [("yarn", "llama"), ("yarn", "stablelm"), ("clex", "llama"), ("lm_infinite", "llama")]
)
def test_sharded_mixed_precision_leaves_the_frequencies_alone(extended, name, family, monkeypatch, group):
    seen = []

    def watched(q, k, v, forward_pass, *rest):
        rope = forward_pass.rope
        seen.append((q.dtype, rope.inv_freq, rope.key_tables[0].cos))
        return attend(q, k, v, forward_pass, *rest)

    model = extended(name, family)
    monkeypatch.setattr("lcx_lightning.models.hooks.attend", watched)
    wanted = model.model.attached.method.rope(torch.ones(1, TOKENS, dtype=torch.bool), TOKENS)
    mesh = init_device_mesh("cpu", (1,))
    if name == "clex":
        fully_shard(model.model.attached.method.scaling, mesh=mesh)  # a group of its own, in float32
    for module in [*model.model.layers, model]:
        fully_shard(module, mesh=mesh, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    model(IDS, labels=IDS).loss.backward()
    assert len(seen) == 2
    for dtype, inv_freq, cos in seen:
        assert dtype == torch.bfloat16
        assert torch.equal(inv_freq, wanted.inv_freq)
        assert torch.equal(cos, wanted.key_tables[0].cos)
