"""Corpora and their splits: the standard library, files of one's own, and datasets of the Hugging Face hub."""

import json
from collections import Counter
from pathlib import Path

import datasets
import pytest
from omegaconf import OmegaConf
from support.made import made
from support.refusals import refusal
from support.text_corpora import CONFIGS, CORPUS_ONLY, Books

from lcx_lightning.data.corpora.base import SPLITS, Document, HashSplit
from lcx_lightning.data.corpora.hub import HubCorpus
from lcx_lightning.data.corpora.stdlib import StandardLibrary
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens


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


@pytest.mark.parametrize("shares", [(0.6, 0.5), (0.5, 0.5), (1, 0)])
def test_shares_that_leave_nothing_to_train_on_are_refused(shares):
    with pytest.raises(ValueError, match="sum is below 1"):
        HashSplit(*shares, seed=0)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, "0.1", float("nan")])
@pytest.mark.parametrize("name", ["validation_share", "test_share"])
def test_a_share_is_from_0_to_1(name, wrong):
    with pytest.raises(ValueError, match=refusal({name: wrong}, "a number of at least 0 and up to 1")):
        HashSplit(**{"validation_share": 0.1, "test_share": 0.1, "seed": 0} | {name: wrong})


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

    def build(path: str = "json", streaming: bool = False, load: dict | None = None, **changes) -> HubCorpus:
        given = {"path": path, "data_files": write_rows(tmp_path, path), "streaming": streaming} | (load or {})
        settings = {
            "splits": {"train": "train", "validation": None, "test": None},
            "where": {"column": None, "equals": None},
            "text_column": "text",
            "minimum_characters": 10,
            "max_documents": None,
            "skip_null": False,
            "held_out": HELD_OUT,
        }
        by_line = {"sample_by": "line"} if path == "text" else {}
        return HubCorpus({**by_line, **given, "cache_dir": str(tmp_path / "cache")}, **{**settings, **changes})

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
    splits = {"train": None, "validation": None, "test": "train"}
    corpus = local("text", load={"sample_by": "document"}, splits=splits, minimum_characters=1)
    assert [document.text for document in corpus.documents("test")] == [(tmp_path / "rows.text").read_text()]
    with pytest.raises(ValueError, match="must not be the same split"):
        local("text", load={}, splits=dict.fromkeys(SPLITS, "train"), minimum_characters=1)


def test_splits_that_a_dataset_has_are_kept_and_only_the_missing_one_is_taken_from_train(tmp_path, local):
    files = {}
    for split in ("train", "test"):
        files[split] = str(tmp_path / f"{split}.jsonl")
        Path(files[split]).write_text("".join(json.dumps({"text": f"{split} text {i}"}) + "\n" for i in range(40)))
    splits = {"train": "train", "validation": None, "test": "test"}
    corpus = local(load={"data_files": files}, splits=splits, minimum_characters=1)
    assert [d.text for d in corpus.documents("test")] == [f"test text {i}" for i in range(40)]
    assert len(corpus.documents("train")) + len(corpus.documents("validation")) == 40
    assert 1 <= len(corpus.documents("validation")) <= 16
    assert all(d.text.startswith("train") for s in ("train", "validation") for d in corpus.documents(s))


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_beyond_max_documents_are_not_read(local, streaming):
    corpus = local(streaming=streaming, max_documents=7)
    names = [document.name for split in SPLITS for document in corpus.documents(split)]
    assert sorted(names) == [f"rows.json/{i}" for i in range(7)]


@pytest.mark.parametrize("streaming", [False, True])
def test_an_unknown_column_is_refused_with_the_columns_there_are(local, streaming):
    with pytest.raises(ValueError, match=r"There is no column 'body'.*columns other, text"):
        local(streaming=streaming, text_column="body").documents("train")


def test_a_column_that_holds_no_text_is_refused(local):
    with pytest.raises(ValueError, match=r"the row .* holds int"):
        local(text_column="other").documents("train")


@pytest.mark.parametrize("splits", [{"train": "train"}, dict.fromkeys(SPLITS)])
def test_splits_need_all_three_names_and_one_that_the_dataset_has(local, splits):
    with pytest.raises(ValueError, match="keys train, validation, test"):
        local(splits=splits)


def test_the_hub_config_reads_a_local_file_once_its_path_is_given(tmp_path, local):
    config = OmegaConf.load(CONFIGS / "hub.yaml")
    config.corpus.load.update(path="json", data_files=write_rows(tmp_path, "json"), cache_dir=str(tmp_path / "cache"))
    corpus = made(config.corpus)
    assert sum(part["documents"] for part in corpus.report().values()) == len(ROWS)
    assert corpus.name == str(tmp_path / "rows.json")
    LongContextData(corpus, ByteTokens(), config.mixture)


def test_the_report_counts_documents_and_tokens():
    books = Books(train=["ab", "é", "abcd", "a"], test=["abc", ""])
    books.minimum_characters = 1
    data = LongContextData(books, ByteTokens(), CORPUS_ONLY, minimum_tokens=2)
    found = data.report(lengths=[3, 4])
    longest = {split: one.pop("longest_name") for split, one in found.items()}
    named = {split: [document.name for document in books.documents(split)] for split in ("train", "test")}
    assert longest == {"train": named["train"][2], "validation": None, "test": named["test"][0]}
    assert found == {
        "train": {"documents": 3, "tokens": 8, "median": 2, "longest": 4, "short": 0, "few_tokens": 1}
        | {"reach": {3: 3, 4: 1}, "without_text": 0},
        "validation": {"documents": 0, "tokens": 0, "median": 0, "longest": 0, "short": 0, "few_tokens": 0}
        | {"reach": {3: 0, 4: 0}, "without_text": 0},
        "test": {"documents": 1, "tokens": 3, "median": 3, "longest": 3, "short": 1, "few_tokens": 0}
        | {"reach": {3: 1, 4: 1}, "without_text": 0},
    }


def test_the_shares_of_the_standard_library_are_checked_when_it_is_built():
    with pytest.raises(ValueError, match="sum is below 1"):
        StandardLibrary(validation_share=0.5, test_share=0.6, seed=0)
