"""The corpora of the papers, read from small folders in the form of the hub's repositories."""

import pytest
from support.hub_files import DOCUMENTS, FORMS, SETS, text_of, write_repository
from support.lab import ROOT, composed
from support.made import made

from lcx_lightning.data.corpora.base import SPLITS

OWN = {"hub", "stdlib", "sympy"}  # of no one repository
FILES = sorted(path.stem for path in (ROOT / "experiments" / "configs" / "data").glob("*.yaml"))


@pytest.fixture
def corpus(tmp_path):
    """A function: data file and overrides -> its corpus, read from a folder."""

    def build(name, *overrides):
        config = composed(*write_repository(name, tmp_path / "repository"), *overrides).data.corpus
        config.load = {**config.load, "cache_dir": str(tmp_path / "cache")}
        return made(config)

    return build


def test_the_repository_of_every_data_file_is_known_to_these_tests():
    assert set(FILES) == set(FORMS) | OWN


@pytest.mark.parametrize(("name", "streaming"), [*((name, False) for name in FORMS), ("arxiv", True), ("qasper", True)])
def test_a_data_file_reads_the_texts_of_its_repository(corpus, name, streaming):
    numbers = {"arxiv": range(1, DOCUMENTS, 3), "slimpajama_books": range(0, DOCUMENTS, 3)}
    documents = corpus(name, f"data.corpus.load.streaming={streaming}")
    held = {"openwebtext": ["train"], "longbench": ["test"], "slimpajama_books": ["train"]}.get(name, SPLITS)
    expected = [text_of(name, split, number) for split in held for number in numbers.get(name, range(DOCUMENTS))]
    found = {split: [document.text for document in documents.documents(split)] for split in SPLITS}
    assert sorted(text for texts in found.values() for text in texts) == sorted(expected)
    if held == SPLITS:  # the repository's own splits
        assert all(f" {split} " in text for split, texts in found.items() for text in texts)
    names = [document.name for split in SPLITS for document in documents.documents(split)]
    assert len(set(names)) == len(names)


def test_rows_of_other_sets_do_not_count_as_read(corpus):
    documents = corpus("slimpajama_books", "data.corpus.max_documents=3")
    assert sum(len(documents.documents(split)) for split in SPLITS) == 3


def test_a_repository_without_a_training_split_has_documents_in_the_others_only(corpus):
    documents = corpus("longbench")
    assert [len(documents.documents(split)) for split in SPLITS] == [0, 0, DOCUMENTS]


def test_a_set_that_no_row_belongs_to_is_refused(corpus):
    with pytest.raises(ValueError, match=r"'train' of .* has no rows where .*RedPajamaC4"):
        corpus("arxiv", "data.corpus.where.equals=RedPajamaC4").documents("train")
    assert "RedPajamaC4" not in SETS


def test_an_unknown_column_of_a_set_is_refused_with_the_columns_there_are(corpus):
    with pytest.raises(ValueError, match=r"There is no column 'meta.name'.*meta\.redpajama_set_name, text"):
        corpus("arxiv", "data.corpus.where.column=meta.name").documents("train")
