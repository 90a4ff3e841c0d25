"""Corpora, tokenisers, training rows, evaluation windows, and the loader that resumes at the batch where it stopped."""

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import datasets
import lightning
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lcx_lightning.data.corpus import SPLITS, Corpus, Document, HashSplit
from lcx_lightning.data.hub import HubCorpus
from lcx_lightning.data.loader import StepLoader
from lcx_lightning.data.module import LongContextDataModule
from lcx_lightning.data.source import LongContextData
from lcx_lightning.data.stdlib import StandardLibrary
from lcx_lightning.data.stream import TokenStream
from lcx_lightning.data.synthetic import copy_row, needle, periodic_row, question, retrieval_row
from lcx_lightning.data.tokens import ByteTokens, HubTokens

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "experiments" / "configs" / "data"
BOS = 256
CORPUS_ONLY = {"corpus": 1.0}


class Books(Corpus):
    """A corpus given as lists of texts."""

    name = "books"

    def __init__(self, **splits: list[str]) -> None:
        self._splits = splits

    def read(self) -> dict[str, list[Document]]:
        return {s: [Document(f"{s}-{i}", text) for i, text in enumerate(self._splits.get(s, []))] for s in SPLITS}


@pytest.fixture(scope="module")
def stdlib_config():
    return OmegaConf.load(CONFIGS / "stdlib.yaml")


@pytest.fixture(scope="module")
def stdlib(stdlib_config) -> Corpus:
    return instantiate(stdlib_config.corpus)


@pytest.fixture(scope="module")
def data(stdlib, stdlib_config) -> LongContextData:
    return LongContextData(stdlib, ByteTokens(), stdlib_config.mixture)


def text_of(ids) -> str:
    return bytes(int(i) for i in ids if i != BOS).decode("latin-1")


# ---------------------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize("text", ["", "def f():\n\treturn 'x'\n", "naïve 日本語 🙂", "\0\r\n"])
def test_bytes_survive_encoding_and_decoding(text):
    tokens = ByteTokens()
    assert tokens.encode(text) == list(text.encode())
    assert tokens.decode(tokens.encode(text)) == text


def test_a_byte_slice_that_cuts_a_character_still_decodes_and_bos_reads_as_nothing():
    tokens = ByteTokens()
    assert (tokens.vocab_size, tokens.bos) == (257, BOS)
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
    assert tokens.bos == backend.token_to_id("<s>")
    assert tokens.bos not in tokens.encode(text)
    assert tokens.vocab_size == backend.get_vocab_size()


def test_eos_stands_in_where_a_hub_tokenizer_has_no_bos(tokenizer_folder):
    folder = tokenizer_folder(eos_token="</s>")
    assert HubTokens(folder, None).bos == Tokenizer.from_file(f"{folder}/tokenizer.json").token_to_id("</s>")


def test_a_hub_tokenizer_with_neither_bos_nor_eos_is_refused(tokenizer_folder):
    with pytest.raises(ValueError, match="defines neither"):
        HubTokens(tokenizer_folder(unk_token="<unk>"), None)


@pytest.mark.parametrize("kind", ["corpus", "copy", "retrieval", "periodic"])
def test_every_kind_of_row_works_with_a_hub_tokenizer(kind, tokenizer_folder, stdlib):
    tokens = HubTokens(tokenizer_folder(bos_token="<s>"), None)
    texts = [document.text for document in stdlib.documents("validation")[:5]]
    ids = LongContextData(Books(train=texts), tokens, {kind: 1.0}).batch(0, seed=1, rows=4, length=96)["input_ids"]
    assert ids.shape == (4, 96)
    assert (ids[:, 0] == tokens.bos).all()
    assert int(ids.max()) < tokens.vocab_size


# ---------------------------------------------------------------------------------------------------------- corpora


