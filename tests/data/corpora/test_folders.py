"""Every document of a folder is read once, through links too, and as its README.md says."""

import gzip
import json
import os

import pytest
from support.corpus_files import corpus_of, save, texts_of

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
