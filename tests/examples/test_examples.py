"""The examples do what they say, offline."""

import importlib
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def test_a_model_generates_with_a_method_beyond_its_pretraining():
    assert importlib.import_module("attach_and_generate").main().shape == (1, 120)


def test_the_frequencies_of_all_methods_are_a_figure(tmp_path):
    path = tmp_path / "frequencies.svg"
    importlib.import_module("draw_frequencies").main(str(path))
    drawn = path.read_text()
    assert all(f"{name}</text>" in drawn for name in ("pretrained", "pi", "llama3", "clex"))


@pytest.mark.parametrize(
    ("name", "last_row"), [("lm_infinite", "c" * 10 + "." * 14), ("pretrained", "zyxwvutsrqponml")]
)
def test_a_mask_has_the_rotated_distances(capsys, name, last_row):
    importlib.import_module("draw_mask").main(name)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0"
    assert lines[-1] == f"{last_row}{'ba9876543210' if name == 'lm_infinite' else 'kjihgfedcba9876543210'}"


def test_a_scaling_of_ones_own_changes_logits(capsys):
    logits = importlib.import_module("add_method").main()
    assert logits.shape == (1, 128, 256)
    assert torch.isfinite(logits).all()
    assert "largest difference of a logit: 0\n" not in capsys.readouterr().out


def test_records_become_a_table_of_perplexities(folder):
    table = importlib.import_module("read_records").main(str(folder))
    assert table.loc[("last_k", "pretrained")].notna().any()


def test_every_example_is_short_and_listed():
    listed = (FOLDER / "README.md").read_text()
    for path in SCRIPTS:
        assert path.name in listed
        assert len(path.read_text().splitlines()) <= 50
