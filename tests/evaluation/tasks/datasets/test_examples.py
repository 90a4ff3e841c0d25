"""Examples of tasks: files in the datasets' own formats, and what is told of those that cannot serve."""

import json
import os
import re
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from support.task_files import LONG, LONGBENCH, longbench_rows, qasper_row, save_archive, save_lines, save_longbench

from lcx_lightning.evaluation.tasks.datasets.base import Example
from lcx_lightning.evaluation.tasks.datasets.longbench import LongBenchExamples
from lcx_lightning.evaluation.tasks.datasets.qasper import Qasper
from lcx_lightning.evaluation.tasks.datasets.text_pairs import TextPairs


def test_longbench_is_read_from_a_folder_its_data_folder_and_its_archive(tmp_path):
    places = [save_longbench(tmp_path / "a"), tmp_path / "b", save_archive(tmp_path / "c" / "data.zip")]
    save_longbench(tmp_path / "b" / "data")
    for name in LONGBENCH:
        found = [LongBenchExamples(path=str(place)).read(name) for place in places]
        assert found[0] == found[1] == found[2]
        for example, row in zip(found[0], longbench_rows(name), strict=True):
            assert example.fields == {"context": row["context"], "input": row["input"]}
            assert (example.name, list(example.answers)) == (row["_id"], row["answers"])
            assert list(example.classes) == (row["all_classes"] or [])


def test_a_question_of_qasper_has_the_whole_paper_and_the_answers_of_all_annotators(tmp_path):
    path = save_lines(tmp_path / "papers.jsonl", [qasper_row()])
    found = Qasper(load={"path": "json", "name": None, "data_files": str(path), "split": "train"}).read("qasper")
    assert [(e.name, e.answers) for e in found] == [
        ("q0", ("no", "unanswerable")),
        ("q1", ("a span another", "own words")),
        ("q2", ("yes",)),
    ]
    assert found[1].fields == {"context": f"Title One. Two.  {LONG}", "input": "What is it?"}


def test_pairs_of_texts_are_named_by_their_place_or_a_column(tmp_path):
    path = save_lines(tmp_path / "pairs.jsonl", [{"key": f"k{i}", "long": f"text {i}", "brief": "b"} for i in (0, 1)])
    load = {"path": "json", "data_files": str(path), "split": "train"}
    pairs = [TextPairs(name="p", load=load, context="long", answer="brief", id_column=c) for c in (None, "key")]
    assert [[e.name for e in one.read("any")] for one in pairs] == [["0", "1"], ["k0", "k1"]]
    assert pairs[0].read("any")[1] == Example("1", {"context": "text 1"}, ("b",))
    path.write_text(json.dumps({"key": "k", "brief": "b"}) + "\n")
    with pytest.raises(ValueError, match=r"pairs\.jsonl, row 0 needs the column 'long'; it has brief, key"):
        pairs[0].read("any")


def test_a_changed_file_is_read_anew_though_its_size_and_time_are_the_same(tmp_path):
    load = {"path": str(tmp_path / "pairs.jsonl"), "split": "train"}
    for word in ("old", "new"):
        path = save_lines(tmp_path / "pairs.jsonl", [{"long": word, "brief": word}])
        os.utime(path, (1e9, 1e9))
        (found,) = TextPairs(name="p", load=load, context="long", answer="brief", id_column=None).read("any")
        assert found == Example("0", {"context": word}, (word,))


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        (None, r"hotpotqa\.jsonl is needed; its folder has trec\.jsonl"),
        ("", "holds no examples"),
        ("\n\n", "holds no examples"),
        ('{"input": "i"}\n', "line 1 needs the column 'context'; it has input"),
        ('{"input": "i"\n', 'line 1: needed a JSON object, found \'{"input": "i"\''),
        ("[1]\n", "line 1: needed a JSON object"),
        ('{"_id": 1, "input": "", "context": "", "answers": ["a"]}\n' * 2, "two examples called '1'"),
    ],
)
def test_files_that_cannot_serve_are_refused_by_name(tmp_path, text, needed):
    (tmp_path / "trec.jsonl").write_text("{}")
    if text is not None:
        (tmp_path / "hotpotqa.jsonl").write_text(text)
    with pytest.raises(ValueError, match=needed):
        LongBenchExamples(path=str(tmp_path)).read("hotpotqa")


RIGHT = {"_id": "a", "input": "i", "context": "c", "answers": ["x"], "all_classes": None}


