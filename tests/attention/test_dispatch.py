"""The implementation of attention is chosen, named, refused where it cannot run, and says what would fit."""

import copy
import weakref

import pytest
import torch

from lcx_lightning.attention.dispatch import BACKENDS, attend, supported_backends
from lcx_lightning.attention.forward_pass import ForwardPass
from lcx_lightning.attention.out_of_memory import bytes_needed
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.rope import Rope
from lcx_lightning.models.attach import attach, backends, detach
from lcx_lightning.models.attached import has_method

TOKENS = 100
IDS = torch.randint(1, 64, (2, TOKENS), generator=torch.Generator().manual_seed(0))


def close(actual, wanted):
    torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


def in_chunks(model, ids, ends):
    """Return the logits of a text that is read in chunks, into one cache."""
    cache, logits, start = None, [], 0
    for end in ends:
        out = model(ids[:, start:end], past_key_values=cache, use_cache=True)
        cache, start = out.past_key_values, end
        logits.append(out.logits)
    return torch.cat(logits, dim=1)


def rope_of(pattern, keys, queries, *, padding=0):
    valid = torch.arange(keys)[None] >= padding
    index = (valid.cumsum(dim=-1) - 1).clamp(min=0)
    return Rope(
        index=index,
        positions=index.double(),
        valid=valid,
        queries=queries,
        inv_freq=torch.ones(1, 1),
        feature_scale=torch.ones(1),
        logit_scale=None,
        bands=pattern.bands(),
    )


# Chosen


@pytest.mark.parametrize("name", ["pretrained", "lm_infinite", "self_extend", "lm_infinite_top_k"])
@torch.no_grad()
def test_a_chosen_implementation_attends_in_every_pass_and_changes_no_logit(tiny, extended, name, monkeypatch):
    wanted, used = extended(name), []
    for other, attends in BACKENDS.items():

        def watched(*args, other=other, attends=attends):
            used.append(other)
            return attends(*args)

        monkeypatch.setitem(BACKENDS, other, watched)
    method = wanted.base_model.attached.method
    for chosen in supported_backends(method.pattern.bands(), "cpu"):
        model = attach(tiny(), copy.deepcopy(method), attention=chosen).eval()
        used.clear()
        close(in_chunks(model, IDS, [90, 99, 100]), in_chunks(wanted, IDS, [90, 99, 100]))
        assert set(used[:6]) == {chosen}
        assert backends(model, TOKENS) == {"prefill": chosen, "decode": chosen}
        detach(model)
        assert not has_method(model)


@pytest.mark.parametrize(
    ("family", "native", "used"),
    [
        ("llama", {}, {"prefill": "dense", "decode": "dense"}),
        ("mistral", {"sliding_window": 20}, {"prefill": "flash_bands", "decode": "blocks"}),
        ("mistral", {"sliding_window": 200}, {"prefill": "dense", "decode": "dense"}),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1},
            {"prefill": "dense and flash_bands", "decode": "blocks and dense"},
        ),
    ],
)
@torch.no_grad()
def test_the_implementations_that_are_named_are_those_that_attend(extended, family, native, used, monkeypatch):
    model, seen = extended("pretrained", family, **native), []
    for name, attends in BACKENDS.items():

        def watched(*args, name=name, attends=attends):
            seen.append(name)
            return attends(*args)

        monkeypatch.setitem(BACKENDS, name, watched)
    cache = model(IDS[:, :-1], use_cache=True).past_key_values
    assert backends(model, TOKENS - 1)["prefill"] == used["prefill"] == " and ".join(sorted(set(seen)))
    seen.clear()
    model(IDS[:, -1:], past_key_values=cache)
    assert backends(model, TOKENS)["decode"] == used["decode"] == " and ".join(sorted(set(seen)))


def test_an_implementation_that_cannot_run_the_pattern_is_refused_and_the_model_is_unchanged(tiny, build, spec):
    model = tiny()
    with pytest.raises(ValueError, match=r"Lambda cannot be computed by dense.*attention=auto, flash_bands, blocks"):
        attach(model, build("lm_infinite", spec), attention="dense")
    with pytest.raises(ValueError, match="no attention backend called 'fast'"):
        attach(model, build("lm_infinite", spec), attention="fast")
    attach(model, build("pretrained", spec), attention="dense")
    native = tiny("mistral", sliding_window=20)
    with pytest.raises(ValueError, match="Causal in layers that natively see 20 tokens cannot be computed by dense"):
        attach(native, build("pretrained", spec), attention="dense")


