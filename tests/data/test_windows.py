"""Evaluation windows, whose shorter contexts are the ends of the longer ones."""

import pytest
import torch
from support.text_corpora import BOS, CORPUS_ONLY, Books

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens


def test_windows_are_text_of_the_test_split_behind_bos(stdlib, data):
    texts = {document.name: document.text.encode() for document in stdlib.documents("test")}
    windows = data.evaluation_windows("test", longest=4096, count=60, seed=0)
    for window, ids in zip(windows, data.window_ids(windows, 4096).tolist(), strict=True):
        assert ids[0] == BOS
        assert bytes(ids[1:]) == texts[window.document][window.end - 4095 : window.end]
        assert stdlib.documents("test")[window.index].name == window.document


def test_a_window_of_half_the_context_is_the_end_of_the_longer_one(data):
    windows = data.evaluation_windows("test", longest=4096, count=20, seed=0)
    longest = data.window_ids(windows, 4096)
    for length in (128, 256, 512, 1024, 2048):
        ids = data.window_ids(windows, length)
        assert ids.shape == (20, length)
        assert (ids[:, 0] == BOS).all()
        assert torch.equal(ids[:, 1:], longest[:, -(length - 1) :])


def test_windows_come_from_different_documents_first_and_never_overlap():
    texts = ["a" * 1000, "b" * 350, "c" * 100, "d" * 99, "e" * 50]
    source = LongContextData(Books(test=texts), ByteTokens(), CORPUS_ONLY)
    windows = source.evaluation_windows("test", longest=100, count=10 + 3 + 1 + 1, seed=0)
    assert len({window.document for window in windows[:4]}) == 4
    assert len({window.document for window in windows[4:6]}) == 2
    assert len({window.document for window in windows}) == 4
    taken = [(window.document, t) for window in windows for t in range(window.end - 99, window.end)]
    assert len(taken) == len(set(taken)) == 15 * 99
    assert all(0 <= t < len(texts[int(name[-1])]) for name, t in taken)


def test_windows_depend_on_their_arguments_alone_and_fewer_are_the_first_of_more(stdlib, data):
    fresh = LongContextData(stdlib, ByteTokens(), CORPUS_ONLY)
    many = data.evaluation_windows("validation", longest=2048, count=40, seed=1)
    assert fresh.evaluation_windows("validation", longest=2048, count=40, seed=1) == many
    assert fresh.evaluation_windows("validation", longest=2048, count=10, seed=1) == many[:10]
    assert fresh.evaluation_windows("validation", longest=2048, count=40, seed=2) != many


def test_a_length_that_too_few_documents_reach_is_refused_with_the_lengths_there_are():
    source = LongContextData(Books(test=["a" * 1000, "b" * 300, "c" * 127]), ByteTokens(), CORPUS_ONLY)
    with pytest.raises(ValueError, match="needed from the test split") as error:
        source.evaluation_windows("test", longest=512, count=2, seed=0)
    message = str(error.value)
    assert "1 of its 3 documents reach that length and hold 1 windows" in message
    assert "longest is test-0 with 1,000 tokens" in message
    assert "128 tokens: 3, 256 tokens: 2, 512 tokens: 1." in message
    with pytest.raises(ValueError, match="which has no documents"):
        source.evaluation_windows("validation", longest=512, count=2, seed=0)


def test_a_context_longer_than_the_windows_were_drawn_for_is_refused():
    source = LongContextData(Books(test=["a" * 99]), ByteTokens(), CORPUS_ONLY)
    windows = source.evaluation_windows("test", longest=100, count=1, seed=0)
    with pytest.raises(ValueError, match="200 tokens needs 199 tokens of text; test-0 has 99"):
        source.window_ids(windows, 200)
