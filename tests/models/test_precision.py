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
from lcx_lightning.models.attach import attach, detach
from lcx_lightning.models.families import FAMILIES


def off_by(logits, wanted):
    """Return the error of logits as a share of them."""
    return float((logits.float() - wanted).detach().norm() / wanted.detach().norm())


@pytest.mark.parametrize(("dtype", "name"), pairs([torch.bfloat16, torch.float16], methods(), meets=1))
@torch.no_grad()
def test_a_model_in_half_precision_stays_one_and_is_as_exact_as_the_stock_model_there(tiny, extended, name, dtype):
    model = extended(name).to(dtype)
    logits = model(IDS).logits
    assert logits.dtype == dtype
    assert frequencies(model, TOKENS).dtype == torch.float32
    rounding = off_by(tiny().to(dtype)(IDS).logits, tiny()(IDS).logits)
    assert off_by(logits, extended(name)(IDS).logits) < 1.2 * rounding


CASTS = {
    "bfloat16": lambda model: model.bfloat16(),
    "half": lambda model: model.half(),
    "double": lambda model: model.double(),
    "to a precision": lambda model: model.to(torch.bfloat16),
    "to a device and a precision": lambda model: model.to("cpu", dtype=torch.float16),
    "down and up": lambda model: model.bfloat16().float(),
    "of the base alone": lambda model: model.base_model.half() and model.to(torch.float16),
    "of the method": lambda model: model.model.attached.method.half().double() and model,
}


def learn(model):
    """Give a learned scaling weights that bfloat16 does not hold."""
    torch.manual_seed(3)
    for weight in model.base_model.attached.method.parameters():
        weight.data = weight.data + 0.1 * torch.randn_like(weight)
    return model


@pytest.mark.parametrize(("cast", "name"), pairs(list(CASTS), methods(), meets=1))
def test_a_cast_of_a_model_with_a_method_is_that_of_the_model_before(tiny, extended, name, cast):
    model, before = learn(extended(name)), learn(extended(name))
    state = before.model.attached.state_dict()
    cast_first = CASTS[cast](attach(tiny(), "pretrained"))
    ours = attach(detach(cast_first), before.model.attached.method)
    model = CASTS[cast](model)
    assert model.dtype == ours.dtype
    assert torch.equal(model(IDS).logits, ours(IDS).logits)
    assert {k: v.dtype for k, v in model.model.attached.method.state_dict().items()} == dict.fromkeys(
        (k.removeprefix("method.") for k in state if k.startswith("method.")), torch.float32
    )
    assert all(torch.equal(v, state[k]) for k, v in model.model.attached.state_dict().items() if "method." in k)


@pytest.mark.parametrize("cast", [cast for cast in CASTS if cast != "of the method"])
def test_a_learned_scaling_is_trained_saved_and_loaded_after_a_cast(extended, cast):
    model = CASTS[cast](learn(extended("clex")))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = frequencies(model.eval(), TOKENS)
    model.train()(IDS, labels=IDS, placement_seed=1).loss.backward()
    optimizer.step()
    assert all(p.grad.dtype == p.dtype for p in model.parameters())
    assert not torch.equal(frequencies(model.eval(), TOKENS), before)
    other = CASTS[cast](extended("clex"))
    other.load_state_dict(model.state_dict())
    assert torch.equal(frequencies(other, TOKENS), frequencies(model, TOKENS))
    assert torch.equal(other(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("name", ["clex", "longrope", "pi"])
def test_a_model_that_loses_its_weights_and_gets_them_again_has_its_method(extended, name):
    model, other = learn(extended(name)), extended(name)
    other.to("meta").to_empty(device="cpu")
    other.load_state_dict(model.state_dict())
    for (path, stale), (_, buffer) in zip(other.named_buffers(), model.named_buffers(), strict=True):
        assert path
        stale.copy_(buffer)  # the stock model's own frequencies are not in its state
    assert torch.equal(other(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ["clex", "longrope", "dynamic_yarn"])
def test_a_method_is_float32_whatever_torch_makes_by_default(extended, build, name, dtype):
    model = learn(extended(name))
    wanted, weights = frequencies(model, TOKENS), model.model.attached.method.state_dict()
    torch.set_default_dtype(dtype)
    try:
        method = build(name, model.model.attached.method.scaling.spec).eval()
        method.load_state_dict(weights)
        model.model.attached.method = method
        found = frequencies(model, TOKENS)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {weight.dtype for weight in method.parameters()} <= {torch.float32}
    torch.testing.assert_close(found, wanted, atol=0, rtol=1e-6)


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
