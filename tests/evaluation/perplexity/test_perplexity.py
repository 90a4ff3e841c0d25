"""The perplexity protocols of the papers: each against a brute force."""

import pytest
import torch
from support.losses_by_hand import Letters, all_rows, by_hand
from support.protocols import METHODS, L, documents, joined, positions, sliding, source
from support.refusals import COUNT, MULTIPLES, refusal
from transformers import DynamicCache


@pytest.fixture(scope="module")
def data():
    """Documents that hold three texts of 96 tokens, and one that holds none."""
    return source(300, 94, 97)


@pytest.fixture(params=METHODS)
def model(request, extended):
    return extended(request.param)


def letters(data, row):
    """Return the tokens of the row's document up to the row's end."""
    (text,) = (d.text for d in data.corpus.documents("test") if d.name == row["document"])
    return Letters().encode(text)[: row["at"]["window"]]


def window(data, row, end, length):
    """Return BOS and the `length` - 1 tokens before `end` of the row's document."""
    return torch.tensor([[*Letters.prefix, *letters(data, row)[end - length + 1 : end]]])


# Sliding windows


def test_sliding_windows_score_every_token_of_a_text_in_the_first_window_that_holds_it(data, model):
    rows = all_rows(sliding().work_units(data, L, None), model)
    assert len(rows) == 3 * 3
    for row in rows:
        length, stride, first = row["context_length"], 7, row["at"]["window"] - 95
        assert (row["n"], row["details"]["stride"], row["protocol"], row["metric"]) == (95, stride, "sliding", "nll")
        total, losses = 0.0, {}
        for place in range(first, row["at"]["window"]):  # one token at a time
            ends = [first + length - 1 + i * stride for i in range(100)]
            end = min(next(end for end in ends if end > place), row["at"]["window"])
            if end not in losses:
                losses[end] = by_hand(model, window(data, row, end, length))[0]
            total += float(losses[end][place - end])
        assert row["value"] == pytest.approx(total, abs=1e-4)


def test_sliding_windows_of_the_untouched_method_score_what_the_stock_model_does(data, extended, tiny):
    ours = all_rows(sliding(multiples=[3]).work_units(data, L, None), extended("pretrained"))
    stock = [float(by_hand(tiny(), window(data, row, row["at"]["window"], 96)).sum()) for row in ours]
    assert [row["value"] for row in ours] == pytest.approx(stock, abs=1e-4)


@pytest.mark.parametrize(("text", "windows"), [(3.0, 1), (3.03125, 2), (3.21875, 2), (3.25, 3)])
def test_a_text_of_one_token_more_than_a_window_has_a_second_window_for_it(extended, text, windows, monkeypatch):
    from lcx_lightning.evaluation.perplexity import sliding as module

    read, size = [], round(text * L)
    token_nll = module.token_nll
    monkeypatch.setattr(module, "token_nll", lambda m, ids, *a: read.extend(ids) or token_nll(m, ids, *a))
    one = sliding(multiples=[3], text=text, texts=1)
    (unit,) = one.work_units(source(size - 1), L, None)
    (row,) = all_rows([unit], extended("pretrained"))
    assert len(read) == windows == unit.reads[0].texts
    assert row["n"] == size - 1
    assert all(len(ids) == 96 and ids[0] == Letters.prefix[0] for ids in read)


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({"multiples": few}, MULTIPLES) for few in ([], [0, 1])]
    + [({"texts": 0}, COUNT), ({"text": 0}, "a number above 0"), ({"stride": 0}, "a number above 0")],
)
def test_sliding_windows_say_what_they_need(changes, allowed):
    with pytest.raises(ValueError, match=refusal(changes, allowed)):
        sliding(**changes)


def test_a_text_shorter_than_the_longest_window_is_refused():
    with pytest.raises(ValueError, match=r"a text at least as long as the largest of multiples, got text=2\.9, .*3"):
        sliding(text=2.9)


@pytest.mark.parametrize("stride", [0.001, 1, 2])
def test_a_stride_that_leaves_out_tokens_is_refused(data, stride):
    with pytest.raises(ValueError, match="shorter than every window"):
        sliding(stride=stride).work_units(data, L, None)


# Documents


def read_in_chunks(model, ids, chunk):
    """Return -log p of every token after the first, of all logits, under a cache of the library."""
    cache = DynamicCache()
    with torch.no_grad():
        logits = torch.cat([model(part, past_key_values=cache).logits for part in ids.split(chunk, dim=1)], dim=1)
    return -logits.double().log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]


@pytest.mark.parametrize("chunk", [0.75, None])
def test_documents_of_exactly_the_length_score_all_their_tokens(data, model, chunk):
    name = "documents" if chunk else "documents_one_pass"
    rows = all_rows(documents(chunk=chunk).work_units(data, L, None), model)
    assert len(rows) == 3 * (3 + 1 + 1)  # 95 tokens of text are three documents of 31, one of 63 or one of 95
    for row in rows:
        ids = window(data, row, row["at"]["window"], row["context_length"])
        losses = read_in_chunks(model, ids, 24) if chunk else by_hand(model, ids)
        assert row["value"] == pytest.approx(float(losses.sum()), abs=1e-4)
        assert (row["n"], row["protocol"]) == (ids.shape[1] - 1, name)
        assert row.get("details") == ({"chunk": 24} if chunk else None)


