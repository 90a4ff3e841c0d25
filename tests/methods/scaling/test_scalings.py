"""What every frequency scaling promises, and what the papers and other libraries say about each."""

import functools
import json
import math

import pytest
import torch
from support.rope_specs import LLAMA2, SMALL, at
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from lcx_lightning.methods.scaling.abf import ABF
from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.methods.scaling.llama3 import Llama3
from lcx_lightning.methods.scaling.longrope import LongRoPE
from lcx_lightning.methods.scaling.ntk import NTKAware
from lcx_lightning.methods.scaling.ntk_by_parts import NTKByParts
from lcx_lightning.methods.scaling.position_interpolation import PositionInterpolation
from lcx_lightning.methods.scaling.yarn import YaRN
from lcx_lightning.methods.temperature.longrope import LongRoPETemperature
from lcx_lightning.methods.temperature.yarn import YaRNTemperature


def transformers_frequencies(rope_type, spec, factor, seq_len=None, **more):
    rope = {"rope_type": rope_type, "rope_theta": spec.base, "factor": float(factor)} | more
    longer = rope_type in ("yarn", "llama3", "longrope")  # these know the pretraining length beside the new one
    if longer:
        rope["original_max_position_embeddings"] = spec.pretrain_length
    length = int(spec.pretrain_length * (factor if longer else 1))
    config = LlamaConfig(
        hidden_size=2 * spec.dim, num_attention_heads=2, max_position_embeddings=length, rope_parameters=rope
    )
    return ROPE_INIT_FUNCTIONS[rope_type](config, torch.device("cpu"), seq_len=seq_len)


def test_factor_one_is_pretraining_or_the_scaling_says_why_not(any_scaling, spec):
    theta = torch.tensor([10_000 ** (-2 * i / 16) for i in range(8)])
    torch.testing.assert_close(spec.inv_freq(), theta)
    if any_scaling.pretrained_at_one:
        torch.testing.assert_close(at(any_scaling, 1), theta)
    else:
        assert "At factor 1" in " ".join(type(any_scaling).__doc__.split())


@pytest.mark.parametrize("factor", [1.001, 1.5, 4.0, 16.0, 100.0])
def test_no_pair_turns_faster_than_in_pretraining(any_scaling, factor, spec):
    assert (at(any_scaling, factor) <= spec.inv_freq() * (1 + 1e-6)).all()


def test_frequencies_are_float32_whatever_the_factor_is(any_scaling):
    assert any_scaling(torch.tensor([2.0, 3.0])).dtype == torch.float32


def test_each_row_has_the_frequencies_of_its_own_factor(any_scaling):
    factors = torch.tensor([4.0, 1.0, 2.5, 4.0])
    together = any_scaling(factors)
    for factor, row in zip(factors, together, strict=True):
        torch.testing.assert_close(row, any_scaling(factor[None])[0], atol=0, rtol=1e-5)


def test_nothing_is_stored_between_calls(any_scaling):
    before = at(any_scaling, 2)
    state = {name: value.clone() for name, value in any_scaling.state_dict().items()}
    any_scaling(torch.tensor([8.0]))
    assert torch.equal(at(any_scaling, 2), before)
    assert all(torch.equal(value, state[name]) for name, value in any_scaling.state_dict().items())


def test_a_checkpoint_keeps_the_frequencies_that_it_carries(any_scaling):
    own = (0.7, 0.1, 0.03, 0.02, 0.01, 0.005, 0.001, 0.0001)
    any_scaling.spec = RopeSpec(16, 10_000.0, 32, checkpoint_inv_freq=own)
    if any_scaling.pretrained_at_one:
        torch.testing.assert_close(at(any_scaling, 1), torch.tensor(own))
    assert (at(any_scaling, 4) <= torch.tensor(own) * (1 + 1e-6)).all()


# Position Interpolation, NTK-aware scaling, YaRN


@pytest.mark.parametrize("factor", [2, 8, 32])
@pytest.mark.parametrize("spec", [LLAMA2, SMALL, RopeSpec(dim=80, base=500_000.0, pretrain_length=8192)])
@pytest.mark.parametrize(
    ("scaling", "temperature", "rope_type"),
    [
        (PositionInterpolation, None, "linear"),
        (functools.partial(YaRN, fast=32, slow=1), YaRNTemperature(slope=0.1), "yarn"),
    ],
)
def test_pi_and_yarn_are_those_of_transformers(scaling, temperature, rope_type, spec, factor):
    theirs, attention_factor = transformers_frequencies(rope_type, spec, factor)
    torch.testing.assert_close(at(scaling(spec), factor), theirs)
    scale = 1 if temperature is None else temperature.feature_scale(torch.tensor([float(factor)])).item()
    assert scale == pytest.approx(attention_factor)  # both multiply the rotated queries and keys, so logits twice


