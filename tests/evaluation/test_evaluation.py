"""Evaluation: negative log-likelihoods against a brute force, rows against sums by hand, the same windows for all."""

import math

import pytest
import torch
from support.lab import composed
from support.losses_by_hand import Letters, all_rows, by_hand
from support.made import made
from support.refusals import COUNT, MULTIPLES, refusal
from support.text_corpora import CORPUS_ONLY, Books

from lcx_lightning.data.corpora.base import SPLITS
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.base import WorkUnit, run
from lcx_lightning.evaluation.perplexity import nll
from lcx_lightning.evaluation.perplexity.growing_context import GrowingContext
from lcx_lightning.evaluation.perplexity.nll import token_nll
from lcx_lightning.evaluation.perplexity.streaming import Streaming, stream_nll
from lcx_lightning.models.families import FAMILIES
from lcx_lightning.results import records

LENGTH = 32  # tokens, pretraining length
LAST = 5


@pytest.fixture(scope="module")
def data():
    """Three documents a split, of 300, 200 and 100 letters."""
    numbers = [[i * i + 7 * i * d for i in range(300 - 100 * d)] for d in range(3)]
    texts = {
        split: ["".join(chr(65 + (n + s) % 58) for n in some) for some in numbers] for s, split in enumerate(SPLITS)
    }
    return LongContextData(Books(**texts), Letters(), CORPUS_ONLY)


def evaluation(**changes):
    settings = {"multiples": [1, 2, 3], "last": LAST, "windows": 4, "split": "test", "seed": 0, "batch_tokens": 96}
    return GrowingContext(**settings | changes)


