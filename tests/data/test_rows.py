"""Training rows: the mixture, packed documents, and the synthetic kinds."""

import hashlib
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from support.lab import ROOT
from support.refusals import refusal
from support.text_corpora import BOS, CORPUS_ONLY, Books, text_of

from lcx_lightning.data.corpora.base import Document
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.synthetic_rows import ROWS, copy_row, needle, periodic_row, question, retrieval_row
from lcx_lightning.data.token_cache import encode
from lcx_lightning.data.token_stream import TokenStream
from lcx_lightning.data.tokenizers import ByteTokens

DIGEST = """
import hashlib
from omegaconf import OmegaConf
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens
from lcx_lightning.schema.build import build
config = OmegaConf.load("experiments/configs/data/stdlib.yaml")
corpus = build(config.corpus, "data.corpus")
ids = LongContextData(corpus, ByteTokens(), config.mixture).batch(5, seed=2, rows=16, length=128)["input_ids"]
print(corpus.identity(), hashlib.sha256(ids.numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_batches_and_identities_are_the_same_in_another_process(data, stdlib):
    ids = data.batch(5, seed=2, rows=16, length=128)["input_ids"]
    here = [stdlib.identity(), hashlib.sha256(ids.numpy().tobytes()).hexdigest()]
    there = subprocess.run([sys.executable, "-c", DIGEST], cwd=ROOT, capture_output=True, text=True, check=True)
    assert there.stdout.split() == here


def test_a_batch_does_not_depend_on_what_was_drawn_before(stdlib, stdlib_config, data):
    fresh = LongContextData(stdlib, ByteTokens(), stdlib_config.mixture)
    wanted = fresh.batch(9, seed=0, rows=8, length=128)["input_ids"]
    for step in (3, 9, 1):
        data.batch(step, seed=0, rows=8, length=128)
    assert torch.equal(data.batch(9, seed=0, rows=8, length=128)["input_ids"], wanted)
    assert torch.equal(data.batch(9, seed=0, rows=3, length=128)["input_ids"], wanted[:3])


def test_steps_and_seeds_draw_different_rows(data):
    batches = [data.batch(step, seed, rows=2, length=64)["input_ids"] for step in range(4) for seed in range(4)]
    assert len({tuple(row.tolist()) for ids in batches for row in ids}) == 32


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("length", [64, 65, 128, 512])
def test_every_row_has_its_length_and_starts_with_bos(stdlib, kind, length):
    short = [document.text[:40] for document in stdlib.documents("train")] + ["x" * 5000]
    source = LongContextData(Books(train=short), ByteTokens(), {kind: 1.0})
    for step in range(10):
        ids = source.batch(step, seed=0, rows=4, length=length)["input_ids"]
        assert ids.shape == (4, length)
        assert ids.dtype == torch.int64
        assert (ids[:, 0] == BOS).all()
        assert ids.min() >= 0
        assert ids.max() <= BOS
        assert kind == "corpus" or (ids[:, 1:] != BOS).all()


def test_a_corpus_row_is_a_slice_of_one_training_document_where_that_is_long_enough(stdlib, data):
    source = LongContextData(stdlib, ByteTokens(), CORPUS_ONLY)
    joined = "\0".join(d.text.encode().decode("latin-1") for d in stdlib.documents("train"))
    for row in torch.cat([source.batch(step, seed=4, rows=8, length=256)["input_ids"] for step in range(4)]):
        for piece in "".join(chr(i) for i in row).split(chr(BOS))[1:]:
            assert piece in joined


def test_short_documents_are_packed_whole_behind_a_bos_each():
    texts = [chr(ord("a") + i) * (i + 3) for i in range(8)]
    row = LongContextData(Books(train=texts), ByteTokens(), CORPUS_ONLY).batch(0, seed=0, rows=1, length=64)
    pieces = "".join(chr(i) for i in row["input_ids"][0]).split(chr(BOS))
    assert pieces[0] == ""
    assert set(pieces[1:-1]) <= set(texts)
    assert len(pieces) > 6
    assert any(text.startswith(pieces[-1]) for text in texts)


def test_documents_are_drawn_in_proportion_to_their_length():
    documents = [Document("a", "a" * 3000), Document("empty", ""), Document("b", "b" * 1000)]
    stream = TokenStream(encode(documents, ByteTokens()), minimum_tokens=0)
    rng = np.random.default_rng(0)
    drawn = Counter(chr(stream.row(rng, 10, [BOS])[1]) for _ in range(2000))
    assert drawn["a"] / 2000 == pytest.approx(0.75, abs=0.03)


def test_the_mixture_gives_each_kind_its_share():
    mixture = {"corpus": 0.5, "periodic": 0.5}
    source = LongContextData(Books(train=["." * 5000]), ByteTokens(), mixture)
    ids = source.batch(0, seed=0, rows=1000, length=64)["input_ids"]
    assert (ids[:, 1] == ord(".")).float().mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("length", [64, 128, 700])
def test_repetitions_of_needles_are_as_often_far_as_near_and_a_tenth_at_once(length):
    row, rng, shares = np.full(length, ord(".")), np.random.default_rng(0), []
    for _ in range(1000):
        text = text_of(retrieval_row(row, rng, ByteTokens())[1:])
        cues = [found.start() for found in re.finditer(r"\n([a-z]{6}) [a-z]{5}\n", text)]
        if len(cues) == 2:
            shares.append((cues[1] - cues[0] - 14) / (length - 1 - 2 * 14))
    later = np.array([share for share in shares if share > 0])
    assert np.mean(later) == pytest.approx(0.5, abs=0.06)
    assert np.quantile(later, [0.1, 0.9]) == pytest.approx([0.1, 0.9], abs=0.06)
    assert 0.07 < 1 - len(later) / len(shares) < 0.16


@pytest.mark.parametrize("length", [64, 129, 512])
def test_a_copy_row_repeats_an_earlier_span_and_changes_nothing_else(length):
    row, rng, distances = np.arange(1000, 1000 + length), np.random.default_rng(0), set()
    for _ in range(200):
        pasted = copy_row(row, rng, ByteTokens())
        changed = np.flatnonzero(pasted != row)
        first, size = changed[0], len(changed)
        assert (np.diff(changed) == 1).all()
        source = pasted[first] - 1000
        assert 1 <= source <= first - size
        assert (pasted[changed] == row[source : source + size]).all()
        assert 16 <= size <= length // 3
        distances.add(int(first - source))
    assert len(distances) > 15
    assert (row == np.arange(1000, 1000 + length)).all()


@pytest.mark.parametrize("length", [64, 128, 700])
def test_in_a_retrieval_row_every_cue_stands_twice_with_the_same_value_behind_it(length):
    row, rng = np.full(length, ord(".")), np.random.default_rng(0)
    row[0] = BOS
    counts, last, interrupted = set(), set(), 0
    for _ in range(300):
        text = text_of(retrieval_row(row, rng, ByteTokens())[1:])
        found = re.findall(r"\n([a-z]{6}) ([a-z]{5})\n", text)
        assert len(re.sub(r"\n[a-z]{6} [a-z]{5}\n", "", text).strip(".")) == 0
        values = {}
        for cue, value in found:
            values.setdefault(cue, []).append(value)
        assert all(len(given) == 2 and given[0] == given[1] for given in values.values())
        counts.add(len(values))
        last.add(text.rindex("\n"))
        cues = [cue for cue, _ in found]
        interrupted += any(cues.index(cue) + 1 != i for i, cue in enumerate(cues) if cue in cues[:i])
    assert counts == ({1, 2} if length == 64 else {1, 2, 3, 4})
    assert len(last) > 8
    assert interrupted > 50


def test_a_question_is_the_beginning_of_its_needle():
    assert needle("abcdef", "vwxyz") == question("abcdef") + " vwxyz\n"


@pytest.mark.parametrize("length", [64, 128, 513])
def test_a_periodic_row_repeats_itself_at_least_once(length):
    row, rng, periods = np.full(length, BOS), np.random.default_rng(0), set()
    for _ in range(60):
        text = text_of(periodic_row(row, rng, ByteTokens())[1:])
        assert re.fullmatch("[a-z]+", text)
        period = next(p for p in range(1, length) if text[p:] == text[:-p])
        assert period <= (length - 1) // 2
        periods.add(period)
    assert len(periods) > 10


@pytest.mark.parametrize("mixture", [{"corpus": 0.5}, {"corpus": 0.5, "recall": 0.5}, {"corpus": 0, "copy": 0}, {}])
def test_a_mixture_that_is_none_is_refused(mixture):
    with pytest.raises(ValueError, match=r"corpus, copy, retrieval, .* shares .* sum to 1"):
        LongContextData(Books(), ByteTokens(), mixture)


@pytest.mark.parametrize("wrong", [-0.5, float("nan"), float("inf"), "0.5"])
def test_a_share_of_a_mixture_is_a_number_of_at_least_0(wrong):
    with pytest.raises(ValueError, match=refusal({"mixture.copy": wrong}, "a number of at least 0")):
        LongContextData(Books(), ByteTokens(), {"corpus": 1.5, "copy": wrong})


def test_synthetic_rows_that_are_too_short_are_refused():
    source = LongContextData(Books(train=["x" * 500]), ByteTokens(), {"corpus": 0.5, "copy": 0.5})
    with pytest.raises(ValueError, match="need 64 tokens or more; length 63"):
        source.batch(0, seed=0, rows=1, length=63)


def test_rows_of_an_empty_split_are_refused():
    source = LongContextData(Books(train=["x" * 500]), ByteTokens(), CORPUS_ONLY)
    with pytest.raises(ValueError, match=r"validation split .* books has no text there"):
        source.validation_batch(rows=1, length=64, seed=0)
