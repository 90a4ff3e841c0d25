"""Training rows of generated long-range tasks: passkeys, keys and values, variables; each asked at the row's end."""

import re

import numpy as np
import pytest
from support.text_corpora import BOS, Books, text_of

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.synthetic_rows import key_value_row, passkey_row, variable_tracking_row
from lcx_lightning.data.tokenizers import ByteTokens

LENGTHS = [64, 129, 1000]


def drawn(make, length, count=100):
    """Return texts of rows made from a row of dots."""
    row, rng = np.full(length, ord(".")), np.random.default_rng(0)
    row[0] = BOS
    before = row.copy()
    rows = [make(row, rng, ByteTokens()) for _ in range(count)]
    assert (row == before).all()
    assert all(made[0] == BOS and len(made) == length for made in rows)
    return [text_of(made[1:]) for made in rows]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_passkey_is_told_anywhere_and_asked_at_the_end(length):
    places = set()
    for text in drawn(passkey_row, length):
        (first, key), (last, again) = [(m.start(), m[1]) for m in re.finditer(r"\nThe passkey is (\d{5})\.\n", text)]
        assert key == again
        assert last + len("\nThe passkey is 12345.\n") == len(text)
        assert set(re.sub(r"\nThe passkey is \d{5}\.\n", "", text)) <= {"."}
        places.add(first)
    assert len(places) > 10
    assert min(places) < length // 8


@pytest.mark.parametrize("length", LENGTHS)
def test_keys_have_one_value_each_and_the_last_line_asks_for_one_of_them(length):
    asked = set()
    for text in drawn(key_value_row, length):
        *pairs, last = re.findall(r"\n([a-z]{5}): (\d{5})\n", text)
        assert len(pairs) == max((length - 1) // 28, 2)
        assert len(dict(pairs)) == len(pairs)
        assert pairs.count(last) == 1
        assert text.endswith(f"\n{last[0]}: {last[1]}\n")
        asked.add(pairs.index(last) / len(pairs))
    assert min(asked) < 0.1
    assert max(asked) >= 0.5
    assert len(asked) > {64: 1, 129: 2, 1000: 20}[length]


@pytest.mark.parametrize("length", LENGTHS)
def test_the_value_of_the_last_variable_follows_from_the_chain_before_it(length):
    hops = set()
    for text in drawn(variable_tracking_row, length):
        *chain, (asked, answer) = re.findall(r"\n([a-z]{3}) = (\w+)\n", text)
        values = {}
        for name, told in chain:
            values[name] = told if told.isdigit() else values[told]
        assert answer.isdigit()
        assert values[asked] == answer
        assert text.endswith(f"\n{asked} = {answer}\n")
        hops.add(len(chain) - 1)
    assert min(hops) == 1
    assert max(hops) == {64: 3, 129: 4, 1000: 4}[length]


def test_a_row_without_room_is_refused_when_it_is_planned():
    class Letters(ByteTokens):
        """Four ids for a byte."""

        def encode(self, text):
            return [i for i in super().encode(text) for _ in range(4)]

    data = LongContextData(Books(train=["x" * 500], validation=["x" * 500]), Letters(), {"passkey": 1.0})
    with pytest.raises(ValueError, match=r"row of 100 tokens has no room .* take rows of 185 tokens or more"):
        data.check_rows(100)
    data.check_rows(185)


@pytest.mark.parametrize("kind", ["passkey", "key_value", "variable_tracking"])
def test_rows_are_the_same_for_the_same_seed_and_step(kind):
    batches = []
    for _ in range(2):
        data = LongContextData(Books(train=["." * 5000]), ByteTokens(), {"corpus": 0.5, kind: 0.5})
        batches.append([data.batch(step, 0, 4, 128)["input_ids"].tolist() for step in (1, 0, 1)])
    assert batches[0] == batches[1]
    assert batches[0][0] == batches[0][2] != batches[0][1]
