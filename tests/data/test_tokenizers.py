"""Tokenisers: of bytes, and of a checkpoint of the Hugging Face hub."""

import pytest
from support.text_corpora import BOS, Books
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, PreTrainedTokenizerFast

from lcx_lightning.data.corpora.base import Document
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.synthetic_rows import ROWS
from lcx_lightning.data.token_cache import encode
from lcx_lightning.data.tokenizers import ByteTokens, HubTokens
from lcx_lightning.evaluation.tasks.task import TextTask
from lcx_lightning.models.sources import check_tokens


@pytest.mark.parametrize("text", ["", "def f():\n\treturn 'x'\n", "naïve 日本語 🙂", "\0\r\n"])
def test_bytes_survive_encoding_and_decoding(text):
    tokens = ByteTokens()
    assert tokens.encode(text) == list(text.encode())
    assert tokens.decode(tokens.encode(text)) == text


def test_a_byte_slice_that_cuts_a_character_still_decodes_and_bos_reads_as_nothing():
    tokens = ByteTokens()
    assert (tokens.vocab_size, tokens.prefix) == (257, (BOS,))
    assert tokens.decode([BOS, 104, *"é".encode()[:1]]) == "h\ufffd"
    assert tokens.encode("\ud800") == [ord("?")]


@pytest.fixture
def tokenizer_folder(tmp_path):
    """Return a function that saves a small BPE tokenizer with the given special tokens."""

    def save(**special: str) -> str:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=300, special_tokens=list(special.values()), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
        backend.train_from_iterator(["def value(self): return self.value\n"] * 8, trainer)
        PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(tmp_path / "tokenizer")
        return str(tmp_path / "tokenizer")

    return save


def test_a_hub_tokenizer_encodes_without_special_tokens(tokenizer_folder):
    folder = tokenizer_folder(bos_token="<s>", eos_token="</s>")
    tokens, backend = HubTokens(folder, None), Tokenizer.from_file(f"{folder}/tokenizer.json")
    text = "def value(self): return 7\n"
    assert tokens.encode(text) == backend.encode(text, add_special_tokens=False).ids
    assert tokens.prefix == (backend.token_to_id("<s>"),)
    assert tokens.prefix[0] not in tokens.encode(text)
    assert tokens.vocab_size == backend.get_vocab_size()


def test_eos_stands_in_where_a_hub_tokenizer_has_no_bos(tokenizer_folder):
    folder = tokenizer_folder(eos_token="</s>")
    assert HubTokens(folder, None).prefix == (Tokenizer.from_file(f"{folder}/tokenizer.json").token_to_id("</s>"),)


def test_a_hub_tokenizer_with_neither_bos_nor_eos_is_refused(tokenizer_folder):
    with pytest.raises(ValueError, match="defines neither"):
        HubTokens(tokenizer_folder(unk_token="<unk>"), None)


def test_the_identity_of_a_tokenizer_changes_with_what_it_makes_of_texts(tokenizer_folder, tmp_path):
    identity = HubTokens(tokenizer_folder(bos_token="<s>"), None).identity()
    assert HubTokens(tokenizer_folder(bos_token="<s>"), None).identity() == identity
    assert HubTokens(tokenizer_folder(bos_token="<s>", eos_token="</s>"), None).identity() != identity


def test_a_tokenizer_that_is_not_the_models_is_refused(tokenizer_folder):
    tokens = HubTokens(tokenizer_folder(bos_token="<s>"), None)
    size = tokens.vocab_size
    check_tokens(tokens, LlamaConfig(vocab_size=size, bos_token_id=tokens.own_bos))
    check_tokens(tokens, LlamaConfig(vocab_size=size + 5, bos_token_id=None))
    with pytest.raises(ValueError, match=f"has {size} ids, and the model embeds {size - 1}"):
        check_tokens(tokens, LlamaConfig(vocab_size=size - 1, bos_token_id=tokens.own_bos))
    with pytest.warns(UserWarning, match=f"has the id {tokens.own_bos}, and the model's config says bos_token_id=7"):
        check_tokens(tokens, LlamaConfig(vocab_size=size, bos_token_id=7))
    check_tokens(ByteTokens(), LlamaConfig(vocab_size=257, bos_token_id=256))


def test_a_tokenizer_without_bos_fits_a_model_that_names_one(tokenizer_folder):
    tokens = HubTokens(tokenizer_folder(eos_token="</s>"), None)
    check_tokens(tokens, LlamaConfig(vocab_size=tokens.vocab_size, bos_token_id=7))


