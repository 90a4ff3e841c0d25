"""Scores: LongBench's against what its own code returned, ROUGE and BLEU against their definitions and sacrebleu."""

import json
from pathlib import Path

import pytest
import sacrebleu
from support.lab import composed

from lcx_lightning.evaluation.tasks.datasets.base import Example
from lcx_lightning.evaluation.tasks.scoring import bleu, corpus_bleu, retrieval, score
from lcx_lightning.evaluation.tasks.task import TextTask

PAIRS = json.loads((Path(__file__).parent / "longbench_pairs.json").read_text())["pairs"]
TEXTS = [
    ("the cat sat on the mat and slept", "the cat sat on a mat and then slept"),
    ("nothing of it is here at all", "another text, wholly of other words"),
    ("short", "short"),
    ("A line, with its marks: one (two) three.", "A line with its marks: one (two), three."),
]


@pytest.fixture(scope="module")
def longbench():
    settings = composed("evaluation=longbench").evaluation.longbench
    return {name: TextTask(**{**settings.every_task, **task}) for name, task in settings.tasks.items()}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair['task']}: {pair['prediction'][:20]!r}")
def test_a_score_of_longbench_is_that_of_its_authors_code(longbench, pair):
    task = longbench[pair["task"]]
    example = Example("one", {}, tuple(pair["answers"]), tuple(pair["classes"]))
    (metric,) = task.metrics
    assert task.score(metric, task.prediction(pair["prediction"]), example) == pytest.approx(pair["score"], abs=1e-8)


def test_a_class_that_is_not_the_answer_is_worth_nothing():
    found = [score("classification", said, ["Date"], ["Date", "City"]) for said in ("Date", "City", "City, Date", "")]
    assert found == [1, 0, 0.5, 0]


def test_every_score_of_longbench_is_tried_with_hits_and_misses(longbench):
    tried = {}
    for pair in PAIRS:
        tried.setdefault(*longbench[pair["task"]].metrics.values(), set()).add(pair["score"] > 0)
    used = {name for task in longbench.values() for name in task.metrics.values()}
    assert tried == {name: {True, False} for name in used}


def longest_common(a, b):
    """Return the length of the longest common subsequence, by its definition."""
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + longest_common(a[:-1], b[:-1])
    return max(longest_common(a[:-1], b), longest_common(a, b[:-1]))


@pytest.mark.parametrize("prediction", ["the cat sat", "a b c a b", "sat the cat on", "none"])
def test_rouge_counts_common_ngrams_and_the_longest_common_subsequence(prediction):
    answer = "the cat sat a b on a"
    said, wanted = prediction.split(), answer.split()
    for size, name in ((1, "rouge_1"), (2, "rouge_2")):
        grams = [[tuple(words[i : i + size]) for i in range(len(words) - size + 1)] for words in (said, wanted)]
        common = sum(min(grams[0].count(gram), grams[1].count(gram)) for gram in set(grams[0]))
        f = 2 * common / (len(grams[0]) + len(grams[1]))
        assert score(name, prediction, [answer], []) == pytest.approx(f)
    f = 2 * longest_common(said, wanted) / (len(said) + len(wanted))
    assert score("rouge_l", prediction, [answer], []) == pytest.approx(f)


def test_a_prediction_is_scored_against_the_reference_nearest_to_it_and_none_without_references():
    assert score("qa_f1", "red house", ["blue house", "red house", "sea"], []) == 1
    assert score("qa_f1", "red house", [], []) == 0


def test_the_bleu_of_all_texts_is_that_of_sacrebleu_from_what_is_kept_of_each():
    parts = [bleu(*pair) for pair in TEXTS]
    for some in (slice(0, 4), slice(0, 2), slice(1, 3)):  # the last of which share no four words: 0, not smoothed
        predictions, references = zip(*TEXTS[some], strict=True)
        whole = sacrebleu.corpus_bleu(list(predictions), [list(references)], smooth_method="none")
        assert corpus_bleu(parts[some]) == pytest.approx(whole.score / 100)
    assert corpus_bleu(parts[1:3]) == 0
    for part, (prediction, reference) in zip(parts, TEXTS, strict=True):
        assert part["value"] == pytest.approx(sacrebleu.sentence_bleu(prediction, [reference]).score / 100)
        assert 0 <= part["value"] <= 1


def test_an_answer_of_a_retrieval_task_that_names_no_paragraph_is_refused():
    with pytest.raises(ValueError, match="'Paragraph 7', this one is 'seven'"):
        retrieval("7", "seven", [])