def test_no_file_of_the_standard_library_is_in_two_splits_and_none_is_a_test_or_generated(stdlib):
    names = [document.name for split in SPLITS for document in stdlib.documents(split)]
    assert len(names) == len(set(names))
    folders = {part for name in names for part in Path(name).parts[:-1]}
    assert not folders & {"site-packages", "test", "tests", "idle_test", "__pycache__", "pydoc_data", "encodings"}
    assert {"argparse.py", "json/decoder.py"} <= set(names)


def test_the_standard_library_is_its_source_with_tabs_for_indents(stdlib):
    texts = {document.name: document.text for split in SPLITS for document in stdlib.documents(split)}
    source = Path(json.__file__).parent.joinpath("decoder.py").read_text().splitlines()
    for line, dense in zip(source, texts["json/decoder.py"].splitlines(), strict=True):
        indent = len(dense) - len(dense.lstrip("\t"))
        assert line == " " * 4 * indent + dense[indent:]
        assert not dense[indent:].startswith("    ")


def test_the_splits_of_the_standard_library_are_large_enough_to_evaluate_on(stdlib):
    long = {split: sum(len(d.text.encode()) >= 4096 for d in stdlib.documents(split)) for split in SPLITS}
    assert long["test"] >= 60
    assert long["validation"] >= 40
    assert stdlib.report()["train"]["bytes"] > 4_000_000


def test_the_largest_files_are_spread_over_the_splits(stdlib):
    sized = [(len(document.text), split) for split in SPLITS for document in stdlib.documents(split)]
    assert {split for _, split in sorted(sized)[-12:]} == set(SPLITS)


def test_the_split_of_a_document_depends_on_its_name_and_the_seed_alone():
    names = [f"document {i}" for i in range(4000)]
    rule = HashSplit(validation_share=0.1, test_share=0.2, seed=3)
    placed = {name: rule.split(name) for name in names}
    shares = Counter(placed.values())
    assert shares["validation"] / 4000 == pytest.approx(0.1, abs=0.02)
    assert shares["test"] / 4000 == pytest.approx(0.2, abs=0.02)
    parts = rule.partition([Document(name, "") for name in reversed(names)])
    assert {d.name: split for split, documents in parts.items() for d in documents} == placed
    assert any(HashSplit(0.1, 0.2, seed=4).split(name) != placed[name] for name in names)


@pytest.mark.parametrize("shares", [(0.6, 0.5), (-0.1, 0.2), (0.5, 0.5)])
def test_shares_that_leave_nothing_to_train_on_are_refused(shares):
    with pytest.raises(ValueError, match="sum is below 1"):
        HashSplit(*shares, seed=0)


def test_an_unknown_split_is_refused_with_the_splits_there_are(stdlib):
    with pytest.raises(ValueError, match="train, validation, test; 'dev'"):
        stdlib.documents("dev")


def test_the_identity_of_a_corpus_changes_with_text_name_and_split():
    identities = [
        Books(train=["ab", "c"]).identity(),
        Books(train=["a", "bc"]).identity(),
        Books(train=["ab"], test=["c"]).identity(),
        Books(train=["ab", "d"]).identity(),
    ]
    assert len(set(identities)) == 4
    assert Books(train=["ab", "c"]).identity() == identities[0]


ROWS = [{"text": f"{'long ' * 40}{i}", "other": i} for i in range(60)] + [{"text": "short", "other": 0}]
HELD_OUT = HashSplit(validation_share=0.2, test_share=0.2, seed=0)


def write_rows(folder: Path, path: str) -> str:
    """Return the file that holds ROWS in the format that `datasets` calls `path`."""
    file = folder / f"rows.{path}"
    if path == "json":
        file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif path == "parquet":
        datasets.Dataset.from_list(ROWS).to_parquet(str(file))
    else:
        file.write_text("".join(row["text"] + "\n" for row in ROWS))
    return str(file)


