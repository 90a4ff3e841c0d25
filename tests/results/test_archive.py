"""Archives of experiments: what is kept, that it reads as the folder does, and what is refused."""

from zipfile import ZipFile

import pytest
from support.experiment_files import write_run

from experiments.archive import main
from experiments.report import main as report
from lcx_lightning.results.records import read_experiment, write_json
from lcx_lightning.schema.files import read_json


def test_an_archive_reads_as_the_folder_it_was_made_from(folder, tmp_path):
    assert main([str(folder), "--to", str(tmp_path / "kept")]) == 0
    before, after = read_experiment(folder), read_experiment(tmp_path / "kept" / "quickstart.zip")
    assert (after.meta, after.name) == (before.meta, before.name)
    assert [(run.arm, run.info, run.rows, run.metrics) for run in after.runs] == [
        (run.arm, run.info, run.rows, run.metrics) for run in before.runs
    ]


def test_it_holds_the_records_alone_and_the_same_bytes_at_any_time(folder, tmp_path):
    for place in "ab":
        main([str(folder), "--to", str(tmp_path / place)])
        (folder / "perplexity.svg").write_text(place)
    one, other = (tmp_path / place / "quickstart.zip" for place in "ab")
    assert one.read_bytes() == other.read_bytes()
    with ZipFile(one) as packed:
        assert {name.split("/")[-1] for name in packed.namelist()} == {"experiment.json", "run.json", "records.jsonl"}


def test_its_tables_are_those_of_the_folder(folder, tmp_path, capsys):
    main([str(folder), "--to", str(tmp_path)])
    capsys.readouterr()
    printed = []
    for path in (folder, tmp_path / "quickstart.zip"):
        assert report([str(path), "--markdown"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    with pytest.raises(SystemExit, match="2"):
        report([str(tmp_path / "quickstart.zip")])
    assert (
        "is an archive, which has no room for figures: add -o report.html, --markdown or --claims"
        in capsys.readouterr().err
    )


def test_it_names_no_folder_of_the_machine_that_ran_it(folder, tmp_path):
    here = {"results_dir": "/home/me/results", "cache_dir": "/home/me/cache"}
    for path in folder.glob("*/run.json"):
        held = read_json(path, "")
        source = {"source": {"cache": "/home/me/cache/checkpoints"}}
        held["config"] = (held.get("config") or {}) | here | {"model": source}
        write_json(path, held | {"checkpoint": {"cache_dir": "/home/me/cache"}})
    path = folder / "experiment.json"
    write_json(path, read_json(path, "") | {"commands": ["lcx run results_dir=/home/me/results"]})
    main([str(folder), "--to", str(tmp_path)])
    with ZipFile(tmp_path / "quickstart.zip") as packed:
        assert not [name for name in packed.namelist() if b"/home/me" in packed.read(name)]
    assert read_experiment(tmp_path / "quickstart.zip").meta["commands"] == ["lcx run results_dir=results"]


def test_an_unfinished_experiment_is_not_kept(folder, tmp_path, capsys):
    write_run(folder, "yarn", state="running")
    assert main([str(folder), "--to", str(tmp_path)]) == 2
    assert "has runs that are not finished: yarn-0. Run its command again." in capsys.readouterr().err
    assert not (tmp_path / "quickstart.zip").exists()


@pytest.mark.parametrize("at", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_damaged_archive_is_refused(at, folder, tmp_path):
    main([str(folder), "--to", str(tmp_path)])
    path = tmp_path / "quickstart.zip"
    held = bytearray(path.read_bytes())
    place = int(at * len(held))
    held[place : place + 20] = bytes(255 - byte for byte in held[place : place + 20])
    path.write_bytes(held)
    with pytest.raises(ValueError, match=r"quickstart\.zip is damaged, or no ZIP file: .*\. Fetch it again\."):
        read_experiment(path)


def test_a_run_that_has_not_begun_is_not_finished(folder, tmp_path, capsys):
    path = folder / "experiment.json"
    names = [run.folder.name for run in read_experiment(folder).runs]
    write_json(path, read_json(path, "") | {"runs": [*names, "yarn-0"]})
    assert main([str(folder), "--to", str(tmp_path)]) == 2
    assert "has runs that are not finished: yarn-0." in capsys.readouterr().err