@pytest.mark.parametrize("kind", ROWS)
def test_every_kind_of_row_works_with_a_hub_tokenizer(kind, tokenizer_folder, stdlib):
    tokens = HubTokens(tokenizer_folder(bos_token="<s>"), None)
    texts = [document.text for document in stdlib.documents("validation")[:5]]
    ids = LongContextData(Books(train=texts), tokens, {kind: 1.0}).batch(0, seed=1, rows=4, length=96)["input_ids"]
    assert ids.shape == (4, 96)
    assert (ids[:, 0] == tokens.prefix[0]).all()
    assert int(ids.max()) < tokens.vocab_size


CHAT = "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[answer]"


def test_a_chat_is_the_text_in_the_template_of_a_hub_tokenizer_that_has_one(tokenizer_folder):
    folder = tokenizer_folder(bos_token="<s>", eos_token="</s>")
    assert HubTokens(folder, None).chat("value", {}) is None
    assert ByteTokens().chat("value", {}) is None
    with_template = PreTrainedTokenizerFast.from_pretrained(folder)
    with_template.chat_template = CHAT
    with_template.save_pretrained(folder)
    tokens = HubTokens(folder, None)
    ids = tokens.chat("value\n", {})
    assert ids == [*tokens.prefix, *tokens.encode("[user]value\n[answer]")]
    assert tokens.special == {*tokens.prefix, Tokenizer.from_file(f"{folder}/tokenizer.json").token_to_id("</s>")}


class Nothing(ByteTokens):
    """Makes tokens of line feeds alone, or of all but them."""

    def __init__(self, feeds):
        super().__init__()
        self.feeds = feeds

    def encode(self, text):
        return [byte for byte in super().encode(text) if (byte == 10) == self.feeds]


@pytest.mark.parametrize("kind", [kind for kind in ROWS if kind != "corpus"])
def test_rows_of_lines_are_refused_where_a_tokenizer_has_no_line_feed(kind):
    data = LongContextData(Books(train=["a b" * 99]), Nothing(feeds=False), {kind: 1.0})
    with pytest.raises(ValueError, match="no token for a line feed"):
        data.check_length(96)


def test_a_row_of_a_text_of_which_a_tokenizer_makes_nothing_is_refused():
    data = LongContextData(Books(train=["\n \n" * 99]), Nothing(feeds=True), {"periodic": 1.0})
    with pytest.raises(ValueError, match=r"makes no tokens of '[a-z]+', which is needed"):
        data.check_length(96)


def test_an_answer_does_not_end_with_a_line_that_a_tokenizer_cannot_write():
    shared = {"cut": "middle", "chat": False, "chat_arguments": {}, "first_line": False, "tag": None, "group": None}
    asked = TextTask(prompt="{input}", answer_tokens=4, metrics={"f1": "qa_f1"}, one_line=True, **shared)
    assert asked.ends(Nothing(feeds=False)) == []
    assert asked.ends(ByteTokens()) == [10]


def saved(folder, vocabulary, template=None):
    """Save a tokenizer of single characters, with special tokens in <>, and return it as ours."""
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    if template:
        named = [(text, number) for text, number in vocabulary.items() if text in template]
        backend.post_processor = TemplateProcessing(single=template, special_tokens=named)
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return HubTokens(str(folder), None)


def test_ids_with_gaps_are_kept_whole(tmp_path):
    tokens = saved(tmp_path, {"<s>": 0, "</s>": 1, "a": 2, "b": 70000})
    assert tokens.vocab_size == 70001
    assert encode([Document("one", "abab")], tokens).ids.tolist() == [2, 70000] * 2


@pytest.mark.parametrize("letters", ["ACGT", "a", "ab", "Q", "日本", "7", "я"])
@pytest.mark.parametrize(
    ("template", "prefix"), [("<h> $A", (2,)), ("<h> <s> $A </s>", (2, 0)), ("{0} <h> $A </s>", (3, 2))]
)
def test_the_prefix_is_found_whatever_letters_a_tokenizer_knows(tmp_path, letters, template, prefix):
    vocabulary = {"<s>": 0, "</s>": 1, "<h>": 2} | {letter: 3 + i for i, letter in enumerate(letters)}
    assert saved(tmp_path, vocabulary, template.replace("{0}", letters[0])).prefix == prefix
