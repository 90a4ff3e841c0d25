"""Records, which survive a kill and are refused where they are broken."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from support.experiment_files import make_row, shown

from experiments.report import main
from lcx_lightning.results import records
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.report import tables
from lcx_lightning.results.report.dashboard import page
from lcx_lightning.results.report.terminal import TerminalTable
from lcx_lightning.results.report.views import sections_of

LAST_K = Measure("last_k")


def test_a_kill_at_any_byte_of_the_last_row_loses_that_row_only(tmp_path):
    path = tmp_path / "records.jsonl"
    rows = [make_row(document=name) for name in ("a", "b", "ü")]
    records.append(path, rows[:2])
    kept = path.stat().st_size
    records.append(path, rows[2:])
    whole = path.read_bytes()
    for size in range(kept, len(whole)):
        path.write_bytes(whole[:size])
        assert records.read(path) == rows[:2]
        records.append(path, rows[2:])
        assert path.read_bytes() == whole


def test_a_file_killed_in_its_first_row_is_empty_and_goes_on(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text('{"run": "pi')
    assert records.read(path) == []
    records.append(path, [make_row()])
    assert records.read(path) == [make_row()]


@pytest.mark.parametrize("line", ['{"run": "p', "[1]", ""])
def test_a_broken_line_in_the_middle_is_refused_with_file_and_line(tmp_path, line):
    path = tmp_path / "records.jsonl"
    path.write_text(f"{json.dumps(make_row())}\n{line}\n{json.dumps(make_row())}\n")
    with pytest.raises(ValueError, match=r"records\.jsonl, line 2: needed one JSON object"):
        records.read(path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    records.write_json(path, {"state": "running"})

    def killed(source, target):
        raise OSError("no space")

    monkeypatch.setattr(records.os, "replace", killed)
    with pytest.raises(OSError, match="no space"):
        records.write_json(path, {"state": "finished"})
    with pytest.raises(TypeError):
        records.write_json(path, {"state": object()})
    assert records.read_json(path) == {"state": "running"}
    assert list(tmp_path.iterdir()) == [path]


def test_of_rows_with_one_identity_the_last_counts(folder):
    path = folder / "pi-0"
    before = records.read_run(path).rows
    again = before[0] | {"value": 99.0}
    records.append(path / "records.jsonl", [again])
    after = records.read_run(path).rows
    assert len(after) == len(before)
    assert again in after
    assert before[0] not in after


def test_a_row_is_told_apart_by_all_of_its_keys_but_those_of_its_result():
    row = make_row(at={"layer": 1, "head": 2})
    same = row | {"at": {"head": 2, "layer": 1}, "value": 7.0, "n": 3, "details": {"prediction": "text"}}
    assert records.identity(same) == records.identity(row)
    others = [row | {"at": {"layer": 1, "head": 3}}, row | {"at": {"layer": 1}}, row | {"seed": 1}, row | {"new": 1}]
    assert len({records.identity(other) for other in [row, *others]}) == 5
    assert records.identity(json.loads(json.dumps(row))) == records.identity(row)


def test_a_row_as_columns_has_no_mapping_in_it():
    assert records.columns_of({"n": 1, "at": {"layer": 2}, "details": {}}) == {"n": 1, "at.layer": 2}


@pytest.mark.parametrize("missing", ["at", "metric", "seed"])
def test_a_row_that_is_no_record_is_refused_with_file_and_line(folder, missing):
    path = folder / "pi-0" / "records.jsonl"
    records.append(path, [{name: value for name, value in make_row().items() if name != missing}])
    with pytest.raises(ValueError, match=rf"records\.jsonl, line 10 lacks {missing}\."):
        records.read_run(folder / "pi-0")


def test_declarations_that_are_none_are_refused_by_file(folder):
    path = folder / "pi-0" / "run.json"
    for damage in ({"last_k/nll": {"title": "x"}}, {"last_k/nll": 3}, {"last_k/nll": {"title": "x", "axis": {}}}):
        records.write_json(path, records.read_json(path) | {"metrics": damage})
        with pytest.raises(
            ValueError, match=r"run\.json: `metrics` needs the declaration|metrics in .*run\.json must be a mapping"
        ):
            records.read_experiment(folder)


def test_runs_are_in_the_order_of_the_grid_then_of_seeds(experiment):
    found = [(run.arm, run.info["seed"]) for run in experiment.runs]
    assert found == [(arm, seed) for arm in ("pretrained", "pi", "clex_blocks", "ntk") for seed in (0, 1)]


def test_a_run_with_few_keys_is_read_and_shown(tmp_path):
    records.write_json(tmp_path / "a" / "run.json", {"arm": "a", "state": "finished"})
    records.append(tmp_path / "a" / "records.jsonl", [make_row(arm="a")])
    experiment = records.read_experiment(tmp_path)
    table = tables.length_table(experiment, LAST_K)
    assert (table.rows[0][1].text, table.title) == ("2", f"{tmp_path.name}: nll of last_k")  # 10 / 5, as it is
    assert "last_k" in shown(TerminalTable(table))
    assert page.write_page(experiment, tmp_path / page.PAGE, sections_of(experiment)).exists()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_folder_without_runs_is_refused_by_name(tmp_path, make, capsys):
    make(tmp_path / "nothing")
    with pytest.raises(ValueError, match="nothing"):
        records.read_experiment(tmp_path / "nothing")
    assert main([str(tmp_path / "nothing")]) == 2
    assert "Run the experiment first" in capsys.readouterr().err


def test_of_two_folders_of_one_run_the_more_complete_is_shown(folder):
    """As where another command has the same settings under another name."""
    (folder / "pi-old").mkdir()
    info = records.read_json(folder / "pi-0" / "run.json")
    records.write_json(folder / "pi-old" / "run.json", info | {"arm": "pi factor=4"})
    assert [run.folder.name for run in records.read_experiment(folder).runs_of("pi")] == ["pi-0", "pi-1"]
    (folder / "pi-0" / "records.jsonl").rename(folder / "pi-old" / "records.jsonl")
    found = records.read_experiment(folder)
    assert [run.folder.name for run in found.runs_of("pi")] == ["pi-old", "pi-1"]


def test_importing_results_loads_neither_models_nor_plotting():
    heavy = ["torch", "transformers", "lightning", "hydra", "altair", "vl_convert", "scipy", "rich"]
    modules = ", ".join(
        f"lcx_lightning.results.{path.stem}" for path in Path(records.__file__).parent.glob("[a-z]*.py")
    )
    code = f"import sys, {modules}; print(*sorted(set({heavy}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize(
    "change",
    [
        *({"value": value} for value in ("12", None, math.nan, math.inf, True, [1])),
        *({"n": n} for n in (None, "3", -1, math.nan)),
        *({"at": at} for at in (None, [], {"layer": [1]})),
        *({"context_length": "64"}, {"document": ["d"]}, {"metric": None}, {"protocol": 5}),
    ],
)
def test_a_row_whose_values_are_of_another_kind_is_named(change, tmp_path):
    """Also in the records of a run that was cut short, whose rows are kept when it goes on."""
    path = tmp_path / "records.jsonl"
    records.append(path, [make_row(), make_row(document="d1") | change])
    (name,) = change
    with pytest.raises(ValueError, match=rf"{name}\S* in .*records\.jsonl, line 2 must be"):
        records.read_rows(path)


@pytest.mark.parametrize("text", ["[]", "5", "null", '"x"', "", "{", "\xff"])
def test_a_file_that_holds_no_object_is_named(text, tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"run\.json (is not JSON: .*|must hold a mapping, got .*) Move its folder away"
    ):
        records.read_run(tmp_path)
