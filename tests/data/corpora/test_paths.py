"""Where documents are read from, and what is said if there are none."""

import json

import datasets
import pytest
from support.corpus_files import TEXTS, corpus_of, save, texts_of, write
from support.lab import composed
from support.made import made
from support.text_corpora import CORPUS_ONLY, Books

from lcx_lightning.data.corpora.base import SPLITS
from lcx_lightning.data.corpora.paths import reader_of, resolve
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens


@pytest.mark.parametrize("kind", ["txt", "jsonl", "jsonl.gz", "parquet"])
def test_files_of_every_kind_are_read_by_their_names_alone(tmp_path, kind):
    (tmp_path / "files").mkdir()
    path = write(tmp_path / "files", kind)
    assert texts_of(corpus_of(path, tmp_path)) == TEXTS


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_a_folder_is_read_as_its_files_are(tmp_path, kind):
    (tmp_path / "files").mkdir()
    write(tmp_path / "files", kind)
    assert texts_of(corpus_of(tmp_path / "files", tmp_path)) == TEXTS


def test_readers_go_by_the_suffix_behind_which_a_file_may_be_compressed():
    names = ["a.jsonl", "a.b.JSON", "a.txt.zst", "a.parquet", "owner/name", "owner/name-1.5", "a.gz"]
    assert [reader_of(name) for name in names] == ["json", "json", "text", "parquet", None, None, None]


def test_what_names_no_local_files_is_left_to_the_hub():
    load = {"path": "owner/name", "name": "small", "data_files": None}
    assert resolve(load) == load


@pytest.mark.parametrize("path", ["nowhere.jsonl", "books/*.txt", "./nowhere", "/no/where", "~/no-such-folder"])
def test_a_path_that_is_not_there_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"There is no (file|folder) .*(nowhere|books|no/where|no-such-folder)"):
        resolve({"path": path})


def test_a_file_that_is_not_there_is_refused_where_it_is_named_by_split(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    files = {"train": [str(tmp_path / "train.jsonl")], "test": str(tmp_path / "test.jsonl")}
    with pytest.raises(ValueError, match=r"There is no file .*test\.jsonl"):
        resolve({"path": "json", "data_files": files})


def test_an_empty_file_is_refused_by_name(tmp_path):
    write(tmp_path, "txt")
    (tmp_path / "empty.txt").write_text("")
    for path in (tmp_path / "*.txt", tmp_path):
        with pytest.raises(ValueError, match=r"1 of 6 are empty: .*empty\.txt"):
            resolve({"path": str(path)})


def test_a_folder_without_data_is_refused(tmp_path):
    (tmp_path / "notes.md").write_text("nothing")
    with pytest.raises(ValueError, match=r"must hold \.json, \.jsonl, \.parquet, \.csv, \.txt files"):
        resolve({"path": str(tmp_path)})


BOOKS = [f"book {i}.txt" for i in range(3)]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (".", [*BOOKS, "train-travel.txt"]),
        (".", [*BOOKS, "train.txt", "my test.txt", "dev-x/a.txt"]),
        (".", ["test-of-time.txt", "train-travel.txt"]),
        (".", ["a.jsonl", "test-data.jsonl", "deep/er/validation results.jsonl"]),
        (".", ["a.csv", "b/eval 1.csv"]),
        (".", ["Train[1].txt", "what?.TXT", "a*.txt", "b#%20~.txt", "__x__/ä ö.txt"]),
        ("*.txt", ["train.txt", "test.txt"]),
        ("**/t*", ["train/t1.jsonl", "test/t2.jsonl"]),
        ("test[1].txt", ["test[1].txt"]),
    ],
)
def test_exactly_the_files_that_are_there_are_read(tmp_path, path, names):
    """Whatever they are called: of files that do not all name a split, none is left out."""
    folder = save(tmp_path / "files", *names)
    save(folder, ".hidden.txt", ".git/config.txt", "__MACOSX/._a.txt", "dataset_info.json") if path == "." else None
    (folder / "README.md").write_text("---\nNo metadata\n---\n")
    (folder / "LICENSE").write_text("MIT")
    found = {text.strip() for text in texts_of(corpus_of(folder / path, tmp_path))}
    assert found == set(names)


HUB = {
    "shards": [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
        "test-00000-of-00001-0123456789abcdef.parquet",
    ],
    "names": ["train.jsonl", "validation.jsonl.gz", "test.jsonl"],
    "words": ["data/training.txt", "data/dev_0.txt", "data/eval_1.txt"],
    "folders": ["train/0000.jsonl", "val/0000.jsonl", "test/a.jsonl", "test/b.jsonl"],
}


@pytest.mark.parametrize("names", HUB.values(), ids=list(HUB))
def test_files_that_all_name_a_split_are_those_splits_as_on_the_hub(tmp_path, names):
    for name in names:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    oracle = datasets.load_dataset_builder(str(tmp_path)).config.data_files  # finds these too, by patterns
    found = resolve({"path": str(tmp_path)}, ["train", "validation", "test"])["data_files"]
    assert found == {str(split): sorted(files) for split, files in oracle.items()}


def test_a_split_may_have_a_name_of_ones_own(tmp_path):
    save(tmp_path, "mine.jsonl", "held_out-1.jsonl")
    splits = {"train": "mine", "test": "held_out"}
    corpus = corpus_of(tmp_path, tmp_path, *(f"data.corpus.splits.{k}={v}" for k, v in splits.items()))
    assert {split: [d.text for d in corpus.documents(split)] for split in splits} == {
        "train": ["mine.jsonl"],
        "test": ["held_out-1.jsonl"],
    }


