"""Prompts: exact to the token with every tokenizer, solvable by reading them, the same in every process."""

import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from omegaconf import OmegaConf
from support.lab import ROOT, environment
from support.made import made
from support.prompts import asked, data_of, digest, solved, tasks_of, tokenizer_folder
from support.refusals import COUNT

from lcx_lightning.data.tokenizers import ByteTokens, HubTokens
from lcx_lightning.evaluation.retrieval.prompts.base import Place
from lcx_lightning.evaluation.retrieval.prompts.haystack import CorpusText, Repeated
from lcx_lightning.evaluation.retrieval.prompts.lines import line, page, size
from lcx_lightning.evaluation.retrieval.prompts.listing import most_that_fit
from lcx_lightning.evaluation.retrieval.prompts.needles import Needles, listed
from lcx_lightning.evaluation.retrieval.prompts.random_values import KINDS, Values

FILES = ("passkey", "passkey_pi", "passkey_lm_infinite", "needle", "key_value", "key_value_uuid", "ruler")
TASKS = [pytest.param(file, task, id=f"{file}-{task}") for file in FILES for task in tasks_of(file)]
NEEDLE = {"opening": "", "needle": "{key}={value}.", "question": "{key}=", "answer": "{value}"}
ONE = {"keys": 1, "values": 1, "asked": 1}


def needles(**changes):
    settings = {
        "wording": NEEDLE,
        "key": {"letters": 3},
        "value": {"digits": 4},
        "count": ONE,
        "hay": CorpusText(split="test"),
        "room": None,
    }
    return Needles(**settings | changes)


@pytest.fixture(scope="module", params=["bytes", "gpt2", "llama"])
def data(request, tmp_path_factory):
    """Data in tokens of three kinds: bytes, and merges without and with a blank before the first word."""
    if request.param == "bytes":
        return data_of()
    return data_of(HubTokens(tokenizer_folder(request.param, tmp_path_factory.mktemp(request.param)), None))


@pytest.fixture(scope="module")
def bytes_data():
    return data_of()


@pytest.mark.parametrize(("file", "name"), TASKS)
def test_a_prompt_with_the_room_for_its_answer_is_exact_to_the_token_and_its_reader_finds_the_answer(file, name, data):
    task, config = tasks_of(file)[name]
    lengths = (8001,) if name in ("cwe", "fwe") else (1500, 1501, 2048)
    for seed, length in enumerate(lengths):
        prompt, text = asked(task, data, length, seed=seed)
        assert len(prompt.ids) + (task.room or len(prompt.answer)) == length
        (bos,) = data.tokens.prefix
        assert (prompt.ids[0], (prompt.ids == bos).sum()) == (bos, 1)
        assert solved(config, text) == set(prompt.wanted)
        answer = data.tokens.decode(prompt.answer.tolist())
        assert all(wanted in answer for wanted in prompt.wanted)
        assert len(prompt.answer) <= (task.room or length)


@pytest.mark.parametrize(("file", "name"), TASKS)
def test_prompts_differ_from_trial_to_trial_and_not_from_one_making_to_the_next(file, name, bytes_data):
    task, _ = tasks_of(file)[name]
    length = 9000 if name in ("cwe", "fwe") else 1500
    texts = []
    for seed in (0, 1, 0):
        np.random.seed(seed + 7)
        texts.append(asked(task, bytes_data, length, seed=seed)[1])
    assert texts[0] == texts[2] != texts[1]


@pytest.mark.parametrize("length", [60, 61, 200])
@pytest.mark.parametrize("depth", [0, 0.25, 0.5, 0.9, 1])
def test_a_depth_is_the_share_of_the_text_that_stands_before_the_needle(depth, length, bytes_data):
    prompt, text = asked(needles(), bytes_data, length, Place(depth=depth))
    before, needle, after = re.split(r"\n?(...=\d{4}\.)\n", text.removesuffix(text[-5:]))
    question = text[-5:]
    assert question == f"\n{needle[:4]}"
    assert prompt.wanted == (needle[4:8],)
    free = len(before) + len(after)
    assert 1 + free + len(needle) + 2 + len(question) + 4 == length
    assert len(before) == round(depth * free)


@pytest.mark.parametrize("hay", [CorpusText(split="test"), None])
@pytest.mark.parametrize(("depth", "at"), [(0, 0), (1, -1)])
def test_a_depth_is_that_of_the_needle_that_is_asked_for_whatever_others_there_are(hay, depth, at, bytes_data):
    task = needles(count={"keys": 3, "values": 1, "asked": 1}, hay=hay)
    for seed in range(5):
        prompt, text = asked(task, bytes_data, 300, Place(depth=depth), seed)
        assert re.findall(r"^[a-z]{3}=(\d{4})\.$", text, re.MULTILINE)[at] == prompt.wanted[0]


