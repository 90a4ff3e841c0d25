"""What every position scheme promises, and what each adds to it."""

import collections
import functools
import itertools
import math

import pytest
import torch

from lcx_lightning.positions.blocks import SampledBlocks
from lcx_lightning.positions.dynamic_factor import DynamicFactor
from lcx_lightning.positions.fixed_factor import FixedFactor
from lcx_lightning.positions.original import OriginalPositions
from lcx_lightning.positions.random_positions import RandomPositions
from lcx_lightning.positions.sampled import SampledPositions
from lcx_lightning.positions.skip_wise import SkipWisePositions

DRAWS = range(200)


def clex_positions(max_factor, **options):
    """Return the scheme of the released CLEX, or one with other options."""
    return SampledPositions(
        **{"max_factor": max_factor, "whole_factors": True, "spread": "real", "clamp": False} | options
    )


def lengths(*rows):
    return torch.tensor(rows)


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
    for draw in DRAWS:
        place = any_scheme.place(lengths(32, 20), 32, draw)
        assert place.positions.shape[-1] == 32
        assert (place.positions.diff() > 0).all()
        assert place.positions.min() >= 0
        assert place.positions.max() < 32 * place.factor.max()


def test_equal_draws_give_equal_placements_and_only_they_do(any_scheme):
    first, again, *others = (any_scheme.place(lengths(32), 32, draw) for draw in (3, 3, *range(4, 14)))
    assert torch.equal(first.positions, again.positions)
    assert torch.equal(first.factor, again.factor)
    equal = [torch.equal(first.positions, p.positions) and torch.equal(first.factor, p.factor) for p in others]
    assert all(equal) != any_scheme.samples


