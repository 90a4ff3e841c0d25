"""The shares of a text that ranks hold, and the keys that they hand each other, in one process."""

import pytest
import torch
from support.cache_inputs import MASKS, SHAPES
from support.pairs import pairs

from lcx_lightning.attention.dispatch import attend, backend_of
from lcx_lightning.attention.forward_pass import ForwardPass
from lcx_lightning.attention.reference import attend_reference
from lcx_lightning.distributed import key_exchange as module
from lcx_lightning.distributed.key_exchange import ContextShard, local_slice
from lcx_lightning.methods.patterns.capped import Capped
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.patterns.self_extend import SelfExtend
from lcx_lightning.methods.rope import index_in_text

TOKENS, SCALE = 106, 0.4
SIDES = ["none", "left", "both", "inside"]
PATTERNS = {name: SHAPES[name] for name in ("limit beyond the window", "window", "window of one", "streaming")} | {
    "causal": Causal(),
    "capped": Capped(distance_limit=9),
    "self-extend": SelfExtend(window=9, group=5),
}


def mask_of(side):
    """Return which slots are valid of two rows, or of one for both."""
    slots = torch.arange(TOKENS)
    if side == "inside":
        return torch.stack([slots >= 0, (slots < 4) | (slots >= 60)])
    valid = torch.stack([(slots >= start) & (slots < end) for start, end in MASKS[side]])
    return valid[:1] if side == "none" else valid


def method_of(build, spec, pattern, kind):
    """Return a method with the pattern: of consecutive positions and scaled logits, or of sampled positions."""
    method = build("log_n", spec).eval() if kind == "consecutive" else build("clex", spec).train()
    method.pattern = pattern
    return method


def inputs():
    generator = torch.Generator().manual_seed(0)
    sizes = [(2, 4, TOKENS, 16), (2, 2, TOKENS, 16), (2, 2, TOKENS, 16)]
    return [torch.randn(size, generator=generator).requires_grad_() for size in sizes]


@pytest.fixture
def mail(monkeypatch):
    """A stand-in for the exchange of processes: keys go to later ranks, gradients to earlier ones, so they can wait."""

    class Mail:
        rank, box = 0, {}

        def exchange(self, out, x, received, sent, group=None):
            assert len(x) == sum(sent)
            for to, tokens in enumerate(x.split(sent)):
                self.box[self.rank, to] = tokens.clone()
            assert received[self.rank] == sent[self.rank] == 0
            arrived = [self.box.pop((who, self.rank)) for who, tokens in enumerate(received) if tokens]
            out.copy_(torch.cat([*arrived, x[:0]]))

    mail = Mail()
    monkeypatch.setattr(module.distributed, "all_to_all_single", mail.exchange)
    return mail


def rope_of(method, valid, shard, placement_seed=None):
    """Return the positions of what a rank holds."""
    part = {"visible_keys": shard.visible_keys, "local_tokens": shard.local_tokens}
    return method.rope(valid, TOKENS, placement_seed, **part)


@pytest.mark.parametrize(("pattern", "side", "kind"), pairs(PATTERNS, SIDES, ["consecutive", "sampled"]))
def test_the_shares_of_a_pass_are_the_pass_and_so_are_their_gradients(build, spec, mail, pattern, side, kind):
    method, valid, ranks = method_of(build, spec, pattern, kind), mask_of(side), 3 if kind == "sampled" else 5
    whole, split = inputs(), inputs()
    wanted = attend_reference(*whole, method.rope(valid, TOKENS, 7), SCALE)
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1)) * valid[:, None, :, None]
    (wanted * weight).sum().backward()
    found = []
    for mail.rank in range(ranks):
        shard = ContextShard(mail.rank, ranks, bands=pattern.bands(), valid=valid)
        rope = rope_of(method, valid, shard, 7)
        q, k, v = (x[:, :, shard.local_tokens] for x in split)
        found.append(attend(q, *shard.keys_and_values(k, v), ForwardPass(rope, shard=shard), SCALE))
    seen = valid[:, None, :, None].expand_as(wanted)
    torch.testing.assert_close(torch.cat(found, dim=2)[seen], wanted[seen], atol=1e-5, rtol=1e-5)
    for mail.rank in reversed(range(ranks)):
        own = local_slice(TOKENS, mail.rank, ranks)
        (found[mail.rank] * weight[:, :, own]).sum().backward()
    for ours, theirs in zip(split, whole, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("pattern", "side", "ranks"), pairs(PATTERNS, SIDES, [1, 2, 5]))
def test_a_share_has_the_keys_that_its_queries_see_and_no_others(pattern, side, ranks):
    valid = mask_of(side)
    index = index_in_text(valid)
    pairs = [band.visible(index[:, :, None], index[:, None]) for band in pattern.bands()]
    seen = torch.stack(pairs).any(dim=0) & valid[:, :, None] & valid[:, None]
    for rank in range(ranks):
        shard = ContextShard(rank, ranks, bands=pattern.bands(), valid=valid)
        keys = seen[:, shard.local_tokens].any(dim=1).any(dim=0)
        keys[shard.local_tokens] = True
        assert shard.visible_keys.tolist() == torch.nonzero(keys)[:, 0].tolist()


@pytest.mark.parametrize("tokens", [106, 107, 128])
def test_shares_follow_each_other_and_differ_by_one_token_at_most(tokens):
    shares = [range(tokens)[local_slice(tokens, rank, 7)] for rank in range(7)]
    assert [token for shard in shares for token in shard] == list(range(tokens))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_text_too_short_for_the_ranks_is_refused():
    assert local_slice(8, 3, 4) == slice(6, 8)
    with pytest.raises(ValueError, match="over 4 ranks from 8 tokens on, and this one has 7"):
        local_slice(7, 0, 4)


def test_a_later_share_of_a_dense_text_makes_no_mask_of_all_pairs(build, spec):
    method, valid = build("pi", spec).eval(), mask_of("none")
    chosen = []
    for rank in range(2):
        shard = ContextShard(rank, 2, bands=method.pattern.bands(), valid=valid)
        rope = rope_of(method, valid, shard)
        chosen.append(backend_of(ForwardPass(rope, shard=shard)))
    assert chosen == ["dense", "flash_bands"]
