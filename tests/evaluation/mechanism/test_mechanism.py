"""What is inside a model besides attention: hidden states, frequencies, and bounds of scores, each written out."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from support.dense_attention import LENGTH, letters, unrotated
from support.losses_by_hand import all_rows
from support.refusals import COUNT, refusal

from lcx_lightning.evaluation.mechanism.frequencies import Frequencies
from lcx_lightning.evaluation.mechanism.hidden_states import HiddenStates, shares, states_of
from lcx_lightning.evaluation.mechanism.score_bounds import Bounds, ScoreBounds
from lcx_lightning.methods.fingerprint import summarize_passes
from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.methods.scaling.ntk import NTKAware
from lcx_lightning.models.families import FAMILIES

IDS = torch.randint(1, 60, (2, 24), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def data():
    return letters()


# Hidden states


def states(windows=6, places=20, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(windows, places, 8)))


FIRST = torch.arange(20) < 5


def test_states_that_place_decides_are_all_position_and_states_of_text_alone_are_none():
    noise = states()
    of_place = noise[:1].expand(6, -1, -1)
    assert shares(of_place, FIRST)["position"] == pytest.approx(1)
    found = [shares(states(seed=seed), FIRST)["position"] for seed in range(20)]
    assert abs(np.mean(found)) < 0.02
    assert shares(of_place + noise, FIRST)["position"] == pytest.approx(0.5, abs=0.1)


def test_first_tokens_that_are_one_point_and_others_another_share_the_whole_plane():
    points = torch.where(FIRST[:, None], 1.0, -2.0).double() * torch.arange(1, 9)
    found = shares(points.expand(6, -1, -1) + 1e-9 * states(), FIRST)
    assert (found["plane"], found["first_tokens"]) == (pytest.approx(1), pytest.approx(1))
    assert shares(states(), FIRST)["first_tokens"] < 0.1


def test_shares_of_variance_are_those_of_sums_over_every_state_and_of_the_covariance():
    x = (states() + states()[:1] * 2).numpy()
    found, all_states = shares(torch.from_numpy(x), FIRST), x.reshape(-1, 8)
    mean = all_states.mean(axis=0)
    total = sum(((state - mean) ** 2).sum() for state in all_states)
    between = sum(6 * ((x[:, p].mean(axis=0) - mean) ** 2).sum() for p in range(20))
    mean_square_within = (total - between) / (20 * 5)
    assert found["position"] == pytest.approx((between - 19 * mean_square_within) / total)
    values, vectors = np.linalg.eigh(np.cov(all_states.T))
    assert found["plane"] == pytest.approx(values[-2:].sum() / values.sum())
    plane = (x - mean) @ vectors[:, -2:]
    kinds = [plane[:, :5].reshape(-1, 2), plane[:, 5:].reshape(-1, 2)]
    apart = sum(len(kind) * (kind.mean(axis=0) ** 2).sum() for kind in kinds)
    assert found["first_tokens"] == pytest.approx(apart / (plane**2).sum())


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_those_of_transformers(tiny, extended, family):
    places = torch.tensor([1, 2, 17, 23])
    stock = tiny(family)(input_ids=IDS, output_hidden_states=True).hidden_states[1][:, places]
    model = extended("pretrained", family)
    with states_of(model, [0], places) as found:
        for row in IDS.split(1):
            model.base_model(input_ids=row, use_cache=False)
    torch.testing.assert_close(torch.cat(found[0]), stock.double(), rtol=0, atol=1e-4)
    model.base_model(input_ids=IDS, use_cache=False)
    assert len(found[0]) == 2  # nobody looks any more


@torch.no_grad()
def test_rows_of_hidden_states_are_of_all_windows_by_layer_and_length(extended, data):
    settings = {"first_tokens": 4, "later_tokens": 12, "layers": 2, "windows": 3, "split": "test", "seed": 0}
    model, found = extended("lm_infinite"), []
    for batch_tokens in (1, 1000):
        evaluation = HiddenStates(multiples=[1, 3], batch_tokens=batch_tokens, **settings)
        found.append(all_rows(evaluation.work_units(data, LENGTH, None), model))
    names = {(row["context_length"], row["at"]["layer"], row["metric"]) for row in found[0]}
    assert names == set(product((32, 96), (0, 1), ("position", "plane", "first_tokens")))
    assert [row["value"] for row in found[0]] == pytest.approx([row["value"] for row in found[1]], abs=1e-5)
    (row,) = [
        row for row in found[0] if (row["context_length"], row["at"]["layer"], row["metric"]) == (96, 0, "position")
    ]
    later = 4 + np.sort(np.random.default_rng([0, 96]).choice(91, 12, replace=False))
    places = 1 + torch.tensor([0, 1, 2, 3, *later])  # after BOS
    ids = data.window_ids(data.evaluation_windows("test", 96, 3, 0), 96)
    stock = model(ids, output_hidden_states=True).hidden_states[1][:, places]
    assert row["value"] == pytest.approx(shares(stock.double(), torch.arange(16) < 4)["position"], abs=1e-5)
    with pytest.raises(ValueError, match=r"BOS, 4 first and 12 later tokens.*shortest has 16"):
        HiddenStates(multiples=[0.5], batch_tokens=1, **settings).work_units(data, LENGTH, None)
    with pytest.raises(ValueError, match=refusal({"windows": 1}, "a whole number of at least 2")):
        HiddenStates(multiples=[1], batch_tokens=1, **settings | {"windows": 1})


# Frequencies


def spectrum(model, multiples=(1, 2, 4)):
    """Return by protocol and length the values of all pairs."""
    rows = all_rows(Frequencies(multiples=multiples).work_units(None, LENGTH, None), model)
    found = {}
    for row in sorted(rows, key=lambda row: row["at"]["pair"]):
        found.setdefault((row["protocol"], row["context_length"]), []).append(row["value"])
    return found


def test_the_spectrum_is_that_of_the_fingerprint_at_every_length(extended, any_method):
    model = extended(any_method)
    found = spectrum(model)
    for look, length in zip(
        summarize_passes(model.base_model.attached.method, [32, 64, 128], None), (32, 64, 128), strict=True
    ):
        assert found["frequency_spectrum", length] == pytest.approx(look.inv_freq, rel=1e-6)
    learns = any(weight.requires_grad for weight in model.base_model.attached.method.parameters())
    assert (("ode_drift", 64) in found) or not learns


@pytest.mark.parametrize(("name", "slope"), [("clex", 2), ("clex_blocks", None)])
def test_the_drift_of_clex_is_none_before_training_and_then_its_distance_from_ntk_aware_scaling(extended, name, slope):
    model = extended(name)
    scaling = model.base_model.attached.method.scaling
    assert all(value == pytest.approx(0, abs=1e-6) for value in spectrum(model)["ode_drift", 64])
    torch.manual_seed(0)
    torch.nn.init.normal_(scaling.down.weight, std=0.5)
    found, slope = spectrum(model), slope or scaling.alpha_slope
    for length in (64, 128):
        alpha = 1 + slope * (length / LENGTH - 1)
        ntk = NTKAware(scaling.spec)(torch.tensor([alpha]))[0].double()
        learned = torch.tensor(found["frequency_spectrum", length])
        assert found["ode_drift", length] == pytest.approx((learned / ntk).log().tolist(), abs=1e-5)
        assert max(map(abs, found["ode_drift", length])) > 0.01


# Bounds of scores


def sums_by_hand(inv_freq, distance):
    """Return B(s) of the paper."""
    return sum(abs(sum(np.exp(1j * distance * f) for f in inv_freq[:k])) for k in range(1, len(inv_freq) + 1))


def test_the_claim_of_600_is_that_of_the_paper_and_less_with_the_sum_itself():
    llama = RopeSpec(dim=128, base=10_000.0, pretrain_length=2048)
    bounds = Bounds(llama.inv_freq().double(), 2048, [2051])
    by_hand = [sums_by_hand(10_000.0 ** -(np.arange(64) / 64), s) for s in range(2048, 2052)]
    assert bounds.extrapolation[2051] == pytest.approx(2 * max(by_hand), rel=1e-4)
    assert bounds.least[2051] == pytest.approx(2 * min(by_hand), rel=1e-4)
    assert 2 * 128 / (128 / (32 * math.log(10_000))) == pytest.approx(64 * math.log(10_000))
    assert 2 * 128 / bounds.interpolation == pytest.approx(512, abs=0.5)


@pytest.fixture(scope="module")
def bounded(extended, data):
    """A model, and the rows of its scores."""
    settings = {"pairs": 5, "layers": 2, "heads": 2, "windows": 2, "split": "test", "seed": 0, "batch_tokens": 1000}
    model = extended("yarn")
    return model, all_rows(ScoreBounds(multiples=[1, 4], **settings).work_units(data, LENGTH, None), model)


def test_a_model_that_multiplies_its_features_has_products_larger_by_the_square(extended, data):
    settings = {"pairs": 5, "layers": 1, "heads": 2, "windows": 1, "split": "test", "seed": 0, "batch_tokens": 1000}
    model, found = extended("pretrained"), []
    scaling = model.base_model.attached.method.scaling
    for spec in (scaling.spec, replace(scaling.spec, feature_scale=3.0)):
        scaling.spec = spec
        rows = all_rows(ScoreBounds(multiples=[1], **settings).work_units(data, LENGTH, None), model)
        found.append([row["value"] for row in rows if row["metric"] == "largest_h"])
    assert found[1] == pytest.approx([9 * value for value in found[0]], rel=1e-5)


def test_scores_are_below_their_bounds(bounded):
    found = {}
    for row in bounded[1]:
        place = row["document"], row["context_length"], *row["at"].items()
        found.setdefault(place, {})[row["metric"]] = row["value"]
    of_model = [values for values in found.values() if "largest_h" in values]
    assert len(of_model) == 2 * 2 * 2 * 2
    for values in of_model:
        assert 0 < values["extrapolated_score"] < values["extrapolation_bound"]
        assert 0 < values["interpolation_error"] < values["interpolation_bound"]
    ratios = [values for values in found.values() if "claimed_ratio" in values]
    assert [values["claimed_ratio"] for values in ratios] == [pytest.approx(64 * math.log(10_000))] * 2


def test_scores_are_those_of_a_query_and_a_key_turned_to_every_distance(bounded, data):
    model, rows = bounded
    drawn = np.random.default_rng([0, LENGTH])
    queries = drawn.integers(1, LENGTH, 5)
    keys = drawn.integers(0, queries + 1)
    windows = data.evaluation_windows("test", LENGTH, 2, 0)
    angles = 10_000.0 ** -(np.arange(8) / 8)
    (q, k), scale = unrotated(model, data.window_ids(windows, LENGTH))[1], 16**-0.5

    def score(pair, distance):
        (a, b), (c, d) = (np.split(x.numpy(), 2) for x in (q[1, 3, queries[pair]], k[1, 3, keys[pair]]))
        turned = c * np.cos(-angles * distance) - d * np.sin(-angles * distance)
        other = d * np.cos(-angles * distance) + c * np.sin(-angles * distance)
        return scale * float(a @ turned + b @ other)

    def straight(pair, distance):
        return (score(pair, distance - 0.5) + score(pair, distance + 0.5)) / 2

    wanted = {
        "extrapolated_score": [max(abs(score(i, s)) for s in range(LENGTH, 4 * LENGTH + 1)) for i in range(5)],
        "interpolation_error": [
            max(abs(score(i, s + 0.5) - straight(i, s + 0.5)) for s in range(LENGTH - 1)) for i in range(5)
        ],
    }
    place = {"document": windows[1].document, "context_length": 4 * LENGTH}
    place["at"] = {"window": windows[1].end, "layer": 1, "head": 3}
    for metric, values in wanted.items():
        (row,) = [row for row in rows if row | place == row and row["metric"] == metric]
        assert (row["value"], row["n"]) == (pytest.approx(sum(values), abs=1e-4), 5)


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({"multiples": few}, "a list, not empty, of numbers of at least 1") for few in ([0.5], [])]
    + [({name: 0}, COUNT) for name in ("pairs", "layers", "heads", "windows", "batch_tokens")],
)
def test_bounds_say_what_they_need(changes, allowed):
    settings = {"multiples": [1], "pairs": 5, "layers": 2, "heads": 2, "windows": 2, "split": "test", "seed": 0}
    with pytest.raises(ValueError, match=refusal(changes, allowed)):
        ScoreBounds(**settings | {"batch_tokens": 1} | changes)
