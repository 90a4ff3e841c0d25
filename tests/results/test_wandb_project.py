"""A project of W&B is read back as the records that were logged to it, and is named where it cannot be."""

import json
import shutil
from dataclasses import dataclass
from typing import Any

import pytest
from support.experiment_files import write_run
from support.lab import results, runs
from support.wandb_client import launch_logged
from support.wandb_project import in_client, log_experiment, read_back, report
from support.wandb_server import wandb_server

from experiments.report import main
from lcx_lightning.results import records
from lcx_lightning.results.archive import places_of, portable
from lcx_lightning.results.places import read_places
from lcx_lightning.results.wandb_project import OutOfReachError, project_of, read_project

slow = pytest.mark.slow
LOST = "The run yarn x4 s0 (yarn-0) of team/project has logged no records: it is crashed."


@dataclass
class Logged:
    """A folder of runs, the server that they were logged to, and what is read back from it."""

    root: Any
    folder: Any
    server: Any
    found: Any


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    folder = root / "results" / "quickstart"
    meta = {"name": "quickstart", "question": "How far?", "protocols": ["last_k"], "commands": ["lcx run"]}
    records.write_json(folder / "experiment.json", meta)
    for seed in (0, 1):
        write_run(folder, "pretrained", seed, order=0, factor=None, experiment="quickstart")
        write_run(folder, "pi", seed, nll=0.9, order=1, experiment="quickstart", config={"results_dir": str(root)})
    write_run(folder, "clex", order=2, experiment="quickstart", state="failed", reason="out of memory", rows=False)
    write_run(folder, "yarn", order=3, experiment="quickstart", state="running")
    with wandb_server(root / "server") as server:
        log_experiment(root, server, folder)
        server.run("b0").update(server.runs["pi-0"], displayName="base", config=config(base="b0", arm="pi"))
        server.run("other").update(server.runs["pi-0"], displayName="of another program", config={})
        yield Logged(root, folder, server, read_back(root, server))


def config(**knobs):
    return {"lcx": {"value": knobs}}


def told(run):
    """Return what a run.json says, but for where it lies and what of it is in W&B."""
    places = places_of([run.info.get("config") or {}])
    return json.loads(portable(run.folder / "run.json", places, without=("checkpoint", "wandb")))


@slow
def test_runs_that_have_ended_are_read_back_as_they_are_in_their_folder(logged):
    (found,) = logged.found["experiments"]
    local = [run for run in records.read_experiment(logged.folder).runs if run.arm != "yarn"]
    back = [run for run in found["runs"] if run["arm"] != "yarn"]
    assert [run["arm"] for run in back] == [run.arm for run in local] == ["pretrained"] * 2 + ["pi"] * 2 + ["clex"]
    assert [run["rows"] for run in back] == [run.rows for run in local]
    assert [{name: run["info"][name] for name in run["info"] if name != "wandb"} for run in back] == [*map(told, local)]
    assert back[-1]["info"]["reason"] == "out of memory"
    assert found["meta"] == records.read_experiment(logged.folder).meta
    assert logged.server.unknown == []


@slow
def test_runs_say_where_they_are_in_w_and_b(logged):
    of = {run["info"]["run"]: run["info"]["wandb"] for run in logged.found["experiments"][0]["runs"]}
    assert of["pi-0"]["id"] == "pi-0"
    assert of["pi-0"]["url"] == f"{logged.server.url}/team/project/runs/pi-0"


@slow
def test_a_run_that_was_killed_is_there_without_numbers_and_is_named(logged):
    (lost,) = [run for run in logged.found["experiments"][0]["runs"] if run["arm"] == "yarn"]
    assert (lost["rows"], lost["info"]["state"], lost["info"]["pretrain_length"]) == ([], "interrupted", 128)
    assert logged.found["missing"] == [LOST]


@slow
def test_bases_and_runs_of_other_programs_are_left_out(logged):
    assert {"b0", "other"} < logged.server.runs.keys()
    assert {run["info"]["run"] for run in logged.found["experiments"][0]["runs"]} & {"b0", "other"} == set()
    assert len(logged.found["experiments"][0]["runs"]) == 6


@slow
def test_the_report_of_a_project_is_that_of_its_folder(logged, tmp_path):
    folder = shutil.copytree(logged.folder, tmp_path / "quickstart")
    shutil.rmtree(folder / "yarn-0")
    write_run(folder, "yarn", order=3, experiment="quickstart", state="interrupted", rows=False, seconds={})
    printed = report(logged.root, logged.server, "wandb:team/project", "--markdown")
    local = report(logged.root, logged.server, folder, "--markdown")
    assert printed.replace(f"\n- {LOST}\n", "") == local


@slow
def test_what_a_command_logs_is_read_back_as_its_records(tmp_path):
    with wandb_server(tmp_path / "server") as server:
        process = launch_logged(tmp_path, server, "method=pi", "logger.project=project")
        assert process.wait(timeout=300) == 0, process.stdout.read()
        process.stdout.close()
        found = read_back(tmp_path, server)
    (run,) = runs(results(tmp_path)).values()
    ((back,),) = [one["runs"] for one in found["experiments"]]
    assert back["rows"] == run.rows
    assert {name: back["info"][name] for name in back["info"] if name != "wandb"} == told(run)
    assert found["missing"] == []


@slow
def test_a_project_that_is_not_there_is_named(logged):
    code = "from lcx_lightning.results.places import read_places; read_places(['wandb:team/no-such'])"
    with pytest.raises(AssertionError, match=r"The W&B project team/no-such is out of reach: .*no-such"):
        in_client(logged.root, logged.server, code)


def test_without_a_key_a_project_is_out_of_reach_and_it_is_said_what_to_do(no_account):
    with pytest.raises(OutOfReachError, match=r"The W&B project team/project is out of reach\. .*WANDB_API_KEY\.$"):
        read_project(project_of("wandb:team/project"))


def test_a_project_out_of_reach_costs_folders_nothing_and_is_named(no_account, folder, capsys):
    found = read_places([folder, "wandb:team/project"])
    assert [one.name for one in found.experiments] == ["quickstart"]
    assert [fault.reason.partition(" is out of reach")[0] for fault in found.faults] == ["The W&B project team/project"]
    assert main([str(folder), "wandb:team/project", "--claims"]) == 0
    assert "The W&B project team/project is out of reach" in capsys.readouterr().err


def test_a_project_out_of_reach_alone_is_refused(no_account, capsys):
    assert main(["wandb:team/project", "--markdown"]) == 2
    assert "is out of reach" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["wandb:", "wandb:project", "team/project/run", "team/", "/project"])
def test_a_project_needs_an_entity_and_a_name(text):
    with pytest.raises(ValueError, match=f"ENTITY/PROJECT, .* got {text!r}"):
        project_of(text)


def test_a_project_has_no_room_for_figures(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["wandb:team/project"])
    assert (
        "is a project of W&B, which has no room for figures: add -o report.html, --markdown or --claims"
        in capsys.readouterr().err
    )
