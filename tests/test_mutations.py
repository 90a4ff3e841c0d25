"""Mutations of the code: each makes a named contract of the other tests fail, which holds without it."""

import dataclasses
import functools

import pytest
import torch
from attention import test_definition
from methods import test_fingerprint, test_rope
from methods.patterns import test_patterns
from methods.positions import test_positions
from methods.scaling import test_scalings
from models import test_rows_alone, test_stock_models
from support.attention_inputs import PATTERNS

from lcx_lightning.methods.method import Method
from lcx_lightning.methods.patterns import lambda_mask
from lcx_lightning.methods.patterns.base import Band
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.positions.dynamic_factor import DynamicFactor
from lcx_lightning.methods.rope import Rope
from lcx_lightning.methods.scaling.base import FrequencyScaling
from lcx_lightning.methods.scaling.yarn import YaRN

MUTATIONS = {}  # name -> function of a monkeypatch that breaks the code


def mutation(function):
    """Add a mutation under its name in words."""
    MUTATIONS[function.__name__.replace("_", " ")] = function
    return function


def replace(patch, cls, name, change):
    """Replace a method of a class by `change`, which is given the original one first."""
    patch.setattr(cls, name, functools.partialmethod(_changed, change, getattr(cls, name)))


def _changed(self, change, original, *args, **kwargs):
    return change(original, self, *args, **kwargs)


@mutation
def yarns_ramp_inverted(patch):
    def inverted(original, self, factor):
        kept = self.spec.inv_freq()
        return kept + kept / factor[:, None] - original(self, factor)  # 1 - ramp in the place of ramp

    replace(patch, YaRN, "inv_freq", inverted)


@mutation
def a_window_one_too_wide(patch):
    def wider(original, self):
        return original(Lambda(window=self.window + 1, sink_tokens=self.sink_tokens, distance_limit=None))

    def limited(original, self):
        bands = wider(original, self)
        if self.distance_limit is None:
            return bands
        return [part for band in bands for part in lambda_mask.limited(band, self.distance_limit)]

    replace(patch, Lambda, "bands", limited)


@mutation
def a_limited_distance_off_by_one(patch):
    original = lambda_mask.limited
    patch.setattr(lambda_mask, "limited", lambda band, limit: original(band, limit + 1))


@mutation
def every_rotated_distance_off_by_one(patch):
    def shifted(original, self, band, plain=None):
        return original(self, dataclasses.replace(band, query_at=lambda at: band.query_at(at) + 1), plain)

    replace(patch, Rope, "query_tables_of", shifted)


@mutation
def a_stale_frequency_of_the_longest_context(patch):
    def stale(original, self, factor):
        longest = vars(self).get("longest")
        if longest is None or factor.max() > longest.max():
            vars(self)["longest"] = longest = factor.amax(dim=0, keepdim=True)
        return original(self, longest.expand(factor.shape))

    replace(patch, FrequencyScaling, "forward", stale)


@mutation
def a_stale_frequency_of_other_weights(patch):
    def stale(original, self, factor):
        return vars(self).setdefault("known", {}).setdefault(tuple(factor.tolist()), original(self, factor))

    replace(patch, FrequencyScaling, "forward", stale)


@mutation
def a_far_band_that_overlaps_the_near_one(patch):
    def overlapping(original, self):
        near, *far = original(self)
        return [near, *(dataclasses.replace(band, min_distance=max(band.min_distance - 1, 0)) for band in far)]

    replace(patch, Lambda, "bands", overlapping)


@mutation
def padding_counted_as_tokens(patch):
    def blind(original, self, valid, *args, **kwargs):
        return original(self, torch.ones_like(valid), *args, **kwargs)

    replace(patch, Method, "rope", blind)


@mutation
def padding_seen(patch):
    def blind(original, self, *, valid, **given):
        original(self, valid=torch.ones_like(valid), **given)

    replace(patch, Rope, "__init__", blind)


@mutation
def visibility_decided_on_positions(patch):
    def misled(original, self, *, index, positions, **given):
        original(self, index=positions.round().long(), positions=positions, **given)

    replace(patch, Rope, "__init__", misled)


@mutation
def one_factor_for_a_whole_batch(patch):
    def shared(original, self, lengths, *args):
        return original(self, lengths.amax(dim=0, keepdim=True).expand(lengths.shape), *args)

    replace(patch, DynamicFactor, "evaluation_factor", shared)


@mutation
def frequencies_cast_to_bf16(patch):
    def coarse(original, self, *, inv_freq, **given):
        original(self, inv_freq=inv_freq.bfloat16().float(), **given)

    replace(patch, Rope, "__init__", coarse)


@mutation
def the_future_seen(patch):
    def ahead(original, self, query, *others):
        return original(self, query + 1, *others)

    replace(patch, Band, "visible", ahead)


