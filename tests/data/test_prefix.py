"""What a tokenizer puts ahead of a text stands ahead of every row, whatever its number of tokens."""

import pytest
import torch
from support.chat_tokenizers import chat_tokenizer
from support.prefixed import PREFIX, Prefixed
from support.text_corpora import CORPUS_ONLY, Books
from tokenizers.processors import TemplateProcessing
from transformers import ByT5Tokenizer

from lcx_lightning.data.dataset import LAYOUTS, SEGMENTS, LongContextData
from lcx_lightning.data.synthetic_rows import ROWS
from lcx_lightning.data.tokenizers import ByteTokens, HubTokens
from lcx_lightning.evaluation.tasks.datasets.base import Example
from lcx_lightning.evaluation.tasks.task import TextTask


def saved(folder, template):
    """Save a tokenizer that puts around a text what the template says, and return it."""
    tokenizer = chat_tokenizer("bpe", folder)
    named = [(text, tokenizer.convert_tokens_to_ids(text)) for text in ("<s>", "</s>", "<|im_start|>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=named)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize(
    ("template", "prefix"),
    [
        ("<s> $A", ["<s>"]),
        ("<|im_start|> $A", ["<|im_start|>"]),
        ("<|im_start|> <s> $A", ["<|im_start|>", "<s>"]),
        ("<s> $A </s>", ["<s>"]),
    ],
)
def test_the_prefix_is_what_the_tokenizer_puts_ahead_of_a_text(tmp_path, template, prefix):
    tokenizer, tokens = saved(tmp_path, template), HubTokens(str(tmp_path), None)
    assert list(tokens.prefix) == tokenizer.convert_tokens_to_ids(prefix)
    assert tokenizer("the end").input_ids[: len(prefix)] == list(tokens.prefix)
    assert set(tokens.prefix) <= tokens.special
    assert tokens.prefix_note() is None


@pytest.mark.parametrize(("missing", "kind", "text"), [(None, "BOS", "<s>"), ("bos_token", "EOS", "</s>")])
@pytest.mark.parametrize("template", ["$A", "$A </s>"])
def test_where_there_is_none_bos_or_else_eos_takes_its_place_and_this_is_said(tmp_path, template, missing, kind, text):
    tokenizer = saved(tmp_path, template)
    if missing:
        setattr(tokenizer, missing, None)
        tokenizer.save_pretrained(tmp_path)
    tokens = HubTokens(str(tmp_path), None)
    number = tokenizer.convert_tokens_to_ids(text)
    assert tokens.prefix == (number,)
    said = f"nothing ahead of a text: rows and windows start with its {kind} token '{text}' (id {number})."
    assert said in tokens.prefix_note()


def test_a_tokenizer_written_in_python_has_a_prefix_as_well(tmp_path):
    ByT5Tokenizer().save_pretrained(tmp_path)  # puts EOS behind a text, and has no BOS
    tokens = HubTokens(str(tmp_path), None)
    assert tokens.prefix == (1,)
    assert "EOS token '</s>' (id 1)" in tokens.prefix_note()
    assert ByteTokens().prefix_note() is None


TEXTS = [f"{d}. " + "abcdefgh" * (3 + 40 * d) for d in range(4)]


def data_of(mixture=CORPUS_ONLY, **settings):
    return LongContextData(Books(train=TEXTS, validation=TEXTS, test=TEXTS), Prefixed(), mixture, **settings)


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("length", [64, 65, 200])
def test_every_kind_of_row_begins_with_the_whole_prefix(kind, length):
    for step in range(20):
        ids = data_of({kind: 1.0}).batch(step, 0, 2, length)["input_ids"]
        assert ids.shape == (2, length)
        assert (ids[:, :3] == torch.tensor(PREFIX)).all()
        if kind != "corpus":
            assert (ids[:, 3:] < 256).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_documents_of_a_row_are_slices_behind_a_prefix_each(layout):
    data = data_of(documents=layout)
    batch = data.batch(1, 0, 8, 90)
    marker = bytes(i % 256 for i in PREFIX)  # in no text
    for number, row in enumerate(batch["input_ids"].tolist()):
        assert tuple(row[:3]) == PREFIX
        pieces = bytes(i % 256 for i in row).split(marker)
        assert pieces[0] == b""
        rest = pieces[-1].rstrip(marker[:2])
        assert all(any(piece in text.encode() for text in TEXTS) for piece in [*pieces[1:-1], rest])
        if layout in SEGMENTS:
            lengths = [len(piece) + 3 for piece in pieces[1:]]
            found = batch[SEGMENTS[layout]][number].unique_consecutive(return_counts=True)[1].tolist()
            assert found[: len(lengths) - 1] == lengths[:-1]
    assert data.documents(1, 0, 8, 90) == data_of(documents=layout).documents(1, 0, 8, 90)


def test_windows_and_joined_documents_hold_the_prefix_and_as_much_text_as_then_fits():
    data = data_of()
    (window, *_) = windows = data.evaluation_windows("test", 100, 5, seed=0)
    for length in (50, 100):
        for one, ids in zip(windows, data.window_ids(windows, length).tolist(), strict=True):
            text = TEXTS[int(one.document.split("-")[1])].encode()
            assert ids == [*PREFIX, *text[one.end - length + 3 : one.end]]
    with pytest.raises(ValueError, match="needs 997 tokens of text"):
        data.window_ids([window], 1000)
    joined = data.joined_documents("test", 303, 0)
    ids = data.joined_ids(joined).tolist()
    assert ids == [*PREFIX, *"".join(TEXTS[one.index] for one in joined).encode()[:300]]
    total = sum(map(len, TEXTS))
    assert data.joined_documents("test", total + 3, 0)
    with pytest.raises(ValueError, match="hold"):
        data.joined_documents("test", total + 4, 0)
    assert data.report([total])["test"]["reach"] == {total: 0}
    longest = max(map(len, TEXTS))
    assert data.report([longest + 3, longest + 4])["test"]["reach"] == {longest + 3: 1, longest + 4: 0}


def test_a_prompt_begins_with_the_prefix_and_a_chat_as_its_template_begins(tmp_path):
    tokenizer = saved(tmp_path, "<|im_start|> <s> $A")
    tokens, example = HubTokens(str(tmp_path), None), Example("one", {"context": "the end of a text " * 30}, ("a",))
    shared = {"cut": "middle", "chat_arguments": {}, "one_line": False, "first_line": False, "tag": None, "group": None}
    for length in (64, 1000):
        plain, chat = (
            TextTask(prompt="{context}", answer_tokens=8, metrics={"f1": "qa_f1"}, chat=chat, **shared).ids(
                example, tokens, length
            )
            for chat in (False, True)
        )
        assert len(plain) <= length - 8
        assert tuple(plain[:2]) == tokens.prefix
        assert tokenizer.convert_ids_to_tokens(chat[:2]) == ["<s>", "<|im_start|>"]
