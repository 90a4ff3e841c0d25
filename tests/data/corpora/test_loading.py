"""Local files are read as they are now, and what cannot be read is named."""

import gzip
import json
import os

import datasets
import pytest
from support.corpus_files import TEXTS, corpus_of, save, texts_of, write
from support.text_corpora import CORPUS_ONLY

from lcx_lightning.data.corpora.base import SPLITS
from lcx_lightning.data.corpora.loading import json_object
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens


@pytest.mark.parametrize("kind", ["txt", "jsonl", "jsonl.gz", "parquet"])
def test_a_changed_file_is_read_anew_though_its_size_and_time_are_the_same(tmp_path, kind):
    (tmp_path / "files").mkdir()
    path, changed = write(tmp_path / "files", kind), [text.swapcase() for text in TEXTS]
    assert texts_of(corpus_of(path, tmp_path)) == TEXTS
    before = {file: file.stat() for file in (tmp_path / "files").iterdir()}
    write(tmp_path / "files", kind, changed)
    for file, stat in before.items():
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert texts_of(corpus_of(path, tmp_path)) == changed


@pytest.mark.parametrize("inside", ["text", "other"])
@pytest.mark.parametrize(
    ("name", "line"),
    [("a.jsonl", 3), ("a.jsonl.gz", 3), ("a.json", 1), ("a.txt", 2), ("a.csv", 4), ("long.jsonl", 2000)],
)
def test_a_file_that_is_not_utf8_is_named_with_its_line(tmp_path, name, line, inside):
    good = {"txt": b"words\n", "csv": b"text,other\n" if inside == "other" else b"other,text\n"}
    row = json.dumps({inside: "gr\xe9", "text": "x"} | {inside: "gr\xe9"}, ensure_ascii=False)
    bad = {"txt": "gr\xe9", "csv": "gr\xe9,gr\xe9"}.get(name.split(".")[1], row)
    lines = [good.get(name.split(".")[1], b'{"text": "good", "other": "good"}\n')] * (line - 1)
    content = b"".join(lines) + bad.encode("latin-1") + b"\n"
    save(tmp_path, "0.jsonl" if "json" in name else f"0.{name.split('.')[1]}")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(ValueError, match=rf"/{name}, line {line}: the byte 0xe9 is not UTF-8. Convert the file"):
        texts_of(corpus_of(tmp_path if name != "a.json" else tmp_path / name, tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "needed"),
    [
        ("a.jsonl", b'{"text": "a"}\n\n{"text": \n', r"a\.jsonl, line 3: needed a JSON object, found '\{\"text\": '"),
        ("a.jsonl", b'{"text": "a"}\nwords\n', r"a\.jsonl, line 2: needed a JSON object, found 'words'"),
        ("a.json", b'[{"text": "a"}, {"text": ]', r"a\.json cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 9, mtime=0)[:-9], r"a\.jsonl\.gz is damaged"),
        ("a.txt.gz", b"no archive", r"a\.txt\.gz is damaged"),
        ("a.parquet", b"PAR1 and no more", r"a\.parquet cannot be read"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, needed):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=needed):
        texts_of(corpus_of(tmp_path, tmp_path))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("column", ["text", "part.text", "paragraphs"])
def test_a_row_without_a_text_is_named_or_left_out_and_counted(tmp_path, column, kind):
    values = [f"text {i}" for i in range(12)]
    shown = {i: [value] if column == "paragraphs" else value for i, value in enumerate(values)} | {3: None, 7: None}
    rows = [{column: shown[i]} for i in range(12)]
    if column == "part.text":
        rows = [{"part": None if i == 3 else {"text": row[column]}} for i, row in enumerate(rows)]
    if column == "paragraphs":
        rows[7] = {column: ["a", None]}
    if kind == "jsonl":
        (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "all.parquet"))
    named = f"data.corpus.text_column={column}"
    with pytest.raises(ValueError, match=rf"Row all.{kind}/3 of .*, counted from 0, has no text.*skip_null=true"):
        corpus_of(tmp_path, tmp_path, named).documents("train")
    corpus = corpus_of(tmp_path, tmp_path, named, "data.corpus.skip_null=true", "data.corpus.held_out.test_share=0.5")
    documents = [document for split in SPLITS for document in corpus.documents(split)]
    assert {d.name: d.text for d in documents} == {
        f"all.{kind}/{i}": v for i, v in enumerate(values) if i not in (3, 7)
    }
    data = LongContextData(corpus, ByteTokens(), CORPUS_ONLY)
    assert sum(part["without_text"] for part in data.report().values()) == 2


@pytest.mark.parametrize("line", ["[" * 100_000, '{"n": ' + "7" * 5000 + "}"], ids=["nested", "digits"])
def test_a_line_that_python_cannot_read_is_named(line):
    with pytest.raises(ValueError, match="file, line 2: needed a JSON object"):
        json_object(line, "file, line 2")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_file_in_utf16_is_told_how_to_convert_it(tmp_path, name):
    (tmp_path / name).write_bytes('{"text": "a"}\n'.encode("utf-16"))
    with pytest.raises(ValueError, match="iconv -f UTF-16 -t UTF-8"):
        texts_of(corpus_of(tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+data.corpus.load.nonsense=1", "setting that the text reader does not: .*nonsense"),
        ("+data.corpus.load.encoding=nope", "encoding=nope cannot be used"),
        ("data.corpus.max_documents=-1", r"max_documents must be a whole number of at least 1 or null, got -1\."),
    ],
)
def test_a_setting_that_no_reader_has_is_a_sentence(tmp_path, override, said):
    save(tmp_path, "a.txt")
    with pytest.raises(Exception, match=said) as found:
        texts_of(corpus_of(tmp_path, tmp_path, override))
    assert isinstance(found.value, ValueError) or isinstance(found.value.__cause__, ValueError)