@pytest.mark.parametrize(
    ("wrong", "needed"),
    [
        ({"answers": "Paris"}, "'answers' needs a list of 1 or more texts, found \"Paris\""),
        ({"answers": None}, "'answers' needs a list of 1 or more texts, found null"),
        ({"answers": []}, "'answers' needs a list of 1 or more texts, found []"),
        ({"answers": [5]}, "'answers' needs a list of 1 or more texts, found [5]"),
        ({"answers": ["a", None]}, "'answers' needs a list of 1 or more texts"),
        ({"context": ["a", "b"]}, '\'context\' needs a text, found ["a", "b"]'),
        ({"context": None}, "'context' needs a text, found null"),
        ({"input": 3}, "'input' needs a text, found 3"),
        ({"input": {"a": "x" * 99}}, '\'input\' needs a text, found {"a": "xxx'),
        ({"all_classes": "Date"}, "'all_classes' needs a list of 0 or more texts, found \"Date\""),
        ({"_id": None}, "'_id' needs a text or a whole number, found null"),
        ({"_id": True}, "'_id' needs a text or a whole number, found true"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(tmp_path, wrong, needed):
    save_lines(tmp_path / "lcc.jsonl", [RIGHT, RIGHT | {"_id": "b"} | wrong])
    with pytest.raises(ValueError, match="lcc.jsonl, line 2: the column " + re.escape(needed)):
        LongBenchExamples(path=str(tmp_path)).read("lcc")


@pytest.mark.parametrize("wrong", [None, 7, ["a"], {"a": "b"}])
@pytest.mark.parametrize("column", ["long", "brief", "key"])
def test_a_pair_that_is_no_pair_of_texts_is_refused_with_its_row(tmp_path, column, wrong):
    rows = [{"key": "k", "long": "a", "brief": "b"}, {"key": "l", "long": "a", "brief": "b"} | {column: wrong}]
    load = {"path": str(save_lines(tmp_path / "pairs.jsonl", rows)), "split": "train"}
    pairs = TextPairs(name="p", load=load, context="long", answer="brief", id_column="key")
    if (column, wrong) == ("key", 7):
        assert [e.name for e in pairs.read("any")] == ["k", "7"]
        return
    with pytest.raises(ValueError, match=rf"pairs\.jsonl, row 1: the column '{column}' needs a text"):
        pairs.read("any")


@pytest.mark.parametrize(
    ("change", "needed"),
    [
        (lambda row: row["full_text"]["paragraphs"].pop(), r"row 0, full_text: .*'paragraphs' needs a list as long"),
        (lambda row: row["full_text"]["paragraphs"].__setitem__(0, "One."), r"'paragraphs' needs a list of 0 or more"),
        (
            lambda row: row["qas"]["question"].__setitem__(1, None),
            r"row 0, qas, q1: the column 'question' needs a text",
        ),
        (lambda row: row["qas"]["answers"][0].update(answer=[]), r"qas, q0 has no answer"),
        (lambda row: row["qas"]["answers"][0]["answer"][0].update(yes_no="no"), r"'yes_no' needs true or false, found"),
        (
            lambda row: row["qas"]["answers"][1]["answer"][0].update(extractive_spans="ab"),
            r"'extractive_spans' needs a",
        ),
        (lambda row: row.update(qas=None), r"row 0: the column 'qas' needs an object, found null"),
    ],
)
def test_a_paper_of_another_form_is_refused_with_its_place(monkeypatch, change, needed):
    row = qasper_row()
    change(row)
    monkeypatch.setattr("lcx_lightning.evaluation.tasks.datasets.base.load_rows", lambda *_: [row])
    with pytest.raises(ValueError, match=needed):
        Qasper(load={"path": "a/b", "split": "test"}).read("qasper")


@pytest.mark.parametrize(
    ("source", "fetched", "read"),
    [
        (
            LongBenchExamples(path="THUDM/LongBench"),
            "hf download THUDM/LongBench --repo-type",
            "evaluation.NAME.source.path=DIR/data.zip",
        ),
        (
            Qasper(load={"path": "a/b", "name": "c", "revision": "r", "split": "test"}),
            "hf download a/b --revision r --repo-type",
            "source.load.path=DIR evaluation.NAME.source.load.name=null evaluation.NAME.source.load.revision=null.",
        ),
        (
            TextPairs(name="p", load={"path": "a/b", "split": "test"}, context="x", answer="y", id_column=None),
            "hf download a/b --repo-type",
            "add evaluation.NAME.source.load.path=DIR.",
        ),
    ],
)
def test_a_hub_that_cannot_be_reached_tells_what_to_put_where(source, fetched, read, monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("offline")

    monkeypatch.setattr("lcx_lightning.data.corpora.loading.load_dataset", unreachable)
    with pytest.raises(ValueError, match=r"could not be read: .* does not answer") as refused:
        source.read("lcc")
    assert fetched in str(refused.value)
    assert read in str(refused.value)


@pytest.mark.parametrize("damage", ["encrypted", "bytes"])
def test_an_archive_that_cannot_be_opened_is_named(tmp_path, damage):
    path = tmp_path / "data.zip"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("data/one.jsonl", '{"_id": 1}\n' * 99)
    content = bytearray(path.read_bytes())
    if damage == "encrypted":  # bit 0 of the flags, in both headers
        content[6] |= 1
        content[content.index(b"PK\1\2") + 8] |= 1
    else:
        content[45:55] = b"\xff" * 10
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.zip needs to be a sound archive with data/one\.jsonl"):
        LongBenchExamples(path=str(path)).read("one")