def test_yarn_multiplies_logits_by_the_square_of_a_tenth_of_the_log_plus_one():
    scale = YaRNTemperature(slope=0.1).feature_scale(torch.tensor([16.0])).item()
    assert scale**2 == pytest.approx((0.1 * 2.772589 + 1) ** 2)


def test_yarn_keeps_fast_pairs_and_interpolates_slow_ones_and_half_of_each_between():
    # LLaMA-2: pair i turns 4096 / (2 pi 10000^(i/64)) times. 32 turns at i = 20.94, 1 turn at 45.03, rounded outwards
    # to 20 and 46; i = 33 is in the middle of the ramp.
    ratio = at(YaRN(LLAMA2, fast=32, slow=1), 8) / LLAMA2.inv_freq()
    assert ratio[:21] == pytest.approx(1)
    assert ratio[46:] == pytest.approx(1 / 8)
    assert ratio[33].item() == pytest.approx((1 + 1 / 8) / 2)
    assert (ratio.diff() <= 1e-6).all()


@pytest.mark.parametrize("factor", [1.5, 4.0, 16.0])
def test_ntk_raises_the_base(factor):
    base = SMALL.base * factor ** (64 / 62)  # b' = b s^(d / (d - 2))
    expected = torch.tensor([base ** (-2 * i / 64) for i in range(32)])
    torch.testing.assert_close(at(NTKAware(SMALL), factor), expected)


@pytest.mark.parametrize("length", [4097, 10_000, 65_536])
def test_ntk_at_the_factor_of_the_length_is_the_dynamic_rope_of_transformers_at_factor_one(length):
    theirs, _ = transformers_frequencies("dynamic", SMALL, 1, seq_len=length)
    torch.testing.assert_close(at(NTKAware(SMALL), length / 4096), theirs)


# NTK-by-parts, Llama-3


@pytest.mark.parametrize("factor", [1.0, 2.5, 16.0])
@pytest.mark.parametrize(("fast", "slow"), [(32, 1), (4, 1), (10, 0.5), (3, 0)])
@pytest.mark.parametrize("spec", [LLAMA2, SMALL])
def test_ntk_by_parts_is_the_formula_of_the_paper(spec, fast, slow, factor):
    expected = []
    for i in range(spec.dim // 2):
        theta = spec.base ** (-2 * i / spec.dim)
        turns = spec.pretrain_length / (2 * math.pi / theta)  # L over the wavelength
        gamma = 0 if turns < slow else 1 if turns > fast else (turns - slow) / (fast - slow)
        expected.append((1 - gamma) * theta / factor + gamma * theta)
    torch.testing.assert_close(at(NTKByParts(spec, fast=fast, slow=slow), factor), torch.tensor(expected))


def test_the_ramp_of_ntk_by_parts_is_not_that_of_yarn():
    # LLaMA-2, pair 33: 4096 / (2 pi 10000^(33/64)) = 5.65 turns keep (5.65 - 1) / 31 = 15%; YaRN keeps half.
    parts, yarn = (at(kind(LLAMA2, fast=32, slow=1), 8)[33] / LLAMA2.inv_freq()[33] for kind in (NTKByParts, YaRN))
    assert parts.item() == pytest.approx(0.15 + 0.85 / 8, abs=1e-3)
    assert yarn.item() == pytest.approx(0.5 + 0.5 / 8)


@pytest.mark.parametrize("factor", [1, 2, 8, 32])
@pytest.mark.parametrize(("low", "high"), [(1, 4), (2, 16)])
@pytest.mark.parametrize("spec", [LLAMA2, SMALL, RopeSpec(dim=128, base=500_000.0, pretrain_length=8192)])
def test_llama3_is_that_of_transformers(spec, low, high, factor):
    theirs, _ = transformers_frequencies("llama3", spec, factor, low_freq_factor=low, high_freq_factor=high)
    scaling = Llama3(spec, low_freq_factor=low, high_freq_factor=high)
    torch.testing.assert_close(at(scaling, factor), theirs)


# ABF


def test_abf_is_the_new_base_at_every_factor():
    expected = torch.tensor([500_000 ** (-2 * i / 64) for i in range(32)])
    for factor in (1, 4, 100):
        torch.testing.assert_close(at(ABF(SMALL, base=500_000), factor), expected)


def test_abf_slows_the_frequencies_that_a_checkpoint_carries_in_the_same_proportion():
    own = RopeSpec(4, 10_000.0, 32, checkpoint_inv_freq=(0.5, 0.02))  # pairs slow by 100^0 and 100^(1/2)
    assert at(ABF(own, base=1_000_000), 1).tolist() == pytest.approx([0.5, 0.002])


# LongRoPE

NUMBERS = {"short": [1.0 + i / 40 for i in range(32)], "long": [1.5 * 1.2**i for i in range(32)]}


def longrope(spec=SMALL, **given):
    return LongRoPE(spec, **{"factor": 8, "short": None, "long": None, "file": None} | given)


@pytest.mark.parametrize(
    ("factor", "length", "which"), [(1, 4096, "short"), (1.001, 4097, "long"), (9, 36_864, "long")]
)
def test_longrope_is_that_of_transformers_and_chooses_its_list_by_the_length(factor, length, which):
    lists = {f"{name}_factor": numbers for name, numbers in NUMBERS.items()}
    theirs, attention_factor = transformers_frequencies("longrope", SMALL, 8, length, **lists)
    torch.testing.assert_close(at(longrope(**NUMBERS), factor), theirs)
    torch.testing.assert_close(at(longrope(**NUMBERS), factor) * torch.tensor(NUMBERS[which]), SMALL.inv_freq())
    temperature = LongRoPETemperature(factor=8, pretrain_length=4096, lists=None)
    assert temperature.feature_scale(torch.tensor([float(factor)])).item() == pytest.approx(attention_factor)


def test_longrope_without_lists_is_pretraining_up_to_its_length_and_ntk_beyond():
    assert torch.equal(at(longrope(), 1), SMALL.inv_freq())
    expected = torch.tensor([10_000 ** (-2 * i / 64) / 8 ** (2 * i / 62) for i in range(32)])
    torch.testing.assert_close(at(longrope(), 2), expected)


@pytest.mark.parametrize("around", [None, "rope_scaling", "rope_parameters"])
def test_longrope_reads_its_lists_from_a_file(tmp_path, around):
    lists = {"type": "longrope"} | {f"{name}_factor": numbers for name, numbers in NUMBERS.items()}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(lists if around is None else {"rope_scaling": None, around: lists}))
    for factor in (1, 3):
        assert torch.equal(at(longrope(file=str(path)), factor), at(longrope(**NUMBERS), factor))


