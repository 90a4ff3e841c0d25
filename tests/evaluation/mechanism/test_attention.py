"""Attention from inside: logits, entropy and weight of the first tokens against every pair written out."""

from collections import Counter

import pytest
import torch
from support.dense_attention import LENGTH, dense_logits, letters, unrotated
from support.losses_by_hand import all_rows
from support.refusals import COUNT, MULTIPLES, refusal
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lcx_lightning.attention.forward_pass import ForwardPass
from lcx_lightning.evaluation.mechanism import attention
from lcx_lightning.evaluation.mechanism.attention import Attention
from lcx_lightning.evaluation.mechanism.sampling import evenly_spaced, last_queries
from lcx_lightning.models.attached import listening
from lcx_lightning.models.families import FAMILIES

FIRST = [1, 4, 16]


@pytest.fixture(scope="module")
def data():
    return letters()


def evaluation(**changes):
    settings = {"multiples": [1, 3], "last": 20, "queries": 7, "layers": 2, "heads": 2, "first_tokens": FIRST}
    settings |= {"windows": 1, "split": "test", "seed": 0, "batch_tokens": 64}
    return Attention(**settings | changes)


def values(rows):
    """Return sum and count by what tells a row apart."""
    found = {}
    for row in rows:
        text = row["protocol"], row["document"], row["at"]["window"], row["context_length"], row["metric"]
        place = (row["at"].get(name) for name in ("layer", "head", "distance", "first_tokens"))
        found[*text, *place] = row["value"], row["n"]
    return found


@torch.no_grad()
def expected(model, data, length):
    """Return what `values` of the rows of one length should be, from all pairs."""
    windows, found = data.evaluation_windows("test", 3 * LENGTH, 1, 0), {}
    queries, heads = last_queries(7, 20, length, 0), [0, 3]
    for layer, (q, k) in enumerate(unrotated(model, data.window_ids(windows, length))):
        logits = dense_logits(model, q, k, (layer + 1) / 2)
        weights = logits.softmax(dim=-1)
        for row, window in enumerate(windows):
            for head in heads:
                name = (window.document, window.end, length)
                place, some = (layer, head), logits[row, head, queries]
                for start in [0, *(2**i for i in range(7))]:
                    best, size = [], []
                    for logit, query in zip(some, queries, strict=True):
                        apart = query - torch.arange(length)
                        bin_ = logit[(apart >= start) & (apart < max(2 * start, 1)) & logit.isfinite()]
                        best += sorted(bin_.tolist())[-1:]
                        size += sorted(bin_.abs().tolist())[-1:]
                    for metric, those in (("largest_logit", best), ("largest_size", size)):
                        if those:
                            found["attention_logits", *name, metric, *place, start, None] = sum(those), len(those)
                of_queries = weights[row, head, queries]
                entropy = -(of_queries * of_queries.clamp(min=1e-300).log()).sum()
                found["attention_entropy", *name, "entropy", *place, None, None] = float(entropy), 7
                for count in FIRST:
                    held = float(of_queries[:, :count].sum())
                    found["attention_sinks", *name, "weight", *place, None, count] = held, 7
    return found


def test_every_number_is_that_of_all_pairs_written_out(extended, data, some_method):
    model = extended(some_method)
    rows = all_rows(evaluation().work_units(data, LENGTH, None), model)
    wanted = expected(model, data, LENGTH) | expected(model, data, 3 * LENGTH)
    ours = values(rows)
    assert ours.keys() == wanted.keys()
    for name, (value, count) in wanted.items():
        assert ours[name] == (pytest.approx(value, abs=1e-4), count), name


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_entropy_and_weight_of_the_first_tokens_are_those_of_the_attentions_of_transformers(
    tiny, extended, data, family
):
    (window,) = data.evaluation_windows("test", LENGTH, 1, 0)
    stock = tiny(family)(input_ids=data.window_ids([window], LENGTH), output_attentions=True).attentions
    rows = all_rows(
        evaluation(multiples=[1], windows=1, heads=2).work_units(data, LENGTH, None), extended("pretrained", family)
    )
    queries = last_queries(7, 20, LENGTH, 0)
    for row in rows:
        if row["metric"] in ("entropy", "weight"):
            weights = stock[row["at"]["layer"]][0, row["at"]["head"], queries].double()
            first = weights[:, : row["at"].get("first_tokens")].sum()
            wanted = first if row["metric"] == "weight" else torch.special.entr(weights).sum()
            assert row["value"] == pytest.approx(float(wanted), abs=1e-4), row
    assert {row["at"]["layer"] for row in rows} == {0, 1}