@pytest.mark.parametrize("logits", [2**25, 64 * 2 * 7, 1])
def test_token_losses_are_those_of_all_logits_in_chunks_too(tiny, monkeypatch, logits):
    model, ids = tiny(), torch.randint(0, 64, (2, 40), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(nll, "LOGITS", logits)
    losses = token_nll(model, ids)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), by_hand(model, ids), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_token_losses_are_those_of_the_logits_of_every_family(tiny, family):
    model = tiny(family, **({"logit_scale": 0.25} if family == "cohere" else {}))
    ids = torch.randint(0, 64, (2, 20), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(token_nll(model, ids).double(), by_hand(model, ids), rtol=0, atol=1e-5)


def test_token_losses_are_those_of_the_method_and_not_of_the_untouched_model(extended):
    model, ids = extended("lm_infinite"), torch.randint(0, 64, (1, 100), generator=torch.Generator().manual_seed(0))
    losses = token_nll(model, ids).double()
    torch.testing.assert_close(losses, by_hand(model, ids), rtol=0, atol=1e-5)
    untouched = by_hand(extended("pretrained"), ids)
    torch.testing.assert_close(losses[:, :LENGTH], untouched[:, :LENGTH], rtol=0, atol=1e-5)
    assert (losses - untouched)[:, 2 * LENGTH :].abs().max() > 0.01


def test_rows_are_the_sums_of_the_last_tokens_and_of_all_tokens_after_bos(extended, data):
    model = extended("yarn")
    rows = all_rows(evaluation().work_units(data, LENGTH, None), model)
    documents = {d.name: Letters().encode(d.text) for d in data.corpus.documents("test")}
    assert len(rows) == 4 * 3 * 2
    for row in rows:
        text = documents[row["document"]][: row["at"]["window"]]
        ids = torch.tensor([[*Letters.prefix, *text[len(text) - row["context_length"] + 1 :]]])
        assert ids.shape == (1, row["context_length"])
        scored = {"last_k": LAST, "whole_window": row["context_length"] - 1}[row["protocol"]]
        assert row["n"] == scored
        assert row["value"] == pytest.approx(float(by_hand(model, ids)[0, -scored:].sum()), abs=1e-4)
        assert (row["evaluation"], row["dataset"], row["metric"]) == ("growing_context", "books/test", "nll")


def test_every_length_ends_with_the_same_tokens(data):
    work_units = evaluation().work_units(data, LENGTH, None)
    ends = {
        n: {(r["document"], r["at"]["window"]) for p in work_units for r in p.rows if r["context_length"] == n}
        for n in (32, 64, 96)
    }
    assert ends[32] == ends[64] == ends[96]
    assert len(ends[32]) == 4


def test_every_arm_sees_the_same_windows_whatever_it_reaches(data):
    def seen(max_context):
        rows = [r for p in evaluation().work_units(data, LENGTH, max_context) for r in p.rows]
        return {records.identity(r) for r in rows}

    assert {row for row in seen(None) if dict(row)["context_length"] <= 64} == seen(64) == seen(95)
    assert seen(96) == seen(None)


def test_the_size_of_a_batch_changes_no_number(extended, data):
    model = extended("dynamic_ntk")
    values = []
    for batch_tokens in (1, 10_000):
        rows = all_rows(evaluation(batch_tokens=batch_tokens).work_units(data, LENGTH, None), model)
        values.append(
            {(r["document"], r["at"]["window"], r["context_length"], r["protocol"]): r["value"] for r in rows}
        )
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_work_units_that_are_done_are_not_computed_again_and_their_rows_are_not_written_again(
    extended, data, monkeypatch
):
    model, work_units = extended("pi"), evaluation().work_units(data, LENGTH, None)
    rows = all_rows(work_units, model)
    computed = []
    monkeypatch.setattr(
        "lcx_lightning.evaluation.perplexity.growing_context.token_nll",
        lambda m, ids: computed.append(ids.shape) or token_nll(m, ids),
    )
    done = rows[: len(rows) // 2 + 1]  # an odd number: the work unit in the middle is half done
    keys = [records.identity(row) for row in done]
    rest = all_rows(work_units, model, lambda row: records.identity(row) in keys)
    assert done + rest == rows
    assert 0 < len(computed) < len(work_units)
    computed.clear()
    assert all_rows(work_units, model, lambda row: True) == []
    assert computed == []


def test_progress_is_told_from_nothing_to_all(extended, data):
    told = []
    work_units = evaluation().work_units(data, LENGTH, None)
    list(run(work_units, extended("pi"), lambda row: False, lambda done, total: told.append((done, total))))
    assert told == [(i, len(work_units)) for i in range(len(work_units) + 1)]


def test_evaluation_windows_are_held_out_and_none_overlap_another(data):
    windows = {(r["document"], r["at"]["window"]) for p in evaluation().work_units(data, LENGTH, None) for r in p.rows}
    assert all(document.startswith("test") for document, _ in windows)
    spans = [(document, set(range(end - 95, end))) for document, end in windows]
    for i, (document, span) in enumerate(spans):
        assert not any(document == other and span & more for other, more in spans[:i])


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({"multiples": few}, MULTIPLES) for few in ([], [0, 1])] + [({"last": 0}, COUNT), ({"windows": 0}, COUNT)],
)
def test_settings_that_score_nothing_are_refused(changes, allowed):
    with pytest.raises(ValueError, match=refusal(changes, allowed)):
        evaluation(**changes)


def test_a_context_too_short_for_the_scored_tokens_is_refused(data):
    with pytest.raises(ValueError, match=r"32 tokens that are scored.*shortest has 32 tokens\. Lower last"):
        evaluation(last=32).work_units(data, LENGTH, None)
    assert evaluation(last=31).work_units(data, LENGTH, None)


def test_a_context_longer_than_any_document_is_refused_with_how_long_they_are(data):
    with pytest.raises(ValueError, match="longest is test-0 with 300 tokens"):
        evaluation(multiples=[1, 10]).work_units(data, LENGTH, None)