def test_chains_of_a_solved_prompt_are_in_their_order_and_the_first_of_several_is_asked_for(bytes_data):
    task, config = tasks_of("ruler")["vt"]
    for seed in range(20):
        _, text = asked(task, bytes_data, 1500, seed=seed)
        pairs = re.findall(r"VAR (\w+) = (?:VAR )?(\w+)", text[: text.rindex("Memorize")])
        assert [other for _, other in pairs[1:]] == [name for name, _ in pairs[:-1]]
    prompt, text = asked(made(OmegaConf.merge(config, {"chains": 3})), bytes_data, 2048)
    assert solved(config, text) == set(prompt.wanted)


def test_what_a_setting_of_frequent_words_says_changes_the_prompt(bytes_data):
    _, config = tasks_of("ruler")["fwe"]
    changes = ({}, {"alpha": 3.0}, {"tokens_per_word": 500})
    texts = {asked(made(OmegaConf.merge(config, change)), bytes_data, 8001)[1] for change in changes}
    assert len(texts) == 3


@pytest.mark.parametrize("hay", [CorpusText(split="test"), Repeated(sentences="Over and over.")])
@pytest.mark.parametrize("opening", ["", "Listen.", "Listen.\nTo this."])
def test_a_distance_is_from_the_first_token_of_the_needle_to_the_end_as_far_as_there_is_room(hay, opening, bytes_data):
    task, found = needles(hay=hay, wording=NEEDLE | {"opening": opening}), {}
    for distance in range(1, 100):
        prompt, text = asked(task, bytes_data, 90, Place(distance=distance))
        assert text.startswith(opening)
        found[distance] = len(text) - text.index(prompt.wanted[0]) + len("abc=")
        assert len(prompt.ids) == 86
    nearest, farthest = len("abc=1234.\n\nabc="), 86 - 2 - len(opening) - (1 if opening else 0)
    assert found == {k: min(max(k, nearest), farthest) for k in found}


def test_a_needle_among_lines_of_its_kind_stands_at_a_share_of_them_and_as_many_as_fit_are_there(bytes_data):
    task = needles(hay=None)
    for depth in (0, 0.3, 1):
        prompt, text = asked(task, bytes_data, 500, Place(depth=depth))
        cut, *lines, question = text.split("\n")
        lines = [cut, *lines] if len(cut) == 9 else lines  # at depth 0 none is cut, or one is
        assert len({each[:3] for each in lines if len(each) == 9}) == len([each for each in lines if len(each) == 9])
        assert all(re.fullmatch(r"[a-z]{3}=\d{4}\.", each) for each in lines)
        place = [each[:4] for each in lines].index(question)
        assert lines[place][4:8] == prompt.wanted[0]
        assert place == round(depth * (len(lines) - 1))
        assert len(lines) == (500 - 1 - 4 - 4) // 10


@pytest.mark.parametrize(("file", "name"), TASKS)
def test_a_prompt_that_does_not_fit_is_refused_with_the_shortest_that_does(file, name, bytes_data):
    task, _ = tasks_of(file)[name]
    with pytest.raises(ValueError, match=r"The shortest prompt has \d+ tokens .* is to have 10\. Raise") as refused:
        asked(task, bytes_data, 10)
    least = int(re.search(r"has (\d+) tokens", str(refused.value))[1])
    if name == "fwe":  # a longer text has more words
        least += 7
    prompt, _ = asked(task, bytes_data, least)
    assert len(prompt.ids) + (task.room or len(prompt.answer)) == least
    with pytest.raises(ValueError, match=f"is to have {least - 1}"):
        asked(task, bytes_data, least - 1)


def test_a_page_is_as_long_as_its_size_and_reads_as_its_lines(data):
    tokens, texts = data.tokens, ["One line.", "", " and another 123", "def f(x):"]
    lines = [line(tokens, text) for text in texts]
    ids = page(tokens, lines)
    assert len(ids) == size(lines)
    assert tokens.decode(ids[1:].tolist()).strip() == "\n".join(texts).strip()


