"""Tokens are made once and kept: by content, whole or not at all, for all processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.lab import ROOT
from support.text_corpora import CORPUS_ONLY, Books

from lcx_lightning.data.corpora.base import Document
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.token_cache import encode, encode_cached
from lcx_lightning.data.tokenizers import ByteTokens

TEXTS = {"train": ["first " * 50, "", "second é" * 30], "validation": ["third " * 40], "test": ["fourth " * 60]}
DOCUMENTS = [Document(str(i), text) for i, text in enumerate(TEXTS["train"])]


class Counted(ByteTokens):
    """Bytes that are kept, and how many texts were encoded."""

    def __init__(self, name="bytes", stop=None):
        super().__init__()
        self.name, self.stop, self.texts = name, stop, []

    def identity(self):
        return self.name

    def encode(self, text):
        self.texts.append(text)
        if len(self.texts) == self.stop:
            raise KeyboardInterrupt
        return super().encode(text)


class Unread(Books):
    """A corpus that nobody may read."""

    def read(self):
        raise AssertionError("read")


def data_of(folder, tokens, corpus=None, **more):
    return LongContextData(corpus or Books(**TEXTS), tokens, CORPUS_ONLY, cache=folder, **more)


def used(data):
    """Return rows and windows of all splits."""
    windows = data.evaluation_windows("test", longest=100, count=2, seed=0)
    rows = [data.batch(3, seed=1, rows=3, length=64), data.validation_batch(2, 64, 0)]
    return torch.cat([*(row["input_ids"].flatten() for row in rows), data.window_ids(windows, 100).flatten()])


def test_a_second_run_tokenises_nothing_and_sees_the_same(tmp_path):
    first, second = Counted(), Counted()
    seen = used(data_of(tmp_path, first))
    assert sorted(first.texts) == sorted(text for texts in TEXTS.values() for text in texts)
    assert torch.equal(used(data_of(tmp_path, second)), seen)
    assert second.texts == []
    assert torch.equal(used(LongContextData(Books(**TEXTS), ByteTokens(), CORPUS_ONLY)), seen)


def test_a_process_that_knows_the_identity_does_not_read_the_documents_either(tmp_path):
    corpus, tokens = Books(**TEXTS), Counted()
    seen = used(data_of(tmp_path, Counted(), corpus))
    known = data_of(tmp_path, tokens, Unread(), identity=corpus.identity())
    assert torch.equal(used(known), seen)
    assert tokens.texts == []


def test_another_text_or_tokenizer_is_tokenised_anew(tmp_path):
    used(data_of(tmp_path, Counted()))
    other, changed = Counted("others"), Counted()
    used(data_of(tmp_path, other))
    used(data_of(tmp_path, changed, Books(**{**TEXTS, "train": ["first " * 50, "", "second e" * 30]})))
    assert len(other.texts) == len(changed.texts) == 5


def test_kept_tokens_are_read_from_mapped_memory_and_equal_those_in_memory(tmp_path):
    kept, fresh = encode_cached(tmp_path, "x", lambda: DOCUMENTS, Counted()), encode(DOCUMENTS, ByteTokens())
    assert isinstance(kept.ids, np.memmap)
    assert kept.names == fresh.names
    assert (kept.lengths == fresh.lengths).all()
    assert kept.ids.dtype == fresh.ids.dtype == np.uint16
    assert (kept.ids == fresh.ids).all()
    assert bytes(kept.ids.astype(np.uint8)) == "".join(TEXTS["train"]).encode()


def test_a_vocabulary_beyond_two_bytes_is_kept_in_four(tmp_path):
    class Large(Counted):
        vocab_size = 2**16 + 1

        def __init__(self):
            super().__init__()
            self.vocab_size = 2**16 + 1

        def encode(self, text):
            return [2**16] * len(text)

    assert encode_cached(tmp_path, "x", lambda: DOCUMENTS, Large()).ids.max() == 2**16


def test_no_documents_are_kept_as_none(tmp_path):
    for _ in range(2):
        kept = encode_cached(tmp_path, "x", list, Counted())
        assert (kept.names, len(kept.lengths), len(kept.ids)) == ([], 0, 0)


def test_what_was_interrupted_is_not_there_and_is_made_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        encode_cached(tmp_path, "x", lambda: DOCUMENTS, Counted(stop=3))
    tokens = Counted()
    kept = encode_cached(tmp_path, "x", lambda: DOCUMENTS, tokens)
    assert len(tokens.texts) == 3
    assert (kept.ids == encode(DOCUMENTS, ByteTokens()).ids).all()
    assert not list(tmp_path.glob("*.work"))


def test_without_a_folder_nothing_is_kept_and_bytes_never_are(tmp_path):
    used(data_of(tmp_path, ByteTokens()))
    used(data_of(None, Counted()))
    assert list(tmp_path.iterdir()) == []


def flip(file):
    """Flip a bit in the middle of a file, which keeps its size and times."""
    stat, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 128
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def to_folder(file):
    file.unlink()
    file.mkdir()


def to_broken_link(file):
    file.unlink()
    file.symlink_to("nowhere")


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink, to_folder, to_broken_link])
@pytest.mark.parametrize("name", ["ids", "documents.json", "sha256"])
def test_damaged_tokens_are_found_and_made_again(tmp_path, damage, name):
    encode_cached(tmp_path, "x", lambda: DOCUMENTS, Counted())
    (file,) = tmp_path.glob(f"*/{name}")
    damage(file)
    tokens = Counted()
    with pytest.warns(UserWarning, match="are damaged: their checksums or key differ"):
        kept = encode_cached(tmp_path, "x", lambda: DOCUMENTS, tokens)
    assert len(tokens.texts) == len(DOCUMENTS)
    assert kept.names == [document.name for document in DOCUMENTS]
    assert (kept.ids == encode(DOCUMENTS, ByteTokens()).ids).all()
    encode_cached(tmp_path, "x", list, Counted())  # found sound: the documents are not asked for


def other_entry(folder, entry):
    encode_cached(folder, "y", lambda: [Document("0", "another")], Counted())
    (other,) = [one for one in folder.iterdir() if one.is_dir() and one != entry]
    shutil.rmtree(entry)
    shutil.copytree(other, entry)


def entry_as_file(folder, entry):
    shutil.rmtree(entry)
    entry.write_text("x")


def entry_as_broken_link(folder, entry):
    shutil.rmtree(entry)
    entry.symlink_to("nowhere")


def damaged_entry_behind_a_link(folder, entry):
    entry.rename(folder / "kept")
    cut(folder / "kept" / "ids")
    entry.symlink_to("kept")


@pytest.mark.parametrize("damage", [other_entry, entry_as_file, entry_as_broken_link, damaged_entry_behind_a_link])
def test_what_stands_in_the_place_of_an_entry_is_found_and_made_again(tmp_path, damage):
    encode_cached(tmp_path, "x", lambda: DOCUMENTS, Counted())
    (entry,) = [one for one in tmp_path.iterdir() if one.is_dir()]
    damage(tmp_path, entry)
    with pytest.warns(UserWarning, match="are damaged: their checksums or key differ"):
        kept = encode_cached(tmp_path, "x", lambda: DOCUMENTS, Counted())
    assert (kept.ids == encode(DOCUMENTS, ByteTokens()).ids).all()
    encode_cached(tmp_path, "x", list, Counted())  # found sound: the documents are not asked for


def test_a_folder_in_the_place_of_a_lock_is_a_sentence_and_a_file_in_that_of_work_is_removed(tmp_path):
    encode_cached(tmp_path, "x", lambda: DOCUMENTS, Counted())
    (entry,) = [one for one in tmp_path.iterdir() if one.is_dir()]
    shutil.rmtree(entry)
    entry.with_suffix(".work").write_text("x")
    encode_cached(tmp_path, "x", lambda: DOCUMENTS, Counted())
    shutil.rmtree(entry)
    to_folder(entry.with_suffix(".lock"))
    with pytest.raises(ValueError, match=r"cache_dir must be .*\.lock"):
        encode_cached(tmp_path, "x", lambda: DOCUMENTS, Counted())


ENCODE = """
import sys
from pathlib import Path
from lcx_lightning.data.corpora.base import Document
from lcx_lightning.data.token_cache import encode_cached
from lcx_lightning.data.tokenizers import ByteTokens

class Told(ByteTokens):
    def identity(self):
        return "bytes"

    def encode(self, text):
        print(text)
        return super().encode(text)

encode_cached(Path(sys.argv[1]), "x", lambda: [Document(str(i), f"text {i}") for i in range(500)], Told())
"""


@pytest.mark.slow
def test_of_several_processes_at_once_one_tokenises(tmp_path):
    command = [sys.executable, "-c", ENCODE, tmp_path]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(told) == ["", "", "".join(f"text {i}\n" for i in range(500))]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cache_dir must be a folder that can be written"):
        encode_cached(tmp_path / "file" / "below", "x", lambda: DOCUMENTS, Counted())


@pytest.mark.parametrize("vocabulary", [2**16, 2**16 + 1])
def test_the_last_id_of_a_vocabulary_is_kept_whole(vocabulary, tmp_path):
    class Last(ByteTokens):
        def __init__(self):
            self.vocab_size = vocabulary

        def encode(self, text):
            return [vocabulary - 1] * len(text)

    kept = encode_cached(tmp_path, "of one", lambda: [Document("a", "xyz")], Last())
    assert kept.ids.tolist() == [vocabulary - 1] * 3
