"""Generation against position, and the original window: rows against what is made by hand of the same windows."""

import pytest
import sacrebleu
import torch
from support.lab import composed
from support.made import made
from support.refusals import COUNT, MULTIPLES, refusal
from support.text_corpora import BOS, CORPUS_ONLY, Books
from torch.nn.functional import log_softmax

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens
from lcx_lightning.evaluation.base import run
from lcx_lightning.evaluation.perplexity.short_context import ShortContext
from lcx_lightning.evaluation.tasks.milestones import Milestones
from lcx_lightning.evaluation.tasks.scoring import score
from lcx_lightning.models.generation import continuations
from lcx_lightning.results.records import identity

LENGTH = 32  # tokens, pretraining length
NEW = 10


@pytest.fixture(scope="module")
def data():
    """Three documents of words, of 400, 300 and 200 letters or so."""
    texts = [" ".join(f"w{(i * i + 7 * d) % 90}" for i in range(100 - 25 * d)) for d in range(3)]
    return LongContextData(Books(test=texts), ByteTokens(), CORPUS_ONLY)


def milestones(**changes):
    settings = {"multiples": [0.5, 1, 3], "new_tokens": NEW, "windows": 4, "split": "test", "seed": 0}
    return Milestones(**settings | {"batch_tokens": 100, "chunk": 50} | changes)


def short_context(**changes):
    return ShortContext(**{"windows": 6, "split": "test", "seed": 0, "batch_tokens": 70} | changes)


def all_rows(work_units, model, share=(0, 1)):
    return [row for rows in run(work_units, model, lambda row: False, lambda done, total: None, share) for row in rows]


def text_up_to(data, row):
    """Return BOS and the tokens up to the end of a row's window."""
    (text,) = [d.text for d in data.corpus.documents("test") if d.name == row["document"]]
    return [BOS, *text.encode()[: row["at"]["window"]]]


def test_a_row_compares_what_is_written_after_a_milestone_with_how_the_text_goes_on(extended, data):
    model = extended("dynamic_ntk", vocab_size=257)
    rows = all_rows(milestones().work_units(data, LENGTH, None), model)
    assert len({identity(row) for row in rows}) == len(rows) == 4 * 3 * 2
    for row in rows:
        window = [BOS, *text_up_to(data, row)[1:][-(3 * LENGTH + NEW - 1) :]]
        assert len(window) == 3 * LENGTH + NEW
        at = row["context_length"]
        (found,) = continuations(model, [window[:at]], NEW, chunk=1000)
        said, wanted = (data.tokens.decode(ids) for ids in (found, window[at : at + NEW]))
        assert (row["details"]["prediction"], row["n"], row["details"]["new_tokens"]) == (said, 1, NEW)
        by_hand = {
            "bleu": sacrebleu.sentence_bleu(said, [wanted]).score / 100,
            "rouge_l": score("rouge_l", said, [wanted], []),
        }
        assert row["value"] == pytest.approx(by_hand[row["metric"]])


def test_a_model_that_goes_on_as_the_text_does_scores_one(data, monkeypatch):
    texts = [d.text.encode() for d in data.corpus.documents("test")]

    def goes_on(model, prompts, new, **_):
        read = [bytes(prompt[1:]) for prompt in prompts]
        ends = [(text, text.find(words) + len(words)) for words in read for text in texts if words in text]
        return [list(text[end : end + new]) for text, end in ends]

    monkeypatch.setattr("lcx_lightning.evaluation.tasks.milestones.continuations", goes_on)
    rows = all_rows(milestones().work_units(data, LENGTH, None), None)
    assert len(rows) == 4 * 3 * 2
    assert [row["value"] for row in rows if row["metric"] == "rouge_l"] == [1] * 12
    assert min(row["value"] for row in rows) > 0.99


def test_a_milestone_is_served_if_the_method_reaches_beyond_what_is_written(data):
    reads = [one for unit in milestones().work_units(data, LENGTH, 42) for one in unit.reads]
    assert reads == [(3, 26, 3, 50), (1, 26, 1, 50), (2, 42, 2, 50), (2, 42, 2, 50)]
    assert milestones().served(LENGTH, 3 * LENGTH + NEW - 1) == [16, 32]
    assert milestones().served(LENGTH, 3 * LENGTH + NEW) == [16, 32, 96]


def test_the_original_window_has_the_losses_of_all_its_tokens_after_bos(extended, data):
    model = extended("yarn", vocab_size=257)
    rows = all_rows(short_context().work_units(data, LENGTH, None), model)
    assert len({identity(row) for row in rows}) == len(rows) == 6
    for row in rows:
        ids = torch.tensor([[BOS, *text_up_to(data, row)[1:][-(LENGTH - 1) :]]])
        with torch.no_grad():
            logs = log_softmax(model(ids, use_cache=False).logits[0, :-1].double(), dim=-1)
        assert row["value"] == pytest.approx(float(-logs.gather(1, ids[0, 1:, None]).sum()), abs=1e-4)
        assert (row["n"], row["context_length"], row["metric"]) == (31, 32, "nll")
    assert short_context().work_units(data, LENGTH, 31) == []


@pytest.mark.parametrize(
    ("kind", "changes"), [(milestones, {"multiples": [0.5, 1], "windows": 2, "new_tokens": 4}), (short_context, {})]
)
def test_batches_and_processes_change_no_row(extended, data, kind, changes):
    model = extended("lm_infinite", vocab_size=257)

    def values(share=(0, 1), **more):
        rows = all_rows(kind(**changes, **more).work_units(data, LENGTH, None), model, share)
        return {identity(row): row["value"] for row in rows}

    halves = [values((rank, 2), batch_tokens=1) for rank in (0, 1)]
    assert min(map(len, halves)) > 0
    assert halves[0] | halves[1] == pytest.approx(values(), rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "changes", "allowed"),
    [(milestones, {name: 0}, COUNT) for name in ("new_tokens", "windows", "chunk")]
    + [(milestones, {"multiples": few}, MULTIPLES) for few in ([], [0])]
    + [(short_context, {"windows": 0}, COUNT)],
)
def test_settings_that_score_nothing_are_refused(kind, changes, allowed):
    with pytest.raises(ValueError, match=refusal(changes, allowed)):
        kind(**changes)


@pytest.mark.parametrize(("name", "lengths"), [("milestones", [64, 128, 256, 512, 1024]), ("short_context", [128])])
def test_the_configurations_are_of_the_embedded_model_as_of_any_other(name, lengths):
    assert made(composed(f"evaluation={name}").evaluation[name]).lengths(128) == lengths
