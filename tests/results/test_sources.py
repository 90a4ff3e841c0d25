"""Several places of results, of which some are damaged: the fault is named, and the rest is read."""

import shutil
import zipfile
from pathlib import Path

import pytest
from support.experiment_files import write_run

from experiments.report import main
from lcx_lightning.results import records
from lcx_lightning.results.faults import DAMAGED, MISSING
from lcx_lightning.results.places import read_places
from lcx_lightning.results.report.labels import NOT_EVALUATED


@pytest.fixture
def places(tmp_path):
    """Two experiments: a sound one of two arms, and one whose files tests damage."""
    write_run(tmp_path / "sound", "pretrained", order=0)
    write_run(tmp_path / "sound", "pi", order=1)
    for order, arm in enumerate(("pretrained", "yarn", "ntk")):
        write_run(tmp_path / "other", arm, order=order, run=f"other-{arm}")
    records.write_json(tmp_path / "other" / "experiment.json", {"runs": ["pretrained-0", "yarn-0", "ntk-0"]})
    return [tmp_path / "sound", tmp_path / "other"]


def archived(folder):
    """Put a folder into an archive beside it, and return its path."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as packed:
        for file in folder.rglob("*.json*"):
            packed.write(file, file.relative_to(folder))
    shutil.rmtree(folder)
    return path


def arms(found):
    return [sorted(one.arms()) for one in found.experiments]


def torn_inside(run):
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:20] + b"\n"
    (run / "records.jsonl").write_bytes(b"".join(lines))


def of_another_schema(run):
    rows = records.read(run / "records.jsonl")
    (run / "records.jsonl").unlink()
    records.append(run / "records.jsonl", [{"length": row["context_length"], "nll": row["value"]} for row in rows])


def folder_in_place(run):
    (run / "records.jsonl").unlink()
    (run / "records.jsonl").mkdir()


DAMAGES = {
    "run.json is no JSON": (lambda run: (run / "run.json").write_text("{"), "run.json is not JSON"),
    "rows of another schema": (of_another_schema, "records.jsonl, line 1 lacks"),
    "records are a folder": (folder_in_place, "records.jsonl"),
}
PACKED = [name for name in DAMAGES if name != "records are a folder"]  # which an archive does not keep


@pytest.mark.parametrize(("name", "in_archive"), [*((name, False) for name in DAMAGES), *((n, True) for n in PACKED)])
def test_a_damaged_run_is_named_and_the_others_are_read(name, in_archive, places):
    damage, words = DAMAGES[name]
    damage(places[1] / "yarn-0")
    given = archived(places[1]) if in_archive else places[1]
    found = read_places([places[0], given])
    assert arms(found) == [["pi", "pretrained"], ["ntk", "pretrained"]]
    ((place, reason, state),) = found.faults
    assert (place, state) == (str(given / "yarn-0"), DAMAGED)
    assert words in reason
    assert str(given) in reason


def test_of_rows_that_are_torn_inside_the_whole_ones_count(places):
    torn_inside(places[1] / "yarn-0")
    found = read_places(places)
    (run,) = found.experiments[1].runs_of("yarn")
    assert len(run.rows) == 8
    (fault,) = found.faults
    assert "1 line is no record, and left out" in fault.reason
    assert "line 3" in fault.reason


def test_a_damaged_list_of_runs_costs_no_run(places):
    (places[1] / "experiment.json").write_text("[]")
    found = read_places(places)
    assert arms(found) == [["pi", "pretrained"], ["ntk", "pretrained", "yarn"]]
    assert [fault.place for fault in found.faults] == [str(places[1] / "experiment.json")]


def test_an_empty_folder_and_a_damaged_archive_among_several_cost_nothing(places, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.zip").write_bytes(b"PK no more")
    found = read_places([tmp_path / "empty", *places, tmp_path / "nowhere", tmp_path / "broken.zip"])
    assert len(found.experiments) == 2
    assert [(fault.place, fault.state) for fault in found.faults] == [
        (str(tmp_path / "empty"), MISSING),
        (str(tmp_path / "nowhere"), MISSING),
        (str(tmp_path / "broken.zip"), DAMAGED),
    ]
    assert ["has no runs in it" in found.faults[0].reason, "does not exist" in found.faults[1].reason] == [True, True]


def test_it_is_an_error_only_if_nothing_is_left(places):
    for run in places[1].glob("*-0"):
        (run / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"ntk-0/run\.json is not JSON(.|\n)*has no run that can be read"):
        read_places(places[1:])
    assert len(read_places(places).experiments) == 1


def test_the_error_names_the_archive_that_was_given(places):
    (places[1] / "yarn-0" / "run.json").write_text("{")
    archive = archived(places[1])
    with pytest.raises(ValueError, match=r"other\.zip/yarn-0/run\.json is not JSON"):
        records.read_experiment(archive)


def test_the_page_and_the_terminal_say_what_is_damaged(places, tmp_path, capsys):
    (places[1] / "yarn-0" / "run.json").write_text("{")
    (tmp_path / "empty").mkdir()
    archive = archived(places[1])
    page = tmp_path / "report.html"
    assert main([*map(str, (places[0], archive, tmp_path / "empty")), "-o", str(page)]) == 0
    said = capsys.readouterr().err
    text = " ".join(page.read_text().partition('id="where"')[2].partition("</section>")[0].split())
    for one in (said, text):
        assert f"{archive}/yarn-0/run.json is not JSON" in one
        assert f"{tmp_path / 'empty'} has no runs in it" in one
    assert f"{archive}/yarn-0</th><td>{NOT_EVALUATED}</td><td>damaged" in text
    assert "not there" not in text


def test_a_folder_that_is_shut_costs_the_others_nothing(places, tmp_path, monkeypatch):
    plain, shut = Path.iterdir, places[0].parent / "above" / "shut"
    shut.mkdir(parents=True)

    def iterdir(folder):
        if folder == shut:
            raise PermissionError(13, "Permission denied", str(folder))
        return plain(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    found = read_places([tmp_path / "above", *places])
    assert len(found.experiments) == 2
    assert f"Permission denied: '{shut}'" in found.faults[0].reason


def test_a_run_that_is_lost_in_one_folder_is_named_though_one_of_its_name_is_damaged_in_another(places, tmp_path):
    records.write_json(tmp_path / "sound" / "experiment.json", {"runs": ["pretrained-0", "pi-0", "yarn-0"]})
    (places[1] / "yarn-0" / "run.json").write_text("{")
    page = tmp_path / "report.html"
    assert main([*map(str, places), "-o", str(page)]) == 0
    text = " ".join(page.read_text().split())
    assert "sound has asked for it, and it has not begun" in text
    assert f"{places[1]}/yarn-0/run.json is not JSON" in text
    assert "other has asked for it" not in text


def test_a_run_whose_method_is_a_text_is_damaged(places):
    write_run(places[0], "odd", run="odd", config={"method": "pi"})
    found = read_places(places)
    assert arms(found) == [["pi", "pretrained"], ["ntk", "pretrained", "yarn"]]
    assert "method in config of" in found.faults[0].reason


def test_a_run_that_has_lost_its_file_is_not_there(places, tmp_path):
    (places[1] / "yarn-0" / "run.json").unlink()
    page = tmp_path / "report.html"
    assert main([*map(str, places), "-o", str(page)]) == 0
    assert "other has asked for it, and its folder has lost run.json" in " ".join(page.read_text().split())
