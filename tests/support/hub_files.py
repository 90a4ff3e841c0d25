"""Folders in the form of the hub's repositories that the data files name: few rows, the columns and files of each."""

import gzip
import json

from datasets import Dataset

SPLITS = ("train", "validation", "test")
DOCUMENTS = 12  # of each split of a repository


def text_of(name, split, number):
    """Return the text of a document, of several paragraphs."""
    return "\n\n".join(f"{name} {split} {number}, paragraph {i}: {'word ' * (5 + number)}" for i in range(3))


def _pg19(text, number):
    return {
        "short_book_title": f"Book {number}",
        "publication_date": 1850 + number,
        "url": f"http://www.gutenberg.org/ebooks/{number}",
        "text": text,
    }


def _slimpajama(text, number):
    """A row of the set that is asked for, or of another one."""
    return {"text": text, "meta": {"redpajama_set_name": SETS[number % 3]}, "__index_level_0__": number}


def _qasper(text, number):
    *first, last = text.split("\n\n")
    return {
        "id": f"1909.{number:05}",
        "title": "A paper",
        "abstract": "What it is about.",
        "full_text": {"section_name": ["Introduction", "Results"], "paragraphs": [first, [last]]},
        "qas": {"question": ["Why?"], "question_id": ["1"], "answers": [{"annotation_id": ["2"]}]},
    }


def _proof_pile(text, number):
    return {"text": text, "meta": {"set_name": "arXiv", "file": f"{number}.tex"}}


def _govreport(text, number):
    return {"report": text, "summary": f"Summary {number}."}


def _longbench(text, number):
    return {
        "input": "",
        "context": text,
        "answers": ["A summary."],
        "length": len(text.split()),
        "dataset": "gov_report",
        "language": "en",
        "all_classes": None,
        "_id": f"{number:032x}",
    }


SETS = ("RedPajamaBook", "RedPajamaArXiv", "RedPajamaWikipedia")
FORMS = {  # data file -> file of a split in the repository, its splits, and the row of a text
    "pg19": ("data/{split}-00000-of-00001.parquet", SPLITS, _pg19),
    "proof_pile": (
        "{split}/proofpile_{split}.jsonl.gz",
        SPLITS,
        _proof_pile,
    ),
    "arxiv": ("data/{split}-00000-of-00001.parquet", SPLITS, _slimpajama),
    "slimpajama_books": ("data/{split}-00000-of-00001.parquet", SPLITS, _slimpajama),
    "openwebtext": ("plain_text/{split}/0000.parquet", ("train",), lambda text, n: {"text": text}),
    "govreport": (
        "document/{split}-00000-of-00001.parquet",
        SPLITS,
        _govreport,
    ),
    "qmsum": (
        "data/{split}-00000-of-00001.parquet",
        SPLITS,
        lambda text, n: {"id": f"{n}", "pid": f"{n}_0", "input": text, "output": "An answer."},
    ),
    "qasper": ("qasper/{split}/0000.parquet", SPLITS, _qasper),
    "longbench": ("gov_report/{split}-00000-of-00001.parquet", ("test",), _longbench),
}


def write_repository(name, folder):
    """Write the repository of a data file to `folder`, and return the overrides that read it in place of the hub's."""
    pattern, splits, row = FORMS[name]
    files = {split: folder / pattern.format(split=split) for split in splits}
    for split, file in files.items():
        rows = [row(text_of(name, split, number), number) for number in range(DOCUMENTS)]
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".parquet":
            Dataset.from_list(rows).to_parquet(str(file))
        else:
            file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    if name == "longbench":  # configurations of a repository stand at the head of its README
        named = "config_name: gov_report\n  data_files:\n  - split: test\n    path: gov_report/test-*"
        (folder / "README.md").write_text(f"---\nconfigs:\n- {named}\n---\n")
    if name == "proof_pile":
        told = ",".join(f"{split}:{file}" for split, file in files.items())
        return [f"data={name}", f"data.corpus.load.data_files={{{told}}}"]
    return [f"data={name}", f"data.corpus.load.path={folder}", "data.corpus.load.revision=null"]