def test_a_placement_leaves_the_global_random_state_alone(any_scheme):
    before = torch.get_rng_state()
    any_scheme.place(lengths(32), 32, 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_scheme_places_what_it_does_not_reach(any_scheme):
    reach = any_scheme.reach(32)
    if reach is None:
        assert any_scheme.place(lengths(100_000), 32, None).positions.shape == (1, 100_000)
        return
    any_scheme.place(lengths(reach), 32, None)
    with pytest.raises(ValueError, match=f"{reach + 1} tokens needs factor 5, but max_factor is 4"):
        any_scheme.place(lengths(20, reach + 1), 32, None)


def test_the_pretrained_scheme_scales_nothing_and_the_fixed_one_always_alike():
    for n in (5, 32, 1000):
        assert OriginalPositions().place(lengths(n), 32, None).factor.tolist() == [1]
        assert FixedFactor(factor=4.5).place(lengths(n), 32, None).factor.tolist() == [4.5]


def test_the_dynamic_factor_is_the_length_over_the_pretraining_length():
    factor = DynamicFactor().place(lengths(7, 32, 33, 80, 320), 32, None).factor
    assert factor.tolist() == [1, 1, 33 / 32, 2.5, 10]


@pytest.mark.parametrize("scheme", [clex_positions(8), SampledBlocks(max_factor=8, min_factor=1, blocks=4)])
def test_sampled_schemes_evaluate_at_the_next_whole_factor(scheme):
    factor = scheme.place(lengths(1, 31, 32, 33, 64, 65, 256), 32, None).factor
    assert factor.tolist() == [1, 1, 1, 2, 2, 3, 8]


def test_sampled_blocks_never_evaluate_below_the_factor_they_were_trained_from():
    scheme = SampledBlocks(max_factor=8, min_factor=2.5, blocks=4)
    assert scheme.place(lengths(10, 80, 97), 32, None).factor.tolist() == [3, 3, 4]


# CLEX as released: t in 1 .. max_factor, n of the n t positions, both ends among them, divided by s = n // L


@pytest.mark.parametrize("n", [20, 32, 50, 64, 100, 128])
def test_sampled_positions_are_those_of_the_released_code(n):
    scheme, s = clex_positions(4), max(1, n // 32)
    for draw in DRAWS:
        factor, positions = scheme.place(lengths(n), 32, draw)
        t, whole = factor.item(), positions[0] * s
        assert t in (1, 2, 3, 4)
        assert torch.equal(whole, whole.round()), "positions are whole numbers over s"
        assert whole[0] == 0
        assert whole[-1] == n * t - 1
        assert positions[0, -1] < t * n / s
        assert (positions.diff() > 0).all()


def test_training_at_twice_the_pretraining_length_takes_half_positions():
    positions = clex_positions(4).place(lengths(64), 32, 0).positions
    assert (positions % 1 == 0.5).any()


def test_sampling_reaches_every_factor_about_as_often_and_every_position():
    scheme = clex_positions(4)
    placements = [scheme.place(lengths(32), 32, draw) for draw in range(800)]
    counts = torch.stack([p.factor for p in placements]).int().flatten().bincount(minlength=5)
    assert counts[0] == 0
    assert (counts[1:] > 140).all(), "200 expected, standard deviation 12"
    assert len({x for p in placements for x in p.positions[0].tolist() if p.factor == 4}) == 128


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_shortest_rows_are_spread_too(n):
    positions = clex_positions(2).place(lengths(n), 32, 1).positions
    assert positions.shape == (1, n)
    assert positions[0, 0] == 0


def test_a_placement_is_the_same_wherever_it_is_drawn():
    torch.manual_seed(3)
    one = clex_positions(4).place(lengths(64), 32, 7)
    torch.manual_seed(4)
    other = clex_positions(4).place(lengths(64, 10), 32, 7)
    assert torch.equal(one.positions, other.positions)
    assert one.factor.tolist() == other.factor.tolist()


# The options of CLEX's sampling


def test_real_factors_fill_the_range_evenly():
    scheme = clex_positions(4, whole_factors=False)
    factors = torch.cat([scheme.place(lengths(32), 32, draw).factor for draw in range(800)])
    assert (factors % 1 != 0).all()
    counts = factors.int().bincount(minlength=4)
    assert counts[0] == 0
    assert (counts[1:] > 210).all(), "266 expected in each third, standard deviation 13"


@pytest.mark.parametrize("n", [20, 32, 64, 100])
@pytest.mark.parametrize("spread", ["real", "whole", "consecutive"])
def test_real_factors_keep_positions_in_order_and_within_what_the_factor_reaches(spread, n):
    scheme, s = clex_positions(4, whole_factors=False, spread=spread), max(1, n // 32)
    for draw in DRAWS:
        t, positions = scheme.place(lengths(n), 32, draw)
        assert positions.shape == (1, n)
        assert positions[0, 0] == 0
        assert (positions.diff() > 0).all()
        assert positions.max() < {"real": t.item() * n / s, "whole": max(n, t.item() * 32), "consecutive": n}[spread]


@pytest.mark.parametrize("n", [20, 32, 64])
def test_whole_positions_are_drawn_from_those_that_the_factor_reaches_end_points_included(n):
    scheme = clex_positions(4, spread="whole")
    for draw in DRAWS:
        t, positions = scheme.place(lengths(n), 32, draw)
        assert torch.equal(positions, positions.round())
        assert positions[0, -1] == max(n, t.item() * 32) - 1


@pytest.mark.parametrize("n", [32, 100])
def test_without_sampling_of_positions_only_the_factor_is_drawn(n):
    placed = [clex_positions(4, spread="consecutive").place(lengths(n), 32, draw) for draw in DRAWS]
    assert {p.factor.item() for p in placed} == {1, 2, 3, 4}
    assert all(p.positions.tolist() == [list(range(n))] for p in placed)


def test_clamping_keeps_the_largest_factor_and_lets_positions_go_on():
    scheme = clex_positions(4, clamp=True)
    factor, positions = scheme.place(lengths(128, 129, 1000, 33), 32, None)
    assert factor.tolist() == [4, 4, 4, 2]
    assert positions.tolist() == [list(range(1000))]
    assert scheme.reach(32) is None


# Our blocks: t from the training length on, contiguous blocks in order


@pytest.mark.parametrize(("n", "min_factor", "blocks"), [(32, 1, 4), (64, 2, 8), (80, 2.5, 8), (31, 1, 8), (5, 1, 8)])
def test_sampled_blocks_are_contiguous_and_in_order(n, min_factor, blocks):
    scheme = SampledBlocks(max_factor=8, min_factor=min_factor, blocks=blocks)
    seen = set()
    for draw in DRAWS:
        factor, positions = scheme.place(lengths(n), 32, draw)
        t, steps = factor.item(), positions[0].diff()
        seen.add(t)
        assert min_factor <= t <= 8
        assert positions.max() < t * 32
        assert positions.min() >= 0
        assert (steps >= 1).all()
        assert (steps > 1).sum() < blocks, "more jumps than blocks have borders"
        starts = {-(-block * n // blocks) for block in range(1, blocks)}  # first token of each block
        assert {int(i) + 1 for i in torch.nonzero(steps > 1)} <= starts
    assert seen == set(range(-int(-min_factor // 1), 9))


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
    seen = {tuple(scheme.place(lengths(tokens), 4, draw).positions[0].int().tolist()) for draw in range(1500)}
    assert seen == skipped(tokens, chunks, 2 * 4 - tokens)


def test_with_two_chunks_the_first_chunk_and_the_skip_are_drawn_evenly():
    scheme = SkipWisePositions(factor=1.5, chunks=2)  # 8 tokens on 18 positions: cuts 1 .. 4, skips 0 .. 10
    cuts, skips = torch.zeros(9, dtype=torch.int), torch.zeros(11, dtype=torch.int)
    for draw in range(1100):
        positions = scheme.place(lengths(8), 12, draw).positions[0].int()
        skip = positions[-1] - 7
        skips[skip] += 1
        if skip:
            cuts[(positions - torch.arange(8) == 0).sum()] += 1
    assert cuts[[0, 5, 6, 7, 8]].sum() == 0
    assert (cuts[1:5] > 200).all(), "250 expected, standard deviation 14"
    assert (skips > 60).all(), "100 expected, standard deviation 10"


def test_random_positions_are_all_ordered_subsets_about_as_often():
    scheme = RandomPositions(factor=1.5)  # 3 of 6 positions
    drawn = [tuple(scheme.place(lengths(3), 4, draw).positions[0].int().tolist()) for draw in range(2000)]
    counts = collections.Counter(drawn)
    assert set(counts) == set(itertools.combinations(range(6), 3))
    assert min(counts.values()) > 60, "100 expected, standard deviation 10"


SHORT_TRAINERS = [SkipWisePositions(factor=4, chunks=2), RandomPositions(factor=4)]


@pytest.mark.parametrize("scheme", SHORT_TRAINERS)
def test_pose_and_random_positions_keep_the_factor_of_their_target_at_every_length(scheme):
    for n, draw in ((8, None), (100, None), (1000, None), (8, 1), (100, 2)):
        assert scheme.place(lengths(n), 32, draw).factor.tolist() == [4]


@pytest.mark.parametrize("scheme", SHORT_TRAINERS)
def test_a_training_row_that_leaves_nothing_to_sample_is_refused(scheme):
    scheme.place(lengths(127), 32, 0)
    with pytest.raises(ValueError, match=r"128 tokens leaves nothing to sample of the 128 positions.*train_factor=1"):
        scheme.place(lengths(128), 32, 0)


@pytest.mark.parametrize("chunks", [0, 1])
def test_skip_wise_positions_need_two_chunks(chunks):
    with pytest.raises(ValueError, match=f"chunks >= 2, got {chunks}"):
        SkipWisePositions(factor=2, chunks=chunks)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"max_factor": 2, "min_factor": 4, "blocks": 2}, "max_factor >= min_factor"),
        ({"max_factor": 2, "min_factor": 0.5, "blocks": 2}, "min_factor must be at least 1"),
        ({"max_factor": 2, "min_factor": 1, "blocks": 0}, "blocks >= 1"),
    ],
)
def test_sampled_blocks_say_what_they_need(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        SampledBlocks(**arguments)


@pytest.mark.parametrize("kind", [FixedFactor, RandomPositions, functools.partial(SkipWisePositions, chunks=2)])
def test_a_factor_below_one_is_refused(kind):
    with pytest.raises(ValueError, match=r"factor must be at least 1, got 0\.5"):
        kind(factor=0.5)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"max_factor": 0}, "max_factor must be at least 1, got 0"),
        ({"max_factor": 2.5}, r"max_factor must be a whole number, got 2\.5"),
        ({"max_factor": 2, "spread": "wide"}, "real, whole, consecutive; got 'wide'"),
    ],
)
def test_sampled_positions_say_what_they_need(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        clex_positions(**options)