# What is refused


@pytest.mark.parametrize("bounds", [{"fast": 1, "slow": 32}, {"fast": 2, "slow": 2}])
def test_ntk_by_parts_says_what_it_needs(bounds):
    with pytest.raises(ValueError, match=r"needs fast > slow >= 0 turns, got fast=. and slow="):
        NTKByParts(SMALL, **bounds)


@pytest.mark.parametrize(("low", "high"), [(4, 1), (2, 2)])
def test_llama3_says_what_it_needs(low, high):
    with pytest.raises(ValueError, match=f"high_freq_factor > low_freq_factor > 0, got high_freq_factor={high}"):
        Llama3(SMALL, low_freq_factor=low, high_freq_factor=high)


@pytest.mark.parametrize("base", [0, 5_000, 10_000])
def test_abf_refuses_a_base_that_is_not_larger(base):
    with pytest.raises(ValueError, match=f"above that of the checkpoint, 10000, got {base}"):
        ABF(SMALL, base=base)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"short": [1.0] * 31}, "each of the 32 pairs of 64 rotated features, got a short list of 31: 1.0, 1.0"),
        ({"long": [1.0] * 64}, "got a long list of 64"),
        ({"long": []}, "got a long list of 0"),
        ({"long": [2.0] * 31 + [0.0]}, "above 0"),
        ({"short": [math.nan] * 32}, "above 0"),
        ({"short": [1.0] * 32, "file": "lists.json"}, "from lists.json or from short and long"),
        ({"file": "nowhere.json"}, "cannot read its lists from nowhere.json"),
    ],
)
def test_longrope_says_what_it_needs(given, complaint):
    with pytest.raises(ValueError, match=complaint):
        longrope(**given)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        ("[1, 2]", "must hold a mapping"),
        ('{"short_factor": [1, 1]}', "short_factor and long_factor"),
        ('{"short_factor": [1, 1], "long_factor": ["a"]}', "long_factor in .*lists.json must be a list of numbers"),
        ('{"short_factor": [1, 1], "long_factor": [1, 1]}', "got a short list of 2"),
    ],
)
def test_longrope_says_what_a_file_needs(tmp_path, text, complaint):
    (tmp_path / "lists.json").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        longrope(file=str(tmp_path / "lists.json"))


def test_yarn_says_what_it_needs():
    with pytest.raises(ValueError, match="fast > slow > 0 turns, got fast=1 and slow=32"):
        YaRN(SMALL, fast=1, slow=32)