def test_repeated_sentences_are_the_tokens_of_their_text(data):
    once = "Here we go. There and back."
    whole = line(data.tokens, " ".join([once] * 9))
    for count in (1, 5, len(whole) // 2, len(whole)):
        ids = Repeated(sentences=once).text(data, count, np.random.default_rng(0))
        assert ids.tolist() == whole[:count]


def test_text_of_the_corpus_is_a_slice_of_a_document_or_of_several(bytes_data):
    documents = {d.text for d in bytes_data.corpus.documents("test")}
    longest = max(map(len, documents))
    for count in (40, longest + 30):
        ids = CorpusText(split="test").text(bytes_data, count, np.random.default_rng(1))
        text = bytes_data.tokens.decode(ids.tolist())
        assert len(ids) == count
        assert any(text in d for d in documents) == (count < longest)
        assert count < longest or "\nBook" in text or "\n" in text


@pytest.mark.slow
def test_prompts_are_byte_identical_in_another_process(bytes_data):
    imports = "import sys; sys.path.insert(0, 'tests'); from support.prompts import data_of, digest"
    code = f"{imports}; print(digest(data_of(), sys.argv[1:]))"
    started = [sys.executable, "-W", "ignore", "-c", code, *FILES]
    another = environment(PYTHONHASHSEED="7", PYTHONPATH=str(ROOT))
    done = subprocess.run(started, cwd=ROOT, env=another, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(bytes_data, FILES)


@pytest.mark.parametrize("growth", [lambda n: 7 * n, lambda n: n * n, lambda n: 50 + 3 * n + n % 2, lambda n: n // 3])
def test_the_longest_list_that_fits_is_found_and_few_are_made(growth):
    made = []
    for budget in (50, 51, 400, 999, 10**7):
        longest = max(n for n in range(2001) if growth(n) <= budget)
        assert most_that_fit(lambda n: made.append(n) or growth(n), budget, 2000) == longest
    assert len(made) < 5 * 25


def test_values_are_of_their_kind_and_differ():
    rng = np.random.default_rng(0)
    forms = {
        "letters": r"[a-z]{3}",
        "digits": r"[1-9]\d{2}",
        "capitals": r"[A-Z]{3}",
        "words": r"([a-z]{4,6}-){2}[a-z]{4,6}",
        "uuids": r"([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}( |$)){3}",
    }
    assert set(forms) == set(KINDS)
    for kind, form in forms.items():
        values = Values({kind: 3}).draw(rng, 500, set())
        assert len(set(values)) == 500
        assert all(re.fullmatch(form, value) for value in values)
    taken = {str(i) for i in range(1, 9)}
    assert Values({"digits": 1}).draw(rng, 1, taken) == ["9"]
    with pytest.raises(ValueError, match=r"too few different values of 1 digits .* Raise the number of digits"):
        Values({"digits": 1}).draw(rng, 1, taken)
    assert len(Values({"digits": 18}).draw(rng, 1, taken)[0]) == 18


def test_keys_are_listed_as_in_a_sentence():
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a, and b", "a, b, and c"]


@pytest.mark.parametrize(
    ("make", "needed"),
    [
        (lambda: Values({"colours": 1}), "one of letters, digits, capitals, words, uuids with a number"),
        (lambda: Values({"digits": 0}), f"kind.digits must be {COUNT} and up to 1000, got 0"),
        (lambda: Values({"letters": 1001}), f"kind.letters must be {COUNT} and up to 1000, got 1001"),
        (lambda: Values({"digits": 19}), "18 digits at most, got {'digits': 19}"),
        (lambda: Values({}), "with a number"),
        (lambda: needles(count={"keys": 1, "values": 1, "asked": 2}), r"can be asked for .*'keys': 1,.*'asked': 2"),
        *(
            (
                partial(needles, count={"keys": 1, "values": 1, "asked": 1} | {name: 0}),
                rf"^count\.{name} must be {COUNT}",
            )
            for name in ("keys", "values", "asked")
        ),
    ],
)
def test_settings_that_ask_nothing_are_refused(make, needed):
    with pytest.raises(ValueError, match=needed):
        make()


@pytest.mark.parametrize("name", ["vt", "cwe", "fwe"])
def test_a_task_without_a_needle_has_no_place_for_one(name, bytes_data):
    with pytest.raises(ValueError, match="leave out depths and distances"):
        asked(tasks_of("ruler")[name][0], bytes_data, 9000, Place(depth=0.5))


@pytest.mark.parametrize("changes", [{"hay": None}, {"count": {"keys": 2, "values": 1, "asked": 1}}])
def test_a_distance_is_that_of_a_single_needle_in_a_text(changes, bytes_data):
    with pytest.raises(ValueError, match="a single needle in a text"):
        asked(needles(**changes), bytes_data, 200, Place(distance=50))


def test_a_tokenizer_without_line_feeds_is_refused(bytes_data):
    class Blind(ByteTokens):
        def encode(self, text):
            return [i for i in super().encode(text) if i != 10]

    with pytest.raises(ValueError, match="no token for a line feed"):
        asked(needles(hay=Repeated(sentences="a")), data_of(Blind()), 200)


def test_the_published_prompts_are_worded_as_their_papers_word_them():
    for file, verb in (("passkey_pi", "memorize them"), ("passkey_lm_infinite", "memorize it")):
        wording = OmegaConf.to_container(tasks_of(file)["passkey"][1].wording)
        assert verb in wording["opening"]
        assert wording["question"] == "What is the pass key? The pass key is"
    counts = {name: tuple(config.count.values()) for name, (_, config) in tasks_of("ruler").items() if "niah" in name}
    several = {"niah_multikey_1": (4, 1, 1), "niah_multivalue": (1, 4, 1), "niah_multiquery": (4, 1, 4)}
    assert len(counts) == 8
    assert counts == dict.fromkeys(counts, (1, 1, 1)) | several