def test_the_documents_of_a_length_stand_side_by_side_and_share_no_token(data):
    rows = [row for unit in documents().work_units(data, L, None) for row in unit.rows if row["context_length"] == L]
    spans = [(row["document"], place) for row in rows for place in range(row["at"]["window"] - 31, row["at"]["window"])]
    assert len(set(spans)) == len(spans) == 9 * 31
    assert all(place >= 0 for _, place in spans)
    texts = [[row["at"]["window"] for row in rows[i : i + 3]] for i in range(0, 9, 3)]
    assert all(ends == [ends[0], ends[0] - 31, ends[0] - 62] for ends in texts)


def test_chunks_matter_to_a_factor_that_grows_and_to_no_other(data, extended):
    def values(model, chunk):
        return [
            row["value"] for row in all_rows(documents(chunk=chunk, multiples=[3]).work_units(data, L, None), model)
        ]

    static, dynamic = extended("yarn"), extended("dynamic_ntk")
    assert values(static, 0.75) == pytest.approx(values(static, None), abs=1e-3)
    assert values(dynamic, 0.75) != pytest.approx(values(dynamic, None), abs=0.1)


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({"multiples": few}, MULTIPLES) for few in ([], [0])]
    + [({"texts": 0}, COUNT), ({"chunk": 0}, "a number above 0 or null")],
)
def test_documents_say_what_they_need(changes, allowed):
    with pytest.raises(ValueError, match=refusal(changes, allowed)):
        documents(**changes)


# Positions


def test_positions_share_out_the_tokens_of_one_pass(data, model):
    rows = all_rows(positions().work_units(data, L, None), model)
    assert [row["at"]["position"] for row in rows[:8]] == [13, 26, 39, 52, 65, 78, 91, 96]
    assert len(rows) == 3 * 8
    for row in rows:
        losses = by_hand(model, window(data, row, row["at"]["window"], 96))[0]
        start = max(1, (row["at"]["position"] - 1) // 13 * 13)
        places = range(start, row["at"]["position"])
        assert row["value"] == pytest.approx(sum(float(losses[place - 1]) for place in places), abs=1e-4)
        assert (row["n"], row["details"]["bucket"], row["context_length"]) == (len(places), 13, 96)


def test_positions_are_those_of_the_longest_text_in_reach(data, extended):
    rows = all_rows(positions().work_units(data, L, 70), extended("dynamic_ntk"))
    losses = by_hand(extended("dynamic_ntk"), window(data, rows[0], rows[0]["at"]["window"], 96)[:, :64])
    assert sum(row["value"] for row in rows[:5]) == pytest.approx(float(losses.sum()), abs=1e-4)
    assert {row["context_length"] for row in rows} == {64}
    assert positions().work_units(data, L, 20) == []


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({"multiples": few}, MULTIPLES) for few in ([], [0])]
    + [({"texts": 0}, COUNT), ({"bucket": 0}, "a number above 0")],
)
def test_positions_say_what_they_need(changes, allowed):
    with pytest.raises(ValueError, match=refusal(changes, allowed)):
        positions(**changes)


# A stream of documents


def test_a_joined_stream_is_whole_documents_one_after_the_other(data, extended):
    model = extended("lm_infinite")
    rows = all_rows(joined().work_units(data, L, None), model)
    order = [one.index for one in data.joined_documents("test", 320, 0)]
    assert sorted(order) in ([0, 1, 2], [0, 1], [0, 2])
    text = "".join(data.corpus.documents("test")[index].text for index in order)
    losses = by_hand(model, torch.tensor([[*Letters.prefix, *Letters().encode(text)][:320]]))[0]
    for row, (start, end) in zip(rows, [(0, 31), (31, 63), (63, 319)], strict=True):
        assert (row["n"], row["context_length"]) == (end - start, end + 1)
        assert row["value"] == pytest.approx(float(losses[start:end].sum()), abs=1e-4)
        assert row["document"] == f"test-{order[0]} and {len(order) - 1} more"


def test_a_joined_stream_takes_each_document_once_in_an_order_of_its_own(data):
    names = [[one.document for one in data.joined_documents("test", 492, seed)] for seed in range(20)]
    assert all(sorted(one) == ["test-0", "test-1", "test-2"] for one in names)
    assert len(set(map(tuple, names))) > 1
    assert sum(one.end for one in data.joined_documents("test", 400, 3)) == 399


def test_a_stream_longer_than_all_documents_is_refused_with_how_much_there_is(data):
    assert joined(multiples=[492 / L]).work_units(data, L, None)
    with pytest.raises(ValueError, match=r"493 tokens .*test split, whose 3 documents hold 491 tokens"):
        joined(multiples=[493 / L]).work_units(data, L, None)
    assert joined().work_units(data, L, 20) == []


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [({"multiples": few}, MULTIPLES) for few in ([], [0])] + [({"chunk": 1}, "a whole number of at least 2")],
)
def test_a_joined_stream_says_what_it_needs(changes, allowed):
    with pytest.raises(ValueError, match=refusal(changes, allowed)):
        joined(**changes)


# Rows come out while a stream is read
