"""What every position scheme promises, and what fixed and dynamic factors, PoSE and random positions add to it."""

import collections
import functools
import itertools
import math

import pytest
import torch
from support.position_inputs import DRAWS, lengths

from lcx_lightning.methods.positions.dynamic_factor import DynamicFactor
from lcx_lightning.methods.positions.fixed_factor import FixedFactor
from lcx_lightning.methods.positions.original import OriginalPositions
from lcx_lightning.methods.positions.random_positions import RandomPositions
from lcx_lightning.methods.positions.skip_wise import SkipWisePositions


@pytest.mark.parametrize("rows", [(1,), (32,), (33,), (128,), (7, 100, 32)])
def test_evaluation_places_tokens_in_a_row_from_zero(any_scheme, rows):
    place = any_scheme.place(lengths(*rows), 32, None)
    assert place.positions.tolist() == [list(range(max(rows)))]
    assert len(place.factor) in (1, len(rows))
    assert (place.factor >= 1).all()


def test_a_rows_factor_does_not_depend_on_the_other_rows(any_scheme):
    together = any_scheme.place(lengths(100, 7, 40), 32, None).factor.expand(3)
    alone = [any_scheme.place(lengths(n), 32, None).factor.item() for n in (100, 7, 40)]
    assert together.tolist() == alone


def test_positions_increase_and_stay_within_the_reach_in_training_too(any_scheme):
    for placement_seed in DRAWS:
        place = any_scheme.place(lengths(32, 20), 32, placement_seed)
        assert place.positions.shape[-1] == 32
        assert (place.positions.diff() > 0).all()
        assert place.positions.min() >= 0
        assert place.positions.max() < 32 * place.factor.max()


def test_equal_draws_give_equal_placements_and_only_they_do(any_scheme):
    first, again, *others = (
        any_scheme.place(lengths(32), 32, placement_seed) for placement_seed in (3, 3, *range(4, 14))
    )
    assert torch.equal(first.positions, again.positions)
    assert torch.equal(first.factor, again.factor)
    equal = [torch.equal(first.positions, p.positions) and torch.equal(first.factor, p.factor) for p in others]
    assert all(equal) != any_scheme.samples


def test_a_placement_leaves_the_global_random_state_alone(any_scheme):
    before = torch.get_rng_state()
    any_scheme.place(lengths(32), 32, 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_scheme_places_what_it_does_not_reach(any_scheme):
    max_context = any_scheme.max_context(32)
    if max_context is None:
        assert any_scheme.place(lengths(100_000), 32, None).positions.shape == (1, 100_000)
        return
    any_scheme.place(lengths(max_context), 32, None)
    with pytest.raises(ValueError, match=f"{max_context + 1} tokens needs factor 5, but max_factor is 4"):
        any_scheme.place(lengths(20, max_context + 1), 32, None)


def test_the_pretrained_scheme_scales_nothing_and_the_fixed_one_always_alike():
    for n in (5, 32, 1000):
        assert OriginalPositions().place(lengths(n), 32, None).factor.tolist() == [1]
        assert FixedFactor(factor=4.5).place(lengths(n), 32, None).factor.tolist() == [4.5]


def test_the_dynamic_factor_is_the_length_over_the_pretraining_length():
    factor = DynamicFactor().place(lengths(7, 32, 33, 80, 320), 32, None).factor
    assert factor.tolist() == [1, 1, 33 / 32, 2.5, 10]


# PoSE as released: chunks of 1 .. ceil(n / chunks) tokens but for the last, skips from 0 to s L - n that never shrink


def skipped(tokens, chunks, room):
    """Return every placement that the paper's definition allows."""
    allowed = set()
    for sizes in itertools.product(range(1, math.ceil(tokens / chunks) + 1), repeat=chunks - 1):
        for skips in itertools.combinations_with_replacement(range(room + 1), chunks - 1):
            chunk_of = [sum(index >= sum(sizes[: c + 1]) for c in range(chunks - 1)) for index in range(tokens)]
            allowed.add(tuple(index + (0, *skips)[c] for index, c in enumerate(chunk_of)))
    return allowed


@pytest.mark.parametrize(("tokens", "chunks"), [(4, 2), (5, 2), (5, 3), (7, 3), (3, 4), (1, 2)])
def test_skip_wise_positions_are_all_those_that_the_paper_allows_and_no_others(tokens, chunks):
    scheme = SkipWisePositions(factor=2, chunks=chunks)
    seen = {
        tuple(scheme.place(lengths(tokens), 4, placement_seed).positions[0].int().tolist())
        for placement_seed in range(1500)
    }
    assert seen == skipped(tokens, chunks, 2 * 4 - tokens)


def test_with_two_chunks_the_first_chunk_and_the_skip_are_drawn_evenly():
    scheme = SkipWisePositions(factor=1.5, chunks=2)  # 8 tokens on 18 positions: cuts 1 .. 4, skips 0 .. 10
    cuts, skips = torch.zeros(9, dtype=torch.int), torch.zeros(11, dtype=torch.int)
    for placement_seed in range(1100):
        positions = scheme.place(lengths(8), 12, placement_seed).positions[0].int()
        skip = positions[-1] - 7
        skips[skip] += 1
        if skip:
            cuts[(positions - torch.arange(8) == 0).sum()] += 1
    assert cuts[[0, 5, 6, 7, 8]].sum() == 0
    assert (cuts[1:5] > 200).all(), "250 expected, standard deviation 14"
    assert (skips > 60).all(), "100 expected, standard deviation 10"


def test_random_positions_are_all_ordered_subsets_about_as_often():
    scheme = RandomPositions(factor=1.5)  # 3 of 6 positions
    drawn = [
        tuple(scheme.place(lengths(3), 4, placement_seed).positions[0].int().tolist()) for placement_seed in range(2000)
    ]
    counts = collections.Counter(drawn)
    assert set(counts) == set(itertools.combinations(range(6), 3))
    assert min(counts.values()) > 60, "100 expected, standard deviation 10"


SHORT_TRAINERS = [SkipWisePositions(factor=4, chunks=2), RandomPositions(factor=4)]


@pytest.mark.parametrize("scheme", SHORT_TRAINERS)
def test_pose_and_random_positions_keep_the_factor_of_their_target_at_every_length(scheme):
    for n, placement_seed in ((8, None), (100, None), (1000, None), (8, 1), (100, 2)):
        assert scheme.place(lengths(n), 32, placement_seed).factor.tolist() == [4]


@pytest.mark.parametrize("scheme", SHORT_TRAINERS)
def test_a_training_row_that_leaves_nothing_to_sample_is_refused(scheme):
    scheme.place(lengths(127), 32, 0)
    with pytest.raises(ValueError, match=r"128 tokens leaves nothing to sample of the 128 positions.*train_factor=1"):
        scheme.place(lengths(128), 32, 0)


def test_skip_wise_positions_need_two_chunks():
    with pytest.raises(ValueError, match="chunks must be a whole number of at least 2, got 1"):
        SkipWisePositions(factor=2, chunks=1)


@pytest.mark.parametrize("kind", [FixedFactor, RandomPositions, functools.partial(SkipWisePositions, chunks=2)])
def test_a_factor_below_one_is_refused(kind):
    with pytest.raises(ValueError, match=r"factor must be a number of at least 1( and up to 1024)?, got 0\.5"):
        kind(factor=0.5)