@pytest.fixture
def local(tmp_path, monkeypatch):
    """Return a function that builds a HubCorpus of ROWS."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)

    def build(path: str = "json", streaming: bool = False, **changes) -> HubCorpus:
        load = {"path": path, "data_files": write_rows(tmp_path, path), "streaming": streaming}
        settings = {
            "splits": {"train": "train", "validation": None, "test": None},
            "text_column": "text",
            "minimum_characters": 10,
            "max_documents": None,
            "held_out": HELD_OUT,
        }
        return HubCorpus({**load, "cache_dir": str(tmp_path / "cache")}, **{**settings, **changes})

    return build


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("path", ["json", "parquet", "text"])
def test_local_files_become_documents_of_three_disjoint_splits(local, path, streaming):
    corpus = local(path, streaming)
    texts = [document.text for split in SPLITS for document in corpus.documents(split)]
    assert sorted(texts) == sorted(row["text"] for row in ROWS if len(row["text"]) >= 10)
    assert all(len(corpus.documents(split)) >= 5 for split in SPLITS)
    assert sum(part["documents"] for part in corpus.report().values()) == 60
    assert sum(part["bytes"] for part in corpus.report().values()) == sum(map(len, texts))


def test_text_files_may_be_one_document_each(tmp_path, local):
    write_rows(tmp_path, "text")
    load = {"path": "text", "data_files": str(tmp_path / "rows.text"), "sample_by": "document"}
    corpus = HubCorpus(
        load | {"cache_dir": str(tmp_path / "cache")},
        splits={"train": "train", "validation": "train", "test": "train"},
        text_column="text",
        minimum_characters=1,
        max_documents=None,
        held_out=HELD_OUT,
    )
    assert [document.text for document in corpus.documents("test")] == [(tmp_path / "rows.text").read_text()]


def test_splits_that_a_dataset_has_are_kept_and_only_the_missing_one_is_taken_from_train(tmp_path, local):
    files = {}
    for split in ("train", "test"):
        files[split] = str(tmp_path / f"{split}.jsonl")
        Path(files[split]).write_text("".join(json.dumps({"text": f"{split} text {i}"}) + "\n" for i in range(40)))
    corpus = HubCorpus(
        {"path": "json", "data_files": files, "cache_dir": str(tmp_path / "cache")},
        splits={"train": "train", "validation": None, "test": "test"},
        text_column="text",
        minimum_characters=1,
        max_documents=None,
        held_out=HELD_OUT,
    )
    assert [d.text for d in corpus.documents("test")] == [f"test text {i}" for i in range(40)]
    assert len(corpus.documents("train")) + len(corpus.documents("validation")) == 40
    assert 1 <= len(corpus.documents("validation")) <= 16
    assert all(d.text.startswith("train") for s in ("train", "validation") for d in corpus.documents(s))


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_beyond_max_documents_are_not_read(local, streaming):
    corpus = local(streaming=streaming, max_documents=7)
    names = [document.name for split in SPLITS for document in corpus.documents(split)]
    assert sorted(names) == [f"train/{i}" for i in range(7)]


@pytest.mark.parametrize("streaming", [False, True])
def test_an_unknown_column_is_refused_with_the_columns_there_are(local, streaming):
    with pytest.raises(ValueError, match=r"'body' was asked for.*columns other, text"):
        local(streaming=streaming, text_column="body").documents("train")


def test_a_column_that_holds_no_text_is_refused(local):
    with pytest.raises(ValueError, match="a row holds int"):
        local(text_column="other").documents("train")


def test_splits_need_all_three_names_and_a_training_split(local):
    with pytest.raises(ValueError, match="keys train, validation, test"):
        local(splits={"train": "train"})


def test_the_hub_config_reads_a_local_file_once_its_path_is_given(tmp_path, local):
    config = OmegaConf.load(CONFIGS / "hub.yaml")
    config.corpus.load.update(path="json", data_files=write_rows(tmp_path, "json"), cache_dir=str(tmp_path / "cache"))
    corpus = instantiate(config.corpus)
    assert sum(part["documents"] for part in corpus.report().values()) == len(ROWS)
    assert corpus.name == str(tmp_path / "rows.json")
    LongContextData(corpus, ByteTokens(), config.mixture)


# ---------------------------------------------------------------------------------------------------- training rows


DIGEST = """
import hashlib
from hydra.utils import instantiate
from omegaconf import OmegaConf
from lcx_lightning.data.source import LongContextData
from lcx_lightning.data.tokens import ByteTokens
config = OmegaConf.load("experiments/configs/data/stdlib.yaml")
corpus = instantiate(config.corpus)
ids = LongContextData(corpus, ByteTokens(), config.mixture).batch(5, seed=2, rows=16, length=128)["input_ids"]
print(corpus.identity(), hashlib.sha256(ids.numpy().tobytes()).hexdigest())
"""


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


@pytest.mark.parametrize("kind", ["corpus", "copy", "retrieval", "periodic"])
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
    stream = TokenStream([Document("a", "a" * 3000), Document("empty", ""), Document("b", "b" * 1000)], ByteTokens())
    rng = np.random.default_rng(0)
    drawn = Counter(chr(stream.row(rng, 10, BOS)[1]) for _ in range(2000))
    assert drawn["a"] / 2000 == pytest.approx(0.75, abs=0.03)


def test_the_mixture_gives_each_kind_its_share():
    mixture = {"corpus": 0.5, "periodic": 0.5}
    source = LongContextData(Books(train=["." * 5000]), ByteTokens(), mixture)
    ids = source.batch(0, seed=0, rows=1000, length=64)["input_ids"]
    assert (ids[:, 1] == ord(".")).float().mean().item() == pytest.approx(0.5, abs=0.05)


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
        found = re.findall(r"\n([a-z]{6})([a-z]{5})\n", text)
        assert len(re.sub(r"\n[a-z]{11}\n", "", text).strip(".")) == 0
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
    assert needle("abcdef", "vwxyz") == question("abcdef") + "vwxyz\n"


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


@pytest.mark.parametrize(
    "mixture", [{"corpus": 0.5}, {"corpus": 0.5, "recall": 0.5}, {"corpus": 1.5, "copy": -0.5}, {}]
)
def test_a_mixture_that_is_none_is_refused(mixture):
    with pytest.raises(ValueError, match=r"corpus, copy, retrieval, periodic shares .* sum to 1"):
        LongContextData(Books(), ByteTokens(), mixture)


def test_synthetic_rows_that_are_too_short_are_refused():
    source = LongContextData(Books(train=["x" * 500]), ByteTokens(), {"corpus": 0.5, "copy": 0.5})
    with pytest.raises(ValueError, match="need 64 tokens or more; length 63"):
        source.batch(0, seed=0, rows=1, length=63)


def test_rows_of_an_empty_split_are_refused():
    source = LongContextData(Books(train=["x" * 500]), ByteTokens(), CORPUS_ONLY)
    with pytest.raises(ValueError, match=r"validation split .* books has no text there"):
        source.validation_batch(rows=1, length=64, seed=0)


# ----------------------------------------------------------------------------------------------- evaluation windows


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
    with pytest.raises(ValueError, match="asked of the test split") as error:
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


def test_the_report_counts_documents_and_tokens():
    report = LongContextData(Books(train=["ab", "é"], test=["abc"]), ByteTokens(), CORPUS_ONLY).report()
    assert report == {
        "train": {"documents": 2, "tokens": 4, "longest": 2},
        "validation": {"documents": 0, "tokens": 0, "longest": 0},
        "test": {"documents": 1, "tokens": 3, "longest": 3},
    }


# ------------------------------------------------------------------------------------------------ loaders, Lightning


class Recorder(lightning.LightningModule):
    """A model that notes the batches it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[list[list[int]]] = []
        self.validated: list[list[list[int]]] = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["input_ids"].tolist())
        return self.weight.square().sum()

    def validation_step(self, batch, batch_idx):
        self.validated.append(batch["input_ids"].tolist())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: LongContextData, folder: Path, max_steps: int, accumulate: int, ckpt_path: Path | None) -> Recorder:
    """Return the model after training to `max_steps` optimizer steps of a run of 12 batches."""
    model = Recorder()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=max_steps,
        accumulate_grad_batches=accumulate,
        val_check_interval=4,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        callbacks=[ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")],
        default_root_dir=folder,
    )
    module = LongContextDataModule(data, seed=5, rows=2, length=64, steps=12, validation_steps=2)
    trainer.fit(model, datamodule=module, ckpt_path=ckpt_path)
    return model


