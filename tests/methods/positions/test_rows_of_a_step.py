"""Schemes that sample every row by itself, as PoSE's code does, and schemes that sample once for a pass, as CLEX's."""

import pytest
import torch
from support.cache_inputs import close

from lcx_lightning.data.datamodule import LongContextDataModule
from lcx_lightning.training.loss import next_token_loss

L = 32
IDS = torch.randint(1, 64, (6, L), generator=torch.Generator().manual_seed(1))
BY_ROW, BY_PASS = ["pose", "random_positions"], ["clex", "clex_blocks", "clex_discrete"]


def positions(method, rows, seed=5, tokens=L):
    return method.rope(torch.ones(1, tokens, dtype=torch.bool), tokens, seed, placement_rows=rows).key_pos


def test_the_schemes_say_whether_they_sample_rows(any_scheme):
    assert any_scheme.samples or not any_scheme.samples_rows


@pytest.mark.parametrize("name", BY_ROW)
def test_every_row_has_positions_of_its_own_at_one_factor(build, spec, name):
    method = build(name, spec).train()
    placed = positions(method, range(50))
    assert len({tuple(row.tolist()) for row in placed}) > 45
    assert (placed.diff() > 0).all()
    assert placed.max() <= 4 * L - 1
    rope = method.rope(torch.ones(1, L, dtype=torch.bool), L, 5, placement_rows=range(50))
    assert rope.inv_freq.shape == (1, 8)


@pytest.mark.parametrize("name", BY_ROW)
def test_the_positions_of_a_row_depend_on_seed_and_number_alone(build, spec, name):
    method = build(name, spec).train()
    whole = positions(method, range(6))
    for part in ([0, 2, 4], [1, 3, 5], [3], [5, 4, 3, 2, 1, 0]):
        assert torch.equal(positions(method, part), whole[part])
    assert not torch.equal(positions(method, range(6), seed=6), whole)
    assert not torch.equal(positions(method, range(6, 12)), whole)


@pytest.mark.parametrize("name", BY_PASS)
def test_clex_samples_once_for_a_pass_as_its_code_does(build, spec, name):
    method = build(name, spec).train()
    assert torch.equal(positions(method, range(6)), positions(method, [3]))


@pytest.mark.parametrize("name", [*BY_ROW, *BY_PASS])
def test_micro_batches_and_ranks_compute_what_one_batch_does(extended, name):
    """The rows of a step, shared in any way, have the positions and so the gradients of the whole batch."""
    model = extended(name).train()
    next_token_loss(model, IDS, placement_seed=7, placement_rows=torch.arange(6)).backward()
    whole = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for share in range(3):
        rows = torch.arange(6)[share::3]
        (next_token_loss(model, IDS[rows], placement_seed=7, placement_rows=rows) / 3).backward()
    for name, gradient in whole.items():
        close(dict(model.named_parameters())[name].grad, gradient)


@pytest.mark.parametrize("name", BY_ROW)
def test_rows_are_numbered_from_0_where_no_numbers_are_given(extended, name):
    model = extended(name).train()
    numbered = model(IDS, placement_seed=3, placement_rows=torch.arange(6)).logits
    assert torch.equal(model(IDS, placement_seed=3).logits, numbered)
    alone = [model(IDS[i : i + 1], placement_seed=3, placement_rows=torch.tensor([i])).logits for i in range(6)]
    close(torch.cat(alone), numbered)
    assert not torch.allclose(model(IDS[1:2], placement_seed=3).logits, numbered[1:2], atol=1e-3)


@pytest.mark.parametrize("name", BY_ROW)
def test_rows_beside_padding_and_documents_in_a_row_are_sampled_alike(extended, name):
    model = extended(name).train()
    mask = torch.ones_like(IDS)
    mask[2, 20:] = 0
    whole, padded = model(IDS, placement_seed=3).logits, model(IDS, attention_mask=mask, placement_seed=3).logits
    close(padded[[0, 1, 3, 4, 5]], whole[[0, 1, 3, 4, 5]])
    close(padded[2, :20], whole[2, :20])
    segments = torch.zeros_like(IDS)
    close(model(IDS, segments=segments, placement_seed=3).logits, whole)
    segments[:, 12:] = 1
    both = model(IDS, segments_continuing=segments, placement_seed=3).logits
    close(both[:, :12], whole[:, :12])
    packed = model(IDS, segments=segments, placement_seed=3).logits
    close(packed[:, 12:], model(IDS[:, 12:], placement_seed=3).logits)


def test_the_rows_of_ranks_and_micro_batches_bring_their_numbers(data):
    class Rank:
        world_size, accumulate_grad_batches = 2, 3

        def __init__(self, rank):
            self.global_rank = rank

    seen = []
    whole = data.batch(0, seed=5, rows=12, length=64)["input_ids"]
    for rank in range(2):
        module = LongContextDataModule(data, seed=5, rows=12, length=64, steps=2, validation_steps=1)
        module.trainer = Rank(rank)
        for batch, _ in zip(module.train_dataloader(), range(3), strict=False):
            assert torch.equal(batch["input_ids"], whole[batch["placement_rows"]])
            seen += batch["placement_rows"].tolist()
    assert sorted(seen) == list(range(12))
