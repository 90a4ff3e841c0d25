"""Sampled factors and positions: those of CLEX, with its options, and our blocks."""

import pytest
import torch
from support.position_inputs import DRAWS, lengths

from lcx_lightning.methods.positions.blocks import SampledBlocks
from lcx_lightning.methods.positions.sampled import SampledPositions


def clex_positions(max_factor, **options):
    """Return the scheme of the released CLEX, or one with other options."""
    return SampledPositions(
        **{"max_factor": max_factor, "min_factor": 1, "whole_factors": True, "spread": "real", "clamp": False} | options
    )


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
    for placement_seed in DRAWS:
        factor, positions = scheme.place(lengths(n), 32, placement_seed)
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
    placements = [scheme.place(lengths(32), 32, placement_seed) for placement_seed in range(800)]
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
    factors = torch.cat([scheme.place(lengths(32), 32, placement_seed).factor for placement_seed in range(800)])
    assert (factors % 1 != 0).all()
    counts = factors.int().bincount(minlength=4)
    assert counts[0] == 0
    assert (counts[1:] > 210).all(), "266 expected in each third, standard deviation 13"


@pytest.mark.parametrize("n", [20, 32, 64, 100])
@pytest.mark.parametrize("spread", ["real", "whole", "consecutive"])
def test_real_factors_keep_positions_in_order_and_within_what_the_factor_reaches(spread, n):
    scheme, s = clex_positions(4, whole_factors=False, spread=spread), max(1, n // 32)
    for placement_seed in DRAWS:
        t, positions = scheme.place(lengths(n), 32, placement_seed)
        assert positions.shape == (1, n)
        assert positions[0, 0] == 0
        assert (positions.diff() > 0).all()
        assert positions.max() < {"real": t.item() * n / s, "whole": max(n, t.item() * 32), "consecutive": n}[spread]


@pytest.mark.parametrize("n", [20, 32, 64])
def test_whole_positions_are_drawn_from_those_that_the_factor_reaches_end_points_included(n):
    scheme = clex_positions(4, spread="whole")
    for placement_seed in DRAWS:
        t, positions = scheme.place(lengths(n), 32, placement_seed)
        assert torch.equal(positions, positions.round())
        assert positions[0, -1] == max(n, t.item() * 32) - 1


@pytest.mark.parametrize("n", [32, 100])
def test_without_sampling_of_positions_only_the_factor_is_drawn(n):
    placed = [clex_positions(4, spread="consecutive").place(lengths(n), 32, placement_seed) for placement_seed in DRAWS]
    assert {p.factor.item() for p in placed} == {1, 2, 3, 4}
    assert all(p.positions.tolist() == [list(range(n))] for p in placed)


def test_clamping_keeps_the_largest_factor_and_lets_positions_go_on():
    scheme = clex_positions(4, clamp=True)
    factor, positions = scheme.place(lengths(128, 129, 1000, 33), 32, None)
    assert factor.tolist() == [4, 4, 4, 2]
    assert positions.tolist() == [list(range(1000))]
    assert scheme.max_context(32) is None


# Our blocks: t from the training length on, contiguous blocks in order


@pytest.mark.parametrize(("n", "min_factor", "blocks"), [(32, 1, 4), (64, 2, 8), (80, 2.5, 8), (31, 1, 8), (5, 1, 8)])
def test_sampled_blocks_are_contiguous_and_in_order(n, min_factor, blocks):
    scheme = SampledBlocks(max_factor=8, min_factor=min_factor, blocks=blocks)
    seen = set()
    for placement_seed in DRAWS:
        factor, positions = scheme.place(lengths(n), 32, placement_seed)
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


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"max_factor": 2, "min_factor": 4, "blocks": 2}, "max_factor >= min_factor"),
        ({"max_factor": 2, "min_factor": 0.5, "blocks": 2}, "min_factor must be a number of at least 1"),
    ],
)
def test_sampled_blocks_say_what_they_need(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        SampledBlocks(**arguments)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"max_factor": 0}, "max_factor must be a whole number of at least 1, got 0"),
        ({"max_factor": 2.5}, r"max_factor must be a whole number of at least 1, got 2\.5"),
        ({"max_factor": 2, "spread": "wide"}, "real, whole or consecutive, got 'wide'"),
    ],
)
def test_sampled_positions_say_what_they_need(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        clex_positions(**options)


def test_factors_are_drawn_from_the_smallest_that_is_asked_for():
    """The code released before January 2024 draws torch.randint(2, max_t + 1)."""
    drawn = {clex_positions(4, min_factor=2).place(lengths(64), 32, seed).factor.item() for seed in range(60)}
    assert drawn == {2, 3, 4}
    real = [clex_positions(4, min_factor=3, whole_factors=False).place(lengths(64), 32, s).factor for s in range(60)]
    assert 3 <= min(real) < 3.2
    assert 3.8 < max(real) <= 4
    assert clex_positions(4, min_factor=2).evaluation_factor(lengths(20), 32) == 1


@pytest.mark.parametrize("least", [0, 1.5, 5])
def test_a_smallest_factor_that_is_none_is_refused(least):
    what = "(a whole number of at least 1|at most max_factor=4)"
    with pytest.raises(ValueError, match=f"min_factor must be {what}, got (min_factor=)?{least}"):
        clex_positions(4, min_factor=least)
