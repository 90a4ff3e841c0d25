"""Records as a data frame: every number once, with what its arm was turned to."""

import json
from importlib.util import find_spec

import pandas as pd
import pytest
from support.experiment_files import LENGTHS, make_row, write_run

from lcx_lightning.results import frames, read_records, records


def turned(folder, arm, **knobs):
    """Give the runs of an arm a method with a pattern of these knobs."""
    for path in folder.glob(f"{arm}-*/run.json"):
        info = json.loads(path.read_text())
        pattern = {"_target_": "lcx_lightning.patterns.Lambda", **knobs}
        records.write_json(path, info | {"config": {"method": {"pattern": pattern}, "training": {"lr": 1e-3}}})


def test_every_number_is_a_row_with_its_value_arm_and_knobs(folder):
    turned(folder, "pi", window=16, sink_tokens=4)
    found = read_records(folder)
    assert isinstance(found, pd.DataFrame)
    written = [row for path in folder.glob("*/records.jsonl") for row in records.read(path)]
    assert sorted(found["value"]) == sorted(row["value"] for row in written)
    assert set(found["arm"]) == {"pretrained", "pi", "clex_blocks"}, "ntk was skipped and has no number"
    assert found.groupby("arm")["window"].first().to_dict()["pi"] == 16
    assert found[found["arm"] == "pretrained"]["window"].isna().all()
    assert set(found[found["arm"] == "pi"]["train_length"]) == {512}
    one = found[(found["arm"] == "pi") & (found["seed"] == 1) & (found["context_length"] == 256)]
    assert one["value"].tolist() == pytest.approx([8 * (0.92 + 0.1 + 0.01 * d) for d in range(3)])


def test_what_is_in_at_has_columns_of_its_own_also_where_few_rows_have_it(folder):
    records.append(folder / "pi-0" / "records.jsonl", [make_row(document="late", at={"layer": 3})])
    found = read_records(folder)
    assert found[found["document"] == "late"]["at.layer"].tolist() == [3]
    assert found["at.layer"].notna().sum() == 1
    assert found["at.window"].isna().sum() == 1


def test_folders_are_read_together_equal_runs_once_and_names_apart(folder, tmp_path):
    copy = tmp_path / "colleague"
    write_run(copy, "pi", 0, nll=0.9, order=1, train_length=512)
    write_run(copy, "yarn", 0)
    both = read_records([folder, copy])
    assert len(both) == len(read_records(folder)) + 3 * len(LENGTHS)
    assert "yarn" in set(both["arm"])


def test_arms_of_one_name_have_the_settings_that_differ_in_their_names(tmp_path):
    for window in (16, 32):
        config = {"method": {"pattern": {"_target_": "lcx_lightning.patterns.Lambda", "window": window}}}
        write_run(tmp_path, "lm_infinite", place=f"window-{window}", config=config)
    found = read_records(tmp_path)
    assert set(zip(found["arm"], found["window"], strict=True)) == {
        ("lm_infinite window=16", 16), ("lm_infinite window=32", 32)
    }  # fmt: skip


def test_an_unfinished_arm_is_there_with_its_state(folder):
    write_run(folder, "yarn", order=5, state="failed", reason="no memory")
    found = read_records(str(folder))
    assert set(found[found["arm"] == "yarn"]["state"]) == {"failed"}


def test_runs_without_a_number_make_a_table_without_rows(tmp_path):
    write_run(tmp_path, "ntk", rows=False)
    assert len(read_records(tmp_path)) == 0


def test_polars_has_the_same_numbers(folder):
    polars = pytest.importorskip("polars")
    turned(folder, "pi", window=16)
    found = read_records(folder, "polars")
    assert isinstance(found, polars.DataFrame)
    assert found["value"].to_list() == read_records(folder)["value"].tolist()
    assert found.filter(polars.col("arm") == "pi")["window"].unique().to_list() == [16]


def test_a_library_that_is_missing_or_another_one_is_refused(folder, monkeypatch):
    monkeypatch.setattr(frames, "find_spec", lambda name: None if name == "polars" else find_spec(name))
    with pytest.raises(ValueError, match="pip install polars"):
        read_records(folder, "polars")
    with pytest.raises(ValueError, match="pandas or polars, got library='dask'"):
        read_records(folder, "dask")


def test_a_folder_without_runs_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path} has no runs"):
        read_records(tmp_path)
