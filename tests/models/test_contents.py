"""The identity of a model folder goes by what its files hold."""

import os
from pathlib import Path

import pytest

from lcx_lightning.models import contents
from lcx_lightning.models.contents import folder_identity


@pytest.fixture
def folder(tmp_path):
    """A model folder whose weights are large enough to be remembered."""
    place = tmp_path / "model"
    for inner in ("additional_chat_templates", "weights"):
        (place / inner).mkdir(parents=True)
    files = {"model.safetensors": b"w" * contents.REMEMBERED, "config.json": b"{}", "README.md": b"a model"}
    files |= {"vocab": b"a", ".hidden": b"x", "additional_chat_templates/tool.jinja": b"t", "weights/part.bin": b"p"}
    for name, data in files.items():
        (place / name).write_bytes(data)
    return place


def flip(path):
    """Change one byte, and put size and time back, as a copy with preserved times may do."""
    state, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "vocab", "additional_chat_templates/tool.jinja", "weights/part.bin"]
)
def test_one_flipped_bit_under_the_same_size_and_time_is_another_model(folder, name, tmp_path):
    before = folder_identity(folder, tmp_path / "memory")
    assert folder_identity(folder, tmp_path / "memory") == before
    flip(folder / name)
    assert folder_identity(folder, tmp_path / "memory") != before


def test_what_is_beside_a_model_and_where_it_stands_are_not_the_model(folder, tmp_path):
    before = folder_identity(folder, tmp_path / "memory")
    flip(folder / "README.md")
    flip(folder / ".hidden")
    moved = folder.rename(tmp_path / "elsewhere")
    assert folder_identity(moved, tmp_path / "memory") == before


def test_a_large_file_is_read_once(folder, tmp_path, monkeypatch):
    before, read = folder_identity(folder, tmp_path / "memory"), []
    monkeypatch.setattr(contents, "_hash_of_file", lambda path: read.append(Path(path).name) or "")
    folder_identity(folder, tmp_path / "memory")
    assert "config.json" in read
    assert "model.safetensors" not in read
    assert before


@pytest.mark.parametrize("damage", [lambda held: held[:10], lambda held: b"\xff" * 64, lambda held: b""])
def test_a_remembered_hash_that_is_damaged_is_not_used(folder, tmp_path, damage):
    before = folder_identity(folder, tmp_path / "memory")
    (entry,) = (tmp_path / "memory").iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    assert folder_identity(folder, tmp_path / "memory") == before
