"""The fingerprint tells methods apart, and only methods that do different things."""

import itertools

import pytest
import torch
from omegaconf import OmegaConf

from lcx_lightning.methods.fingerprint import alike, digest, fingerprint, summarize_passes
from lcx_lightning.methods.library import build_method, methods, read_method
from lcx_lightning.methods.scaling.base import RopeSpec

SPEC = RopeSpec(dim=16, base=10_000.0, pretrain_length=32)
LENGTHS = [32, 64, 128]
TRAINED = 64  # tokens
TWINS = {frozenset({"clex_blocks", "clex_frozen"})}  # they differ in what learns: the same until one has learned


def built(names, factor=4, spec=SPEC, **changes):
    torch.manual_seed(0)
    sizes = {"factor": factor, "train_factor": 2, "pretrain_length": spec.pretrain_length}
    method = OmegaConf.create(sizes | {"method": read_method(names)}).method
    return build_method(OmegaConf.merge(method, OmegaConf.create(changes)), spec)


@pytest.fixture(scope="module")
def passes():
    """The fingerprint of every method, trained at twice its pretraining length, by name."""
    return {name: fingerprint(built(name), LENGTHS, TRAINED) for name in methods()}


def test_the_fingerprints_of_any_two_methods_differ_but_of_twins_that_have_not_learned(passes):
    for first, second in itertools.combinations(passes, 2):
        alike = digest(passes[first]) == digest(passes[second])
        assert alike == (frozenset({first, second}) in TWINS), (first, second)


def test_every_method_differs_from_the_untouched_model_in_evaluation_alone():
    untouched = fingerprint(built("pretrained"), LENGTHS, None)
    for name in set(methods()) - {"pretrained"}:
        assert fingerprint(built(name), LENGTHS, None) != untouched, name


def test_position_interpolation_at_factor_1_is_the_untouched_model():
    untouched = fingerprint(built("pretrained"), LENGTHS, TRAINED)
    assert fingerprint(built("pi", factor=1), LENGTHS, TRAINED) == untouched
    assert fingerprint(built("pi", factor=1.01), LENGTHS, TRAINED) != untouched


def test_lm_infinite_is_the_untouched_model_until_a_pair_is_further_apart_than_its_limit():
    pattern = {"pattern": {"window": 64, "distance_limit": 64}}
    for lengths, same in (([32, 64, 65], True), ([32, 66], False)):
        untouched = fingerprint(built("pretrained"), lengths, None)
        assert (fingerprint(built("lm_infinite", **pattern), lengths, None) == untouched) == same


def test_a_learned_scaling_within_its_pretraining_length_is_alike_the_untouched_model():
    untouched = fingerprint(built("pretrained"), [16, 32], None)
    method = built("clex")
    torch.nn.init.normal_(method.scaling.down.weight, generator=torch.Generator().manual_seed(0))
    clex = fingerprint(method, [16, 32], None)
    assert clex != untouched, "at factor 1 its field is integrated over 1e-6"
    assert alike(clex, untouched)
    assert alike(untouched, clex)
    assert not alike(fingerprint(built("clex"), [16, 33], None), fingerprint(built("pretrained"), [16, 33], None))


@pytest.mark.slow
def test_methods_that_differ_are_not_alike_however_little(passes):
    untouched = fingerprint(built("pretrained"), LENGTHS, None)
    assert not alike(fingerprint(built("pi", factor=1.0001), LENGTHS, None), untouched)
    assert not alike(fingerprint(built("pretrained"), LENGTHS[:2], None), untouched)
    for first, second in itertools.combinations(passes, 2):
        assert alike(passes[first], passes[second]) == (frozenset({first, second}) in TWINS)


def test_one_pair_of_a_long_context_is_a_difference():
    spec = RopeSpec(dim=4, base=10_000.0, pretrain_length=2**17)
    untouched = fingerprint(built("pretrained", spec=spec), [2**17], None)
    cut = {"pattern": {"window": 2**17 - 1, "sink_tokens": 0, "distance_limit": None}}
    assert not alike(fingerprint(built("lm_infinite", spec=spec, **cut), [2**17], None), untouched)


def test_every_part_of_lm_infinite_leaves_its_trace():
    whole = digest(fingerprint(built("lm_infinite"), LENGTHS, None))
    for change in ({"window": 31}, {"sink_tokens": 9}, {"distance_limit": 31}):
        assert digest(fingerprint(built("lm_infinite", pattern=change), LENGTHS, None)) != whole, change