# A resumed run writes into the folder of the run it goes on with, which is what it should do.
resuming = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning")


@resuming
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_sees_exactly_the_batches_of_an_uninterrupted_one(data, tmp_path, accumulate):
    steps = 12 // accumulate
    whole = fit(data, tmp_path / "whole", steps, accumulate, None)
    assert whole.seen == [data.batch(i, seed=5, rows=2, length=64)["input_ids"].tolist() for i in range(12)]
    for stop in (1, steps // 2, steps - 1):
        folder = tmp_path / f"stopped-{stop}"
        first = fit(data, folder, stop, accumulate, None)
        second = fit(data, folder, steps, accumulate, folder / f"step={stop}.ckpt")
        assert first.seen + second.seen == whole.seen


@resuming
def test_a_checkpoint_of_the_middle_of_a_run_resumes_at_the_next_batch(data, tmp_path):
    whole = fit(data, tmp_path, 12, 1, None)
    for step in (3, 4, 8):
        resumed = fit(data, tmp_path, 12, 1, tmp_path / f"step={step}.ckpt")
        assert resumed.seen == whole.seen[step:]


def test_validation_rows_are_the_same_every_time_and_of_the_validation_split(data, stdlib, tmp_path):
    validated = fit(data, tmp_path, 12, 1, None).validated
    assert len(validated) == 1 + 3 * 2
    assert validated[1:3] == validated[3:5] == validated[5:7]
    assert validated[1] != validated[2]
    joined = "\0".join(document.text.encode().decode("latin-1") for document in stdlib.documents("validation"))
    assert all(text_of(row[1:]) in joined for batch in validated for row in batch if BOS not in row[1:])


def test_ranks_share_the_rows_of_a_global_batch(data, tmp_path):
    class Rank:
        world_size = 2

        def __init__(self, rank: int) -> None:
            self.global_rank = rank

    settings = {"seed": 5, "length": 64, "steps": 1, "validation_steps": 1}
    parts = []
    for rank in range(2):
        module = LongContextDataModule(data, rows=4, **settings)
        module.trainer = Rank(rank)
        parts.append(next(iter(module.train_dataloader()))["input_ids"])
    whole = data.batch(0, seed=5, rows=4, length=64)["input_ids"]
    assert sorted(torch.cat(parts).tolist()) == sorted(whole.tolist())
    module = LongContextDataModule(data, rows=3, **settings)
    module.trainer = Rank(0)
    with pytest.raises(ValueError, match="3 rows were given to 2 ranks"):
        next(iter(module.train_dataloader()))


def test_a_loader_has_a_length_and_a_second_pass_starts_again():
    loader = StepLoader(lambda step: {"step": step}, steps=4)
    assert len(loader) == 4
    assert [batch["step"] for batch in loader] == [0, 1, 2, 3]
    loader.load_state_dict({"batches": 3})
    assert loader.state_dict() == {"batches": 3}
    assert [batch["step"] for batch in loader] == [3]
    assert [batch["step"] for batch in loader] == [0, 1, 2, 3]


def test_the_train_loader_hands_out_the_batches_of_its_steps(data):
    loader = data.train_loader(seed=1, rows=2, length=64, steps=3)
    assert [b["input_ids"].tolist() for b in loader] == [
        data.batch(i, 1, 2, 64)["input_ids"].tolist() for i in range(3)
    ]


def test_the_shares_of_the_standard_library_are_checked_when_it_is_built():
    with pytest.raises(ValueError, match="sum is below 1"):
        StandardLibrary(validation_share=0.5, test_share=0.6, seed=0)