# Out of memory


@pytest.mark.parametrize("under_grad", [True, False])
def test_an_allocation_that_fails_says_what_it_was_for_and_a_chunk_that_fits(under_grad):
    """A mask of 3 million squared, 9 TB and more, is refused by the operating system at once."""
    tokens = 3_000_000
    rope = rope_of(Causal(), tokens, tokens, padding=1)
    q = k = v = torch.zeros(1, 1, tokens, 2)
    with torch.set_grad_enabled(under_grad), pytest.raises(torch.OutOfMemoryError) as refused:
        attend(q, k, v, ForwardPass(rope), 1.0)
    said = str(refused.value)
    assert "by dense: 3000000 queries to 3000000 keys in 1 rows of 1 heads, over every earlier token" in said
    assert "This takes about 117," in said
    assert "attach a method whose pattern has a window" in said
    chunk = int(said.split("prefill_chunk_size=")[1].split(")")[0])
    assert 0 < chunk < 10_000
    assert "DefaultCPUAllocator" in str(refused.value.__cause__)
    few = rope_of(Causal(), tokens, 2, padding=1)
    assert attend(q[:, :, -2:], k, v, ForwardPass(few), 1.0).isfinite().all()


def test_an_error_of_the_device_is_explained_and_another_one_is_left_alone(monkeypatch):
    qkv, rope = [torch.zeros(2, 3, 50, 2)] * 3, rope_of(Lambda(window=7, sink_tokens=2, distance_limit=7), 50, 50)

    def failing(error):
        def attends(*_):
            raise error

        monkeypatch.setitem(BACKENDS, "flash_bands", attends)
        attend(*qkv, ForwardPass(rope), 1.0)

    said = "by flash_bands: 50 queries to 50 keys in 2 rows of 3 heads, over the last 7 tokens and the first 2 tokens"
    with pytest.raises(torch.OutOfMemoryError, match=f"(?s){said}.*prefill_chunk_size=49"):
        failing(torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(RuntimeError, match=r"^something else$"):
        failing(RuntimeError("something else"))


def test_no_chunk_is_promised_where_none_fits(monkeypatch):
    monkeypatch.setattr("lcx_lightning.attention.out_of_memory.free_bytes", lambda device: 1000)
    qkv, rope = [torch.zeros(1, 1, 50, 2)] * 3, rope_of(Causal(), 50, 50)
    monkeypatch.setitem(BACKENDS, "dense", lambda *_: torch.zeros(10**15))
    with pytest.raises(torch.OutOfMemoryError, match="no chunk of this one fits"):
        attend(*qkv, ForwardPass(rope), 1.0)


@pytest.mark.parametrize("queries", [40, 300, 600])
@pytest.mark.parametrize("implementation", ["dense", "flash_bands", "blocks"])
@torch.no_grad()
def test_the_bytes_that_are_said_to_be_needed_are_about_those_that_are_held(implementation, queries):
    """Those of every new tensor are counted while it lives."""
    tokens = 600
    pattern = Causal() if implementation == "dense" else Lambda(window=200, sink_tokens=4, distance_limit=None)
    rope = rope_of(pattern, tokens, queries)
    q, k, v = (torch.randn(2, h, n, 64) for h, n in ((4, queries), (2, tokens), (2, tokens)))
    with Held() as held:
        BACKENDS[implementation](q, k, v, rope, 0.1)
    assert 0.5 < bytes_needed(implementation, q, k, rope, queries) / held.most < 3


class Held(torch.utils._python_dispatch.TorchDispatchMode):
    """Count the bytes of the tensors that are made here and still referred to: `most` at any time."""

    def __init__(self):
        super().__init__()
        self.alive, self.most = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        for x in torch.utils._pytree.tree_leaves(out):
            if isinstance(x, torch.Tensor):
                storage = x.untyped_storage()
                self.alive[storage.data_ptr()] = (weakref.ref(x), storage.nbytes())
        self.alive = {at: (x, size) for at, (x, size) in self.alive.items() if x() is not None}
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return out
