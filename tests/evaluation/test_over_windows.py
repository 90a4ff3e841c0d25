"""An evaluation of windows of one's own: what `score` returns becomes rows, and a mistake in it is named."""

from typing import Any

import pytest
import torch
from support.losses_by_hand import all_rows
from support.protocols import source

from lcx_lightning.evaluation import OverWindows
from lcx_lightning.results import percentage

CHOSEN: dict[str, Any] = {"multiples": [1, 2], "windows": 3, "split": "test", "seed": 0, "batch_tokens": 128}
L = 32


class EvenBytes(OverWindows):
    """Share of the even tokens after BOS, and the largest token of each window; the model is not asked."""

    def metrics(self):
        return {"even_bytes/share": percentage("even bytes"), "even_bytes/largest": percentage("largest byte")}

    def score(self, model, ids, ahead):
        text = ids[:, ahead:]
        return {"even_bytes/largest": text.amax(dim=1, keepdim=True), "even_bytes/share": text % 2 == 0}


@pytest.fixture(scope="module")
def data():
    return source(300, 194, 297)


def test_a_row_has_the_sum_over_scored_tokens_and_their_number(data, extended):
    rows = all_rows(EvenBytes(**CHOSEN).work_units(data, L, None), extended("pretrained"))
    assert len(rows) == 2 * 2 * 3
    windows = data.evaluation_windows("test", 2 * L, 3, 0)
    for row in rows:
        (window,) = [one for one in windows if (one.document, one.end) == (row["document"], row["at"]["window"])]
        text = data.window_ids([window], row["context_length"])[0, data.ahead :]
        share = (row["value"], row["n"]) == (sum(int(token) % 2 == 0 for token in text), len(text))
        assert share if row["metric"] == "share" else (row["value"], row["n"]) == (max(map(int, text)), 1)
        assert (row["evaluation"], row["protocol"]) == ("even_bytes", "even_bytes")


def test_windows_are_read_up_to_the_reach_of_a_method(data):
    assert {unit.reads[0].tokens for unit in EvenBytes(**CHOSEN).work_units(data, L, L)} == {L}
    assert EvenBytes(**CHOSEN).work_units(data, L, L - 1) == []


@pytest.mark.parametrize(
    "returned",
    [{}, {"even_bytes/share": torch.zeros(3, 4)}, {"even_bytes/share": 0, "even_bytes/largest": 0, "more/x": 0}],
)
def test_a_score_without_a_declared_metric_is_refused_by_name(data, extended, returned):
    class Wrong(EvenBytes):
        def score(self, model, ids, ahead):
            return {name: torch.zeros(len(ids), 1) for name in returned}

    with pytest.raises(ValueError, match=r"score of Wrong must return a tensor with .* for each of even_bytes/share, "):
        all_rows(Wrong(**CHOSEN).work_units(data, L, None), extended("pretrained"))


def test_a_score_of_other_windows_than_were_read_is_refused(data, extended):
    class Wrong(EvenBytes):
        def score(self, model, ids, ahead):
            return {name: values[:-1] for name, values in super().score(model, ids, ahead).items()}

    with pytest.raises(ValueError, match="must return a tensor with 3 rows"):
        all_rows(Wrong(**{**CHOSEN, "batch_tokens": 1000}).work_units(data, L, None), extended("pretrained"))