def lambda_of(**sizes):
    return Lambda(**{"window": 5, "sink_tokens": 2, "distance_limit": 5} | sizes)


WINDOW = PATTERNS["window"]
CONTRACTS = {  # mutation -> the contracts that it breaks, as functions of the fixtures
    "yarns ramp inverted": [
        lambda f: test_scalings.test_yarn_keeps_fast_pairs_and_interpolates_slow_ones_and_half_of_each_between(),
        lambda f: LOGITS_OF_TRANSFORMERS(f.tiny, f.extended, *YARN, "llama"),
    ],
    "a window one too wide": [
        lambda f: test_patterns.test_lambda_sees_the_window_and_the_sinks_at_the_limited_distance()
    ],
    "a limited distance off by one": [
        lambda f: test_patterns.test_lambda_sees_the_window_and_the_sinks_at_the_limited_distance(),
        lambda f: test_definition.test_attention_is_the_definition_of_the_paper(test_definition.lambda_shape),
    ],
    "every rotated distance off by one": [
        lambda f: test_definition.test_attention_is_the_definition_of_the_paper(test_definition.lambda_shape),
        lambda f: test_stock_models.test_the_pretrained_method_is_the_stock_model(f.tiny, f.extended, "llama"),
    ],
    "a stale frequency of the longest context": [
        lambda f: test_rows_alone.test_the_result_does_not_depend_on_what_was_read_before(f.extended, "dynamic_ntk"),
        lambda f: test_scalings.test_nothing_is_stored_between_calls(f.build("ntk", f.spec).scaling),
    ],
    "a stale frequency of other weights": [
        lambda f: test_fingerprint.test_the_fingerprint_of_a_learned_scaling_changes_when_a_weight_changes()
    ],
    "a far band that overlaps the near one": [
        lambda f: test_patterns.test_bands_are_disjoint_and_causal_and_contain_the_query(lambda_of()),
        lambda f: test_patterns.test_bands_are_disjoint_and_causal_and_contain_the_query(
            lambda_of(distance_limit=None)
        ),
    ],
    "padding counted as tokens": [
        lambda f: test_rows_alone.test_padding_changes_nothing(f.extended, "lm_infinite", (5, 0)),
        lambda f: test_rows_alone.test_a_row_does_not_depend_on_the_other_rows(f.extended, "pretrained"),
    ],
    "padding seen": [
        lambda f: test_stock_models.test_the_pretrained_method_pads_as_the_stock_model(f.tiny, f.extended, "llama"),
        lambda f: test_rows_alone.test_padding_changes_nothing(f.extended, "lm_infinite", (3, 4)),
    ],
    "visibility decided on positions": [
        lambda f: test_rope.test_who_sees_whom_goes_by_index_and_rotation_by_position()
    ],
    "one factor for a whole batch": [
        lambda f: test_rows_alone.test_a_row_does_not_depend_on_the_other_rows(f.extended, "dynamic_ntk"),
        lambda f: test_positions.test_a_rows_factor_does_not_depend_on_the_other_rows(DynamicFactor()),
    ],
    "frequencies cast to bf16": [
        lambda f: test_stock_models.test_the_pretrained_method_is_the_stock_model(f.tiny, f.extended, "llama"),
        lambda f: LOGITS_OF_TRANSFORMERS(f.tiny, f.extended, *YARN, "llama"),
    ],
    "the future seen": [
        lambda f: test_patterns.test_bands_are_disjoint_and_causal_and_contain_the_query(
            lambda_of(distance_limit=None)
        ),
        lambda f: test_patterns.test_bands_are_disjoint_and_causal_and_contain_the_query(WINDOW),
    ],
}
YARN = ("yarn", {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, 128)
LOGITS_OF_TRANSFORMERS = (
    test_stock_models.test_a_method_that_transformers_has_gives_its_logits_at_short_and_long_lengths
)
CASES = [pytest.param(name, one, id=f"{name} {i}") for name, some in CONTRACTS.items() for i, one in enumerate(some)]


@dataclasses.dataclass
class Fixtures:
    """What contracts are given."""

    tiny: object
    extended: object
    build: object
    spec: object


@pytest.fixture
def fixtures(tiny, extended, build, spec):
    return Fixtures(tiny, extended, build, spec)


@pytest.mark.parametrize(("name", "contract"), CASES)
def test_the_mutation_breaks_the_contract_that_holds_without_it(name, contract, fixtures, monkeypatch):
    contract(fixtures)
    with monkeypatch.context() as patch:
        MUTATIONS[name](patch)
        with pytest.raises(
            (AssertionError, ValueError), match=r"(?s)assert|not close|change under the method pretrained|do not match"
        ):
            contract(fixtures)
    contract(fixtures)


def test_every_mutation_has_a_contract():
    assert CONTRACTS.keys() == MUTATIONS.keys()