def test_what_the_last_query_may_choose_is_seen_where_there_is_something_to_choose():
    at_32, at_64 = (fingerprint(built("lm_infinite_top_k"), [n], None)[f"evaluation {n}"] for n in (32, 64))
    assert at_32["selection"] is None
    middle = 64 - 32 - 10  # neither in the window nor a sink
    assert at_64["selection"] == [5, 0.125, middle, 16 * middle]
    for change in ({"middle_tokens": 4}, {"middle_distance": 8}, {"first_layer": 0.5}):
        other = fingerprint(built("lm_infinite_top_k", pattern=change), [64], None)["evaluation 64"]
        assert other["selection"] != at_64["selection"]
    without = fingerprint(built("lm_infinite"), [64], None)["evaluation 64"]
    assert without == at_64 | {"selection": None}


def test_the_limit_of_lm_infinite_holds_on_sampled_positions_of_clex():
    method = built(["clex", "lm_infinite"])
    farthest = [max(fingerprint(method, LENGTHS, 64)[f"training 64, draw {d}"]["distances"]) for d in range(3)]
    assert max(farthest) == 32
    open_end = built(["clex", "lambda_only"])
    assert max(max(fingerprint(open_end, LENGTHS, 64)[f"training 64, draw {d}"]["distances"]) for d in range(3)) > 32


def test_a_change_of_temperature_alone_is_seen():
    plain, hot = (digest(fingerprint(built("yarn", temperature={"slope": s}), LENGTHS, None)) for s in (0.1, 0.2))
    assert plain != hot


def test_the_fingerprint_of_a_learned_scaling_changes_when_a_weight_changes():
    method = built("clex")
    before = digest(fingerprint(method, LENGTHS, TRAINED))
    with torch.no_grad():
        method.scaling.down.weight[0, 0] += 0.01
    assert digest(fingerprint(method, LENGTHS, TRAINED)) != before


def test_noise_in_the_last_digits_does_not_change_the_fingerprint():
    noisy = RopeSpec(16, 10_000.0, 32, tuple(f * (1 + 1e-7) for f in SPEC.inv_freq().tolist()))
    known, other = (fingerprint(built("pretrained", spec=spec), LENGTHS, None) for spec in (SPEC, noisy))
    assert known == other


def test_sampled_placements_are_seen_in_training_and_not_in_evaluation():
    method = built("clex_blocks")
    passes = fingerprint(method, LENGTHS, TRAINED)
    draws = [passes[f"training {TRAINED}, draw {d}"]["positions"] for d in range(3)]
    assert draws[0] != draws[1] != draws[2] != draws[0]
    assert fingerprint(method, LENGTHS, None) == {k: v for k, v in passes.items() if k.startswith("evaluation")}
    assert fingerprint(method, LENGTHS, TRAINED) == passes


@pytest.mark.parametrize("training", [True, False])
def test_looking_at_a_method_leaves_it_as_it_was(training):
    method = built("clex").train(training)
    fingerprint(method, LENGTHS, TRAINED)
    assert method.training == training


def test_the_probe_sees_visibility_and_distance_as_counted_by_hand():
    pattern = {"window": 4, "sink_tokens": 1, "distance_limit": 2}
    numbers = fingerprint(built("lm_infinite", pattern=pattern), [8], None)["evaluation 8"]
    probed = [0, 1, 2, 4, 6, 7]  # of 8 tokens
    seen = {q: {k: min(q - k, 2) for k in range(8) if 0 <= q - k < 4 or (k == 0 and q >= k)} for q in probed}
    assert numbers["distances"] == [seen[q].get(k, -1) for q in probed for k in probed]
    assert numbers["keys seen"] == [len(seen[q]) for q in probed] == [1, 2, 3, 5, 5, 5]
    assert numbers["sum of distances"] == [sum(seen[q].values()) for q in probed]


# For people


def test_a_look_says_what_a_pass_does_as_counted_by_hand():
    pattern = {"window": 8, "sink_tokens": 2, "distance_limit": 5}
    (look,) = summarize_passes(built("lm_infinite", pattern=pattern), [40], None)
    assert look.name == "evaluation 40"
    assert (look.factor, look.feature_scale, look.logit_scale, look.last_position) == (1, 1, None, 39)
    assert look.distances == "0-5 as they are, 6-7 at 5, 8-37 unseen, 38-39 at 5"
    assert look.inv_freq == pytest.approx([10_000 ** (-i / 8) for i in range(8)])


def test_a_look_at_yarn_has_its_factor_and_temperature():
    (look,) = summarize_passes(built("yarn"), [64], None)
    assert (look.factor, look.distances) == (4, "0-63 as they are")
    assert look.feature_scale == pytest.approx(0.1 * 1.3862944 + 1)
    assert look.inv_freq[-1] == pytest.approx(SPEC.inv_freq()[-1].item() / 4)


def test_there_is_a_look_for_every_pass_of_the_fingerprint(passes):
    for name in methods():
        assert [look.name for look in summarize_passes(built(name), LENGTHS, TRAINED)] == list(passes[name])
