"""Retrieval that cannot be asked: settings, prompts and answers are refused before anything is read by a model."""

import pytest
from support.chat_tokenizers import KINDS, chat_tokenizer
from support.prompts import data_of, evaluation_of, tasks_of
from support.refusals import COUNT, MULTIPLES, refusal

from lcx_lightning.data.tokenizers import ByteTokens, HubTokens
from lcx_lightning.evaluation.retrieval.prompts.haystack import Repeated
from lcx_lightning.evaluation.retrieval.retrieval import Retrieval

SHARES = "a list, not empty, of numbers of at least 0 and up to 1 or null"


@pytest.fixture(scope="module")
def data():
    return data_of()


def retrieval(**changes):
    settings = {"multiples": [1], "depths": [0, 1], "distances": None, "trials": 1, "seed": 0, "batch_tokens": 1}
    return Retrieval(**{"protocol": "", "tasks": {"passkey": tasks_of("passkey")["passkey"][0]}} | settings | changes)


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"multiples": []}, MULTIPLES),
        ({"multiples": [0]}, MULTIPLES),
        ({"tasks": {}}, "a mapping, not empty"),
        *(({"trials": wrong}, f"{COUNT} and up to 10000") for wrong in (0, 10**12)),
        *(({"distances": wrong}, f"{COUNT} and up to 10000 or null") for wrong in (0, 10**12)),
        ({"depths": []}, SHARES),
        ({"depths": [0.5, 1.1]}, SHARES),
    ],
)
def test_settings_that_ask_nothing_are_refused(changes, allowed):
    with pytest.raises(ValueError, match=refusal(changes, allowed)):
        retrieval(**changes)


def test_needles_stand_at_depths_or_at_distances():
    with pytest.raises(ValueError, match=r"at depths or at distances, not at both, got depths=\[0, 1\], distances=4"):
        retrieval(distances=4)


@pytest.mark.parametrize(
    ("file", "name", "changes"),
    [("needle", "needle", {"count": {one: 10**12}}) for one in ("keys", "values")]
    + [("ruler", "vt", {one: 10**12}) for one in ("chains", "hops", "example")]
    + [("ruler", "cwe", {"common": 10**12}), ("ruler", "cwe", {"times": {"common": 10**12}})]
    + [("ruler", "cwe", {"example": {one: 10**12}}) for one in ("common", "other", "words")]
    + [("ruler", "fwe", {"alpha": alpha}) for alpha in (1 + 1e-9, 1000)],
)
def test_a_prompt_of_far_more_pieces_than_tokens_is_refused_before_any_is_drawn(data, file, name, changes):
    one = evaluation_of(file, multiples=[16], tasks={name: changes})
    with pytest.raises(ValueError, match=rf"{name}: A prompt of \d+ tokens has no room for .*e\+|has no room for inf "):
        one.work_units(data, 1024, None)


def test_a_context_longer_than_a_prompt_can_be_written_is_refused(data):
    with pytest.raises(ValueError, match=r"has 16,777,216 tokens at most, .*1,024, has 1,024,000,000,000,000\. Lower"):
        evaluation_of("needle", multiples=[1, 10**12]).work_units(data, 1024, None)


def test_a_prompt_that_does_not_fit_is_refused_before_any_is_asked(data):
    parts = r"has 254 tokens \(149 of BOS and the opening, 58 of 1 needles, 37 of the question, 6 of the answer"
    with pytest.raises(ValueError, match=rf"passkey_pi, passkey: .*{parts}.*is to have 128\. Raise the least"):
        evaluation_of("passkey_pi").work_units(data, 128, None)


def test_an_answer_that_is_longer_than_its_room_is_refused(data):
    evaluation = evaluation_of("ruler", multiples=[16], tasks={"niah_single_3": {"room": 36}})
    with pytest.raises(ValueError, match=r"ruler, niah_single_3: the answer has 38 tokens .* room=36 keeps fewer"):
        evaluation.work_units(data, 1024, None)


@pytest.mark.parametrize("name", ["needle", "passkey", "passkey_lm_infinite", "key_value", "ruler"])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_tokenizer_without_a_line_feed_is_refused_before_any_is_asked(tmp_path, kind, name):
    """Whether it drops line feeds, or reads them as unknown."""
    chat_tokenizer(kind, tmp_path)
    with pytest.raises(ValueError, match=r"this tokenizer has no token for a line feed: choose a checkpoint"):
        evaluation_of(name, multiples=[16]).work_units(data_of(HubTokens(str(tmp_path), None)), 1024, None)


class Wordless(ByteTokens):
    """Bytes of line feeds alone."""

    def encode(self, text):
        return [byte for byte in super().encode(text) if byte == 10]


class Numberless(ByteTokens):
    """Bytes but for digits."""

    def encode(self, text):
        return [byte for byte in super().encode(text) if not 48 <= byte < 58 and byte != 32]


@pytest.mark.parametrize(
    ("tokens", "name", "text"), [(Wordless(), "ruler", "What is"), (Numberless(), "needle", "' [0-9]{5}'")]
)
def test_a_text_of_which_a_tokenizer_makes_nothing_is_refused(tokens, name, text):
    with pytest.raises(ValueError, match=rf"The tokenizer makes no tokens of .*{text}"):
        evaluation_of(name, multiples=[16]).work_units(data_of(tokens), 1024, None)
    with pytest.raises(ValueError, match="repeats sentences, and there are none"):
        Repeated(sentences=" ")