def test_the_protocol_of_the_config_file_scores_half_of_the_shortest_context_at_most():
    settings = composed().evaluation.growing_context
    assert settings.last <= 128 * settings.multiples[0] / 2
    assert made(settings).lengths(128) == [128 * m for m in settings.multiples]
    assert math.log2(settings.multiples[-1]) == 5  # to 32 times the pretraining length


def test_a_work_unit_that_measures_time_is_exclusive_and_all_processes_yield_equally_often():
    def unit(name, exclusive=False):
        row = {"document": name}
        return WorkUnit([row], lambda _: [row | {"value": 1.0}], exclusive=exclusive)

    work_units = [unit("a"), unit("b"), unit("c", exclusive=True), unit("d", exclusive=True), unit("e")]
    shares = [list(run(work_units, None, lambda row: False, lambda *_: None, share=(rank, 2))) for rank in (0, 1)]
    names = [[[row["document"] for row in rows] for rows in share] for share in shares]
    assert names == [[["a"], ["c"], ["d"], ["e"]], [["b"], [], [], []]]


# Streaming


def streaming(**changes):
    settings = {"multiples": [1, 2, 3], "windows": 4, "split": "test", "seed": 0, "chunk": 13}
    return Streaming(**settings | changes)


@pytest.mark.parametrize("name", ["pretrained", "lm_infinite", "streaming_llm", "yarn", "self_extend"])
@pytest.mark.parametrize("sizes", [(100,), (1, 99), (7, 1, 40, 52)])
def test_the_losses_of_a_stream_are_those_of_one_pass(extended, name, sizes):
    model, ids = extended(name), torch.randint(0, 64, (2, 100), generator=torch.Generator().manual_seed(0))
    losses = torch.cat(list(stream_nll(model, ids.split(sizes, dim=1))), dim=1)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), by_hand(model, ids), rtol=0, atol=1e-5)


def test_the_rows_of_a_stream_share_out_its_tokens_by_depth(extended, data):
    model = extended("lm_infinite")
    rows = all_rows(streaming().work_units(data, LENGTH, None), model)
    documents = {d.name: Letters().encode(d.text) for d in data.corpus.documents("test")}
    assert len(rows) == 4 * 3
    for row in rows:
        text = documents[row["document"]][: row["at"]["window"]]
        losses = by_hand(model, torch.tensor([[*Letters.prefix, *text[len(text) - 95 :]]]))[0]
        start, end = {32: (0, 31), 64: (31, 63), 96: (63, 95)}[row["context_length"]]
        assert row["n"] == end - start
        assert row["value"] == pytest.approx(float(losses[start:end].sum()), abs=1e-4)
        assert (row["evaluation"], row["protocol"], row["metric"]) == ("streaming", "streaming", "nll")


def test_a_stream_ends_where_the_method_does_on_the_same_tokens(extended, data):
    model = extended("lm_infinite")
    rows, short = (all_rows(streaming().work_units(data, LENGTH, max_context), model) for max_context in (None, 70))
    kept = [row for row in rows if row["context_length"] <= 64]
    assert [row | {"value": None} for row in short] == [row | {"value": None} for row in kept]
    assert [row["value"] for row in short] == pytest.approx([row["value"] for row in kept], abs=1e-4)
    assert streaming().work_units(data, LENGTH, 20) == []


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({"multiples": few}, MULTIPLES) for few in ([], [0])]
    + [({"windows": 0}, COUNT), ({"chunk": 1}, "a whole number of at least 2")],
)
def test_a_stream_says_what_it_needs(changes, allowed):
    with pytest.raises(ValueError, match=refusal(changes, allowed)):
        streaming(**changes)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_refused_with_its_place(value):
    row = {"metric": "nll", "document": "d0", "context_length": 2048, "protocol": "last_k"}
    unit = WorkUnit([row], lambda _: [row | {"value": value, "n": 1}])
    with pytest.raises(ValueError, match=r"nll of d0 at 2,048 tokens \(last_k\) is (nan|inf|-inf): weights"):
        list(unit.computed(None))
