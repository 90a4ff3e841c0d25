"""Every document of a folder is read once, through links too, and as its README.md says."""

import gzip
import json
import os
from itertools import chain

import pytest
from datasets import Dataset
from support.corpus_files import corpus_of, save, texts_of

from lcx_lightning.data.corpora.base import SPLITS, HashSplit
from lcx_lightning.data.corpora.paths import resolve


def test_a_text_file_is_one_document_also_where_its_reader_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n\nthree")
    named = f"data.corpus.load.data_files='{tmp_path}/a.txt'"
    assert texts_of(corpus_of("text", tmp_path, named)) == ["one\ntwo\n\nthree"]
    by_line = texts_of(corpus_of("text", tmp_path, named, "+data.corpus.load.sample_by=line"))
    assert by_line == ["one", "two", "three"]  # an empty one is below minimum_characters


def test_the_byte_order_mark_of_a_text_is_no_part_of_it(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone \xef\xbb\xbf two")
    assert texts_of(corpus_of(tmp_path, tmp_path)) == ["one \ufeff two"]


@pytest.mark.parametrize("second", ["b.jsonl", "c/b.jsonl", "a.jsonl.gz", "train.jsonl"])
@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_one_file_under_two_names_is_refused(tmp_path, second, link):
    save(tmp_path, "a.jsonl", "other.jsonl")
    (tmp_path / "c").mkdir()
    if second.endswith("gz"):
        (tmp_path / second).write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    else:
        link(tmp_path / "a.jsonl", tmp_path / second)
    with pytest.raises(ValueError, match=r"must not be read twice, but .*a\.jsonl.* are the same file"):
        resolve({"path": str(tmp_path)})


def test_folders_behind_links_are_read_and_loops_end(tmp_path):
    folder = save(tmp_path / "here", "a.txt", "x/b.txt", "y/c.txt")
    save(tmp_path / "there", "d.txt", "deep/e.txt")
    for target, name in [("../there", "more"), (".", "self"), ("..", "up"), ("/", "root"), ("nowhere", "b.txt")]:
        (folder / name).symlink_to(target)
    (tmp_path / "there" / "back").symlink_to(folder)
    assert sorted(texts_of(corpus_of(folder, tmp_path))) == ["a.txt", "d.txt", "deep/e.txt", "x/b.txt", "y/c.txt"]


def test_folders_that_link_to_each_other_are_refused_and_not_read_forever(tmp_path):
    save(tmp_path, "x/b.txt", "y/c.txt")
    (tmp_path / "x" / "l").symlink_to(tmp_path / "y")
    (tmp_path / "y" / "m").symlink_to(tmp_path / "x")
    with pytest.raises(ValueError, match="must not be read twice"):
        resolve({"path": str(tmp_path)})


@pytest.mark.parametrize(
    ("name", "content", "said", "texts"),
    [
        ("a.txt", "one\ntwo", "sample_by: line", ["one", "two"]),
        ("a.txt", "one\ntwo", "default: true", ["one\ntwo"]),
        ("a.csv", "id;text\n1;x\n", "sep: ';'", ["x"]),
        ("a.csv", "id;text\n1;x\n", "delimiter: ';'", ["x"]),
        ("a.csv", "x,1\ny,2\n", "names: [text, n]", ["x", "y"]),
        ("a.json", json.dumps({"data": [{"text": "x"}], "text": "outer"}), "field: data", ["x"]),
    ],
)
def test_settings_of_a_reader_in_the_readme_are_obeyed(tmp_path, name, content, said, texts):
    (tmp_path / name).write_text(content)
    about = f"---\nconfigs:\n- config_name: default\n  data_files: {name}\n  {said}\n---\n"
    (tmp_path / "README.md").write_text(about)
    assert texts_of(corpus_of(tmp_path, tmp_path)) == texts


def test_a_readme_may_name_no_files(tmp_path):
    (save(tmp_path, "a.txt") / "README.md").write_text("---\nconfigs:\n---\n")
    assert texts_of(corpus_of(tmp_path, tmp_path)) == ["a.txt"]


def names_of(corpus):
    """Return the names of all documents, by split."""
    return {split: sorted(document.name for document in corpus.documents(split)) for split in SPLITS}


def test_a_document_that_is_a_file_is_named_by_its_path(tmp_path):
    save(tmp_path / "books", "b.txt", "x/a.txt", "x/b.txt")
    found = names_of(corpus_of(tmp_path / "books", tmp_path))
    assert sorted(chain(*found.values())) == ["b.txt", "x/a.txt", "x/b.txt"]
    pattern = names_of(corpus_of(f"{tmp_path}/books/x/*.txt", tmp_path))
    assert sorted(chain(*pattern.values())) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_document_in_a_file_of_several_is_named_by_file_and_row(tmp_path, kind):
    for name, count in (("a", 2), ("x/b", 3), ("x/c", 1)):
        rows = Dataset.from_list([{"text": f"{name} {number}"} for number in range(count)])
        (tmp_path / name).parent.mkdir(exist_ok=True)
        {"jsonl": rows.to_json, "csv": rows.to_csv, "parquet": rows.to_parquet}[kind](f"{tmp_path}/{name}.{kind}")
    corpus = corpus_of(tmp_path, tmp_path / "cache")
    documents = [document for split in SPLITS for document in corpus.documents(split)]
    assert len(documents) == 6
    for document in documents:
        name, number = document.text.split()
        assert document.name == f"{name}.{kind}/{number}"


def test_a_document_of_no_file_is_named_by_the_split_that_it_is_in(tmp_path, monkeypatch):
    rows = Dataset.from_list([{"text": f"text {number}"} for number in range(60)])
    monkeypatch.setattr("lcx_lightning.data.corpora.hub.load_rows", lambda *_: rows)
    shares = ["data.corpus.held_out.validation_share=0.2", "data.corpus.held_out.test_share=0.3"]
    found = names_of(corpus_of("owner/name", tmp_path, *shares))
    assert all(name.startswith(f"{split}/") for split, names in found.items() for name in names)
    assert all(len(names) > 5 for names in found.values())
    numbers = [int(name.split("/")[1]) for names in found.values() for name in names]
    assert sorted(numbers) == list(range(60))
    by_hash = HashSplit(0.2, 0.3, 0)  # of the dataset's own split and row, whatever a document is called
    assert all(
        by_hash.split(f"train/{name.split('/')[1]}") == split for split, names in found.items() for name in names
    )
