"""The examples do what they say, offline."""

import importlib
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from lcx_lightning.results import Measure, read_experiment
from lcx_lightning.results.report.tables import length_table

FOLDER = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:(zmq|jupyter_client|tornado).*")
def test_the_notebook_runs_and_has_the_numbers_of_the_report():
    notebook = nbformat.read(FOLDER / "records.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": FOLDER}}).execute()
    shown = [cell.outputs[-1].data for cell in notebook.cells if cell.cell_type == "code"]
    experiment = read_experiment(FOLDER.parent / "experiments" / "results" / "real_sinks.zip")
    by_arm = {number["arm"]: f"{number['value']:.2f}" for number in length_table(experiment, Measure("last_k")).numbers}
    line = next(line for line in shown[1]["text/plain"].splitlines() if line.startswith("256.0"))
    arms = [f"lm_infinite window=256 sink_tokens={n}" for n in (0, 1, 4, 10, 100)]
    assert line.split()[1:] == [by_arm[arm] for arm in arms]
    assert "vega-lite" in shown[-1]["text/html"]


def test_every_example_is_short_and_listed():
    listed = (FOLDER / "README.md").read_text()
    for path in SCRIPTS:
        assert path.name in listed
        assert len(path.read_text().splitlines()) <= 50
    for path in NOTEBOOKS:
        assert f"({path.name})" in listed
        assert not any(cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells), "as written"