@pytest.mark.parametrize(
    ("names", "path", "needed"),
    [
        ([*BOOKS, "metadata.json"], ".", r"holds 1 \.json \(metadata\.json\), 3 \.txt \(book 0\.txt\).*\*\*/\*\.txt"),
        (["a.jsonl", "b.jsonl", "deep/notes.txt"], ".", r"holds 2 \.jsonl .*, 1 \.txt \(notes\.txt\)"),
        (["a.jsonl", "metadata.json"], ".", r"holds 1 \.json \(metadata\.json\), 1 \.jsonl"),
        (["a.jsonl.gz", "b.csv"], ".", r"holds 1 \.csv \(b\.csv\), 1 \.jsonl"),
        (["a.txt", "b.md"], "*", r"holds 1 \.md \(b\.md\), 1 \.txt"),
        (["a.md"], "a.md", r"Only \.json, .* files can be read; .*a\.md is none"),
        (["a::b.txt"], ".", "reads '::' in a name as an archive: rename"),
    ],
)
def test_files_of_several_kinds_are_refused_by_name(tmp_path, names, path, needed):
    with pytest.raises(ValueError, match=needed):
        resolve({"path": str(save(tmp_path, *names) / path)})


@pytest.mark.parametrize(
    ("load", "needed"),
    [
        ({"path": "{0}", "revision": "main"}, "revision=main would change nothing: set revision=null"),
        ({"path": "{0}", "name": "other"}, "name=other would change nothing"),
        ({"path": "{0}/a.txt", "data_files": "b.txt"}, "data_files=b.txt would change nothing"),
        ({"path": "json"}, "path=json reads the files in data_files, which is null"),
        ({"path": "text", "data_files": {"train": "{0}/*.txt", "test": "{0}/a.txt"}}, "must not be in two splits"),
    ],
)
def test_settings_that_say_which_files_are_obeyed_or_refused(tmp_path, load, needed):
    save(tmp_path, "a.txt", "b.txt")
    placed = json.loads(json.dumps(load).replace("{0}", str(tmp_path)))
    with pytest.raises(ValueError, match=needed):
        resolve(placed)


def test_files_of_a_folder_may_be_named_by_split_and_a_folder_inside_it_by_its_name(tmp_path):
    save(tmp_path, "a/one.txt", "a/two.txt", "b/three.txt", "b/notes.json")
    files = {"train": "a/*.txt", "test": ["b/three.txt"]}
    assert resolve({"path": str(tmp_path), "data_files": files, "name": None}) == {
        "sample_by": "document",
        "encoding": "utf-8-sig",
        "path": "text",
        "data_files": {
            "train": [str(tmp_path / "a" / "one.txt"), str(tmp_path / "a" / "two.txt")],
            "test": [str(tmp_path / "b" / "three.txt")],
        },
    }
    assert len(resolve({"path": str(tmp_path), "name": "a"})["data_files"]["train"]) == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_an_unknown_split_is_answered_with_those_there_are(tmp_path, streaming):
    path = write(tmp_path, "jsonl")
    chosen = [f"data.corpus.load.streaming={streaming}", "data.corpus.splits.test=held_out"]
    with pytest.raises(ValueError, match=r"held_out.*\['train'\].*Set data.corpus.splits"):
        corpus_of(path, tmp_path, *chosen).documents("test")


def test_a_minimum_that_no_document_has_is_answered_with_how_long_they_are(tmp_path):
    corpus = corpus_of(write(tmp_path, "jsonl"), tmp_path, "data.corpus.minimum_characters=1000")
    longest = max(map(len, TEXTS))
    with pytest.raises(ValueError, match=f"5 documents, and the longest has {longest} characters"):
        corpus.documents("train")


def test_documents_left_out_for_their_length_are_counted(tmp_path):
    (tmp_path / "all.jsonl").write_text("".join(json.dumps({"text": "a" * n}) + "\n" for n in range(1, 9)))
    corpus = corpus_of(tmp_path / "all.jsonl", tmp_path, "data.corpus.minimum_characters=4")
    assert [len(text) for text in texts_of(corpus)] == [4, 5, 6, 7, 8]
    assert [corpus.short(split) for split in SPLITS] == [3, 0, 0]


@pytest.mark.parametrize(
    ("load", "advice"),
    [
        ({"path": "owner/name"}, r"hf download owner/name .*load\.path=DIR"),
        (
            {"path": "json", "data_files": {"train": "hf://datasets/owner/name/train.jsonl.gz"}},
            r"hf download owner/name .*load\.data_files=\{train:DIR",
        ),
    ],
)
def test_a_hub_that_cannot_be_reached_is_answered_with_what_to_put_where(tmp_path, monkeypatch, load, advice):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    config = composed("data=hub", "data.corpus.load.path=owner/name").data.corpus
    config.load = {**load, "cache_dir": str(tmp_path)}
    corpus = made(config)
    assert corpus.name == "owner/name"
    with pytest.raises(ValueError, match=advice):
        corpus.documents("train")


def test_rows_of_a_split_whose_documents_are_too_short_are_refused_with_how_long_they_are():
    books = Books(train=["x" * 500], validation=["y" * 7, "z" * 9])
    data = LongContextData(books, ByteTokens(), CORPUS_ONLY, minimum_tokens=10)
    with pytest.raises(ValueError, match=r"no text there of 10 tokens or more: 2 documents, and the longest has 9"):
        data.check_rows(64)