def test_distances_that_no_query_sees_have_no_row(extended, data):
    rows = all_rows(evaluation().work_units(data, LENGTH, None), extended("window_only"))
    logits = [row for row in rows if row["metric"] == "largest_logit" and row["context_length"] == 3 * LENGTH]
    assert {row["at"]["distance"] for row in logits} == {0, 1, 2, 4, 8, 16}
    assert Counter(row["n"] for row in logits).keys() == {7}


def test_the_same_queries_are_asked_at_every_length():
    assert (LENGTH - last_queries(7, 20, LENGTH, 0)).tolist() == (90 - last_queries(7, 20, 90, 0)).tolist()
    assert last_queries(7, 20, LENGTH, 0).tolist() != last_queries(7, 20, LENGTH, 1).tolist()
    assert last_queries(50, 20, LENGTH, 0).tolist() == list(range(12, 32))


@pytest.mark.parametrize(
    ("count", "of", "found"), [(1, 5, [0]), (2, 5, [0, 4]), (3, 9, [0, 4, 8]), (9, 3, [0, 1, 2]), (3, 1, [0])]
)
def test_a_sample_is_evenly_spread_from_the_first_to_the_last(count, of, found):
    assert evenly_spaced(count, of) == found


def test_neither_the_size_of_a_batch_nor_of_a_block_of_queries_changes_a_number(extended, data, monkeypatch):
    model = extended("lm_infinite")
    whole = values(all_rows(evaluation(windows=2, batch_tokens=1000).work_units(data, LENGTH, None), model))
    monkeypatch.setattr(attention, "PAIRS", 1)
    small = values(all_rows(evaluation(windows=2, batch_tokens=1).work_units(data, LENGTH, None), model))
    assert small.keys() == whole.keys()
    for name, (value, count) in whole.items():
        assert small[name] == (pytest.approx(value, abs=1e-4), count)


def test_the_rows_that_a_work_unit_names_are_written_last_and_make_it_done(extended, data):
    model, work_units = extended("lm_infinite"), evaluation(windows=2).work_units(data, LENGTH, None)
    rows = all_rows(work_units, model)
    known = values([row | {"value": None} for unit in work_units for row in unit.rows])
    assert known.keys() < values(rows).keys()
    for unit in work_units:
        computed = list(values(unit.compute(model)))
        assert set(computed[-len(unit.rows) :]) == values([row | {"value": None} for row in unit.rows]).keys()
    there = values(rows)
    assert all_rows(work_units, model, lambda row: values([row | {"value": None}]).keys() <= there.keys()) == []


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        made = [
            x.untyped_storage().nbytes() // x.element_size() for x in tree_leaves(out) if isinstance(x, torch.Tensor)
        ]
        self.elements = max([self.elements, *made])
        return out


@pytest.mark.parametrize("name", ["pretrained", "lm_infinite", "lm_infinite_top_k"])
def test_no_tensor_of_all_pairs_is_ever_made(extended, name, monkeypatch):
    model, length = extended(name), 2048
    monkeypatch.setattr(attention, "PAIRS", 2**14)
    (unit,) = evaluation(multiples=[64], windows=1).work_units(letters(2100), LENGTH, None)
    with Largest() as largest:
        unit.compute(model)
    assert largest.elements < length**2 / 8


def test_a_model_is_watched_inside_the_context_alone(extended, monkeypatch):
    model, seen, passes = extended("pi"), [], []
    make = ForwardPass.__init__
    record = lambda self, *args, **given: passes.append(self) or make(self, *args, **given)  # noqa: E731
    monkeypatch.setattr(ForwardPass, "__init__", record)
    ids = torch.ones(1, 8, dtype=torch.int64)
    with listening(model.base_model, seen.append):
        model(ids)
    with pytest.raises(ValueError, match="mask"), listening(model.base_model, seen.append):
        model(ids, attention_mask=torch.ones(1, 1, 8, 8))
    model(ids)
    assert [attended.layer for attended in seen] == [0, 1]
    assert [one.listener is None for one in passes] == [False, True]


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({"multiples": few}, MULTIPLES) for few in ([], [0])]
    + [({"first_tokens": few}, "a list, not empty, of whole numbers of at least 1") for few in ([], [0])]
    + [({name: 0}, COUNT) for name in ("last", "queries", "layers", "heads", "windows", "batch_tokens")],
)
def test_settings_that_look_at_nothing_are_refused(changes, allowed):
    with pytest.raises(ValueError, match=refusal(changes, allowed)):
        evaluation(**changes)


def test_a_context_too_short_for_the_queries_is_refused(data):
    with pytest.raises(ValueError, match=r"the 32 tokens that queries are drawn from, .*shortest has 32 tokens"):
        evaluation(last=32).work_units(data, LENGTH, None)
