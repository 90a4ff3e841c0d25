"""A server of W&B that fails costs no result: the arm is finished, and what W&B has not got is uploaded later."""

import json
import shlex

import pytest
from support.lab import results, runs
from support.wandb_client import launch_logged, wandb
from support.wandb_server import wandb_server

from lcx_lightning.results.logged import summary

pytestmark = pytest.mark.slow


def finished(process, root):
    """Return the run of a launch that has ended well, and what was printed."""
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    (run,) = runs(results(root)).values()
    assert run.finished
    return run, said


def uploaded(root, run):
    """Return what a server that answers holds of a run, after the command that run.json has for it."""
    with wandb_server(root / "later") as server:
        wandb(root, server, *shlex.split(run.info["wandb"]["sync"])[1:])
        assert server.unknown == []
        return server.runs[run.info["wandb"]["id"]]


@pytest.mark.parametrize(("mode", "said"), [("404", "HTTP 404"), ("silent", "timed out")])
def test_a_server_that_answers_badly_or_not_at_all_gets_the_run_later(mode, said, tmp_path):
    with wandb_server(tmp_path / "server", mode) as server:
        run, printed = finished(launch_logged(tmp_path, server, "method=pi"), tmp_path)
    assert f"does not answer ({said}): logging offline" in printed
    assert run.info["wandb"]["mode"] == "offline"
    assert f"to upload to W&B: {run.info['wandb']['sync']}" in printed
    held = uploaded(tmp_path, run)
    assert {name: held["summary"][name] for name in summary(run)} == summary(run)
    assert held["state"] == "finished"


def test_a_server_that_goes_away_holds_up_no_result_and_gets_the_rest_later(tmp_path):
    with wandb_server(tmp_path / "server") as server:
        process = launch_logged(tmp_path, server, "method=pi", "evaluation.growing_context.windows=64")
        while not any(run.get("jobType") == "zero-shot" for run in list(server.runs.values())):
            assert server.told.wait(timeout=300)
            server.told.clear()
        server.die()
        run, printed = finished(process, tmp_path)
    assert run.info["wandb"]["sync"] == f"wandb sync --no-skip-online {run.info['wandb']['folder']}"
    assert run.info["wandb"]["sync"] in printed
    held = uploaded(tmp_path, run)
    assert {name: held["summary"][name] for name in summary(run)} == summary(run)


def arms_in(server):
    """Return the runs of arms by their ids."""
    return {name: run for name, run in server.runs.items() if run["jobType"] != "base"}


def again(root, server, run):
    """Run an arm again that was interrupted after its last number."""
    (run.folder / "run.json").write_text(json.dumps(run.info | {"state": "interrupted"}))
    return finished(launch_logged(root, server, "method=pi"), root)[0]


def test_colleagues_have_runs_of_their_own_and_who_goes_on_has_the_same_one(tmp_path):
    with wandb_server(tmp_path / "server") as server:
        mine, _ = finished(launch_logged(tmp_path / "mine", server, "method=pi"), tmp_path / "mine")
        theirs, _ = finished(launch_logged(tmp_path / "theirs", server, "method=pi"), tmp_path / "theirs")
        assert mine.info["run"] == theirs.info["run"]
        before = arms_in(server)
        assert [*before] == [mine.info["wandb"]["id"], theirs.info["wandb"]["id"]]
        for run in before.values():
            assert [row["length"] for row in run["history"] if "length" in row] == [64, 128]
        assert all(name.startswith(f"{mine.info['run']}-") for name in before)
        resumed = again(tmp_path / "mine", server, mine)
        assert resumed.info["wandb"]["id"] == mine.info["wandb"]["id"]
        assert arms_in(server).keys() == before.keys()
        assert server.unknown == []


def test_a_run_that_w_and_b_holds_deleted_is_logged_under_another_id(tmp_path):
    with wandb_server(tmp_path / "server") as server:
        run, _ = finished(launch_logged(tmp_path, server, "method=pi", "logger.mode=offline"), tmp_path)
        name = run.info["wandb"]["id"]
        server.deleted.add(name)
        assert again(tmp_path, server, run).info["wandb"]["id"] == f"{name}-2"
        assert server.runs[f"{name}-2"]["state"] == "finished"
        assert server.unknown == []
