"""How an answer is scored against a reference: the metrics of LongBench (arXiv:2308.14508), and ROUGE and BLEU.

Every score is in [0, 1]. Those of LongBench equal its scoring code, including its peculiarities, which are noted in the
functions. Its ROUGE-L is that of the library `rouge` (by sentence, over sets of words); the other ROUGE scores are
those of `rouge-score`, a port of the original script. On the same texts the two differ by tens of per cent: see the
tests.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from rouge import Rouge
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU

from lcx_lightning.results.metrics import percentage

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLE = re.compile(r"\b(a|an|the)\b")
NUMBER = re.compile(r"\d+")
PARAGRAPH = re.compile(r"Paragraph (\d+)")
COMMENT_MARKS = ("`", "#", "//")
METRICS = {  # by name in records
    "accuracy": percentage("accuracy", trials=True),
    "f1": percentage("F1"),
    "rouge_1": percentage("ROUGE-1"),
    "rouge_2": percentage("ROUGE-2"),
    "rouge_l": percentage("ROUGE-L"),
    "bleu": percentage("BLEU"),
    "edit_similarity": percentage("edit similarity"),
}


def score(name: str, prediction: str, answers: Sequence[str], classes: Sequence[str]) -> float:
    """Return the score of a prediction against the reference that gives the highest score, 0 if there is none.

    Args:
        name: Name of the score, from SCORES.
        prediction: Text that a model wrote.
        answers: References.
        classes: All labels of a classification task; empty for other tasks.
    """
    return max((SCORES[name](prediction, answer, classes) for answer in answers), default=0.0)


def qa_f1(prediction: str, answer: str, _classes: Sequence[str]) -> float:
    """Return the F1 of words, ignoring case, ASCII punctuation and articles (SQuAD, arXiv:1606.05250)."""
    found, wanted = _words(prediction), _words(answer)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted)) if common else 0.0


def _words(text: str) -> list[str]:
    return ARTICLE.sub(" ", text.lower().translate(PUNCTUATION)).split()


def longbench_rouge_l(prediction: str, answer: str, _classes: Sequence[str]) -> float:
    """Return ROUGE-L of the library `rouge`, F.

    That library cannot compare texts without words, and fails if two sentences have about 1,000 words together: the
    score is then 0, as in LongBench.
    """
    try:
        found: Any = Rouge(metrics=["rouge-l"]).get_scores(prediction, answer, avg=True)
    except (ValueError, RecursionError):
        return 0.0
    return found["rouge-l"]["f"]


def classification(prediction: str, answer: str, classes: Sequence[str]) -> float:
    """Return 1 / k if the answer is one of the k classes named in the prediction, else 0.

    A class whose name is part of the answer's (`Other` in `Other location`) does not count, but as in LongBench's code
    the class after one that was left out is not looked at.
    """
    named, place = [name for name in classes if name in prediction], 0
    while place < len(named):
        if named[place] in answer and named[place] != answer:
            named.remove(named[place])
        place += 1
    return 1 / len(named) if answer in named else 0.0


def retrieval(prediction: str, answer: str, _classes: Sequence[str]) -> float:
    """Return the share of the numbers in a prediction that equal N of the answer `Paragraph N`.

    Raises:
        ValueError: If the answer names no paragraph.
    """
    wanted = PARAGRAPH.search(answer)
    if wanted is None:
        raise ValueError(f"The answer of a retrieval task must read as 'Paragraph 7', this one is {answer!r}.")
    return _share_of_numbers(prediction, wanted[1])


def count(prediction: str, answer: str, _classes: Sequence[str]) -> float:
    """Return the share of the numbers in a prediction that equal the answer."""
    return _share_of_numbers(prediction, answer)


def _share_of_numbers(prediction: str, wanted: str) -> float:
    numbers = NUMBER.findall(prediction)
    return numbers.count(wanted) / len(numbers) if numbers else 0.0


def edit_similarity(prediction: str, answer: str, _classes: Sequence[str]) -> float:
    """Return the similarity of the first line of code and the answer: 2 matches / characters of both, in hundredths.

    A line of code is one without a backtick, `#` and `//`. The matches are those of difflib, as LongBench's
    `fuzzywuzzy` has them unless python-Levenshtein is installed too.
    """
    lines = prediction.lstrip("\n").split("\n")
    code = next((line for line in lines if not any(mark in line for mark in COMMENT_MARKS)), "")
    return round(100 * SequenceMatcher(None, code, answer).ratio()) / 100


def _rouge(kind: str) -> Callable[[str, str, Sequence[str]], float]:
    """Return a function that scores: the F of `rouge-score`, without stemming."""
    scorer = RougeScorer([kind], use_stemmer=False)
    return lambda prediction, answer, _classes: float(scorer.score(answer, prediction)[kind].fmeasure)


SCORES: dict[str, Callable[[str, str, Sequence[str]], float]] = {
    "qa_f1": qa_f1,
    "longbench_rouge_l": longbench_rouge_l,
    "classification": classification,
    "retrieval": retrieval,
    "count": count,
    "edit_similarity": edit_similarity,
    "rouge_1": _rouge("rouge1"),
    "rouge_2": _rouge("rouge2"),
    "rouge_l": _rouge("rougeL"),
}


def bleu(prediction: str, reference: str) -> dict[str, Any]:
    """Return BLEU of one text (`value`; smoothed, without orders that the text is too short for), and its parts.

    The parts are `matches` and `ngrams` by order, and `words` of prediction and reference: their sums over texts give
    the BLEU of all texts together.
    """
    found = BLEU(effective_order=True).sentence_score(prediction, [reference])
    words = [found.sys_len, found.ref_len]
    return {"value": min(found.score / 100, 1.0), "matches": found.counts, "ngrams": found.totals, "words": words}


def corpus_bleu(parts: Sequence[Mapping[str, Any]]) -> float:
    """Return BLEU of all texts together, not smoothed, as papers report it, from what `bleu` returned for each text."""
    matches, ngrams, words = ([sum(n) for n in zip(*(part[name] for part in parts), strict=True)] for name in PARTS)
    found = BLEU.compute_bleu(matches, ngrams, *words, smooth_method="none")
    return min(found.score / 100, 1.0)


PARTS = ("matches", "ngrams", "words")
