"""A prefix of several tokens is read by every protocol, and the text behind it is all that is scored."""

import pytest
import torch
from support.losses_by_hand import Letters, all_rows, by_hand
from support.protocols import L, documents, joined, positions, sliding, source, streaming

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.evaluation.perplexity.growing_context import GrowingContext
from lcx_lightning.evaluation.perplexity.short_context import ShortContext

PREFIX = (63, 61, 62)
CHOSEN = {"split": "test", "seed": 0, "batch_tokens": 100, "windows": 3}


class Prefixed(Letters):
    """Letters behind three tokens, which are no letters."""

    prefix = PREFIX


@pytest.fixture(scope="module")
def data():
    letters = source(300, 93, 97)
    return LongContextData(letters.corpus, Prefixed(), letters.mixture)


def growing(**changes):
    return GrowingContext(**CHOSEN | {"multiples": [1, 2, 3], "last": 5} | changes)


PROTOCOLS = {
    "sliding": sliding(multiples=[3]),
    "documents": documents(),
    "documents in chunks shorter than the prefix": documents(chunk=2 / 32),
    "documents_one_pass": documents(chunk=None),
    "positions": positions(),
    "positions in buckets shorter than the prefix": positions(bucket=1 / 32),
    "streaming": streaming(),
    "streaming in chunks shorter than the prefix": streaming(chunk=2),
    "growing_context": growing(),
    "short_context": ShortContext(**CHOSEN),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_row_is_the_loss_of_its_text_behind_the_prefix(data, extended, name):
    """A method whose factor is fixed gives the same losses however a text is read: row by row, or at once."""
    model, texts = extended("yarn"), {d.name: Letters().encode(d.text) for d in data.corpus.documents("test")}
    rows, before = all_rows(PROTOCOLS[name].work_units(data, L, None), model), {}
    longest = {"short_context": L, "positions": 96, "streaming": 96, "sliding": 96}
    for row in rows:
        size, end = longest.get(row["evaluation"], row["context_length"]), row["at"]["window"]
        text = texts[row["document"]][end - size + 3 : end]
        losses = by_hand(model, torch.tensor([[*PREFIX, *text]]))[0, 2:]
        assert len(losses) == size - 3
        scored = losses[-row["n"] :]
        if row["evaluation"] in ("positions", "streaming"):
            first = before.get((row["document"], end), 3)
            last = before[row["document"], end] = row["at"].get("position", row["context_length"])
            assert row["n"] == last - first
            scored = losses[first - 3 : last - 3]
        elif row["protocol"] != "last_k":
            assert row["n"] == size - 3
        assert row["value"] == pytest.approx(float(scored.sum()), abs=1e-3)


def test_a_joined_stream_is_scored_behind_the_prefix(data, extended):
    model = extended("yarn")
    rows = all_rows(joined(multiples=[1, 4]).work_units(data, L, None), model)
    order = [one.index for one in data.joined_documents("test", 128, 0)]
    text = "".join(data.corpus.documents("test")[index].text for index in order)
    losses = by_hand(model, torch.tensor([[*PREFIX, *Letters().encode(text)][:128]]))[0, 2:]
    assert [row["n"] for row in rows] == [29, 96]
    assert [row["value"] for row in rows] == pytest.approx(
        [float(losses[:29].sum()), float(losses[29:].sum())], abs=1e-3
    )


def test_windows_that_slide_each_begin_with_the_prefix(data, extended, monkeypatch):
    from lcx_lightning.evaluation.perplexity import sliding as module

    read, token_nll = [], module.token_nll
    monkeypatch.setattr(module, "token_nll", lambda m, ids, *a: read.extend(ids.tolist()) or token_nll(m, ids, *a))
    model = extended("pretrained")
    rows = all_rows(sliding(multiples=[1], texts=1).work_units(data, L, None), model)
    assert all(tuple(ids[:3]) == PREFIX and len(ids) == L for ids in read)
    losses = [by_hand(model, torch.tensor([ids]))[0] for ids in read]
    last = rows[0]["n"] - 29 - 7 * (len(read) - 2)  # tokens that the last window adds
    total = losses[0][2:].sum() + sum(one[-7:].sum() for one in losses[1:-1]) + losses[-1][-last:].sum()
    assert rows[0]["n"] == 93
    assert rows[0]["value"] == pytest.approx(float(total), abs=1e-3)


def test_settings_that_leave_no_room_behind_the_prefix_are_refused(data):
    with pytest.raises(ValueError, match="must hold the 30 tokens that are scored and BOS"):
        growing(last=30).work_units(data, L, None)
    with pytest.raises(ValueError, match="shorter than every window"):
        sliding(stride=30 / 32).work_units(data, L, None)
