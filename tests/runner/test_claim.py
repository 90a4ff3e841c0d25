"""experiment.json is the union of what all commands have claimed, also of those that run at the same time."""

import json
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from support.experiment_files import write_run

from lcx_lightning.runner.claim import claim


def settings(root, **changes):
    given = {"experiment": "mine", "question": None, "look_for": [], "report": {"against": None}}
    folders = {"results_dir": str(root / "results"), "cache_dir": str(root / "cache")}
    return OmegaConf.create(given | folders | changes)


def claimed(root, *names, command="run", **changes):
    """What experiment.json says after a command has claimed runs."""
    arms = [SimpleNamespace(folder=Path(name)) for name in names]
    folder = claim(settings(root, **changes), command, arms)
    return json.loads((folder / "experiment.json").read_text())


def test_two_commands_have_one_report(tmp_path):
    claimed(tmp_path, "pi-s0", "ntk-s0", command="first", question="Why?", look_for=["this"])
    found = claimed(tmp_path, "ntk-s0", "yarn-s0", command="second")
    assert found["runs"] == ["pi-s0", "ntk-s0", "yarn-s0"]
    assert found["commands"] == ["first", "second"]
    assert (found["question"], found["look_for"]) == ("Why?", ["this"])
    again = claimed(tmp_path, "pi-s0", command="first", question="How?")
    assert (again["runs"], again["commands"], again["question"]) == (found["runs"], found["commands"], "How?")


def test_the_arm_to_compare_with_is_kept_and_must_be_one_of_the_folder_or_the_command(tmp_path):
    folder = tmp_path / "results" / "mine"
    write_run(folder, "lm_infinite", place="a", config={"window": 16, "method": {"window": 16}})
    write_run(folder, "lm_infinite", place="b", config={"window": 32, "method": {"window": 32}})
    claimed(tmp_path, "a", "b", "deleted")
    assert claimed(tmp_path, report={"against": "lm_infinite window=16"})["against"] == "lm_infinite window=16"
    assert claimed(tmp_path)["against"] == "lm_infinite window=16"
    before = (folder / "experiment.json").read_bytes()
    for wrong in ("lm_infinite", "lm_infinit window=16"):
        with pytest.raises(ValueError, match=r"there is no '.*'\. Did you mean 'lm_infinite window=(16|32)'"):
            claimed(tmp_path, report={"against": wrong})
    with pytest.raises(ValueError, match=r"there is no 'yarn'\. The arms are: lm_infinite window=16, "):
        claimed(tmp_path, report={"against": "yarn"})
    assert (folder / "experiment.json").read_bytes() == before


def test_commands_that_claim_at_the_same_time_lose_no_run(tmp_path):
    barrier = threading.Barrier(8)

    def work(number):
        barrier.wait()
        for step in range(5):
            claimed(tmp_path, f"run-{number}-{step}", command=f"command {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    found = claimed(tmp_path)
    assert sorted(found["runs"]) == sorted(f"run-{number}-{step}" for number in range(8) for step in range(5))
    assert len(found["commands"]) == 9


@pytest.mark.slow
def test_processes_that_claim_at_the_same_time_lose_no_run(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=claimed, args=(tmp_path, f"run-{number}")) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(claimed(tmp_path)["runs"]) == [f"run-{number}" for number in range(8)]
