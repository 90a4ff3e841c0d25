"""A run that is stopped while it trains its base, extends and evaluates ends with the records of an undisturbed one."""

import random
import signal

import pytest
from support.interrupted_runs import await_, await_checkpoints, end, freeze_in_checkpoint, rows, start
from support.lab import SIZES, folders, launch, numbers, results, runs

LINE = [
    *("method=clex_blocks", "training=finetune", "factor=8", "train_factor=2"),
    *(f"model.source.architecture.{name}={size}" for name, size in SIZES.items()),
    *("model.recipe.steps=150", "model.recipe.rows=2", "model.recipe.validation_steps=1"),
    "model.recipe.schedule.warmup=10",
    *("training.steps=60", "training.rows=2", "training.validation_steps=1"),
    *(
        "evaluation.growing_context.last=16",
        "evaluation.growing_context.windows=16",
        "evaluation.growing_context.multiples=[1,2,4,8]",
        "evaluation.growing_context.batch_tokens=64",
    ),
]
OFTEN = "checkpoint_seconds=0.001"  # after every step


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    done = launch(*LINE, *folders(root))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs(results(root)).values()
    return run


@pytest.mark.slow
def test_a_run_stopped_in_every_stage_ends_with_the_records_of_an_undisturbed_one(undisturbed, tmp_path):
    cache, results, line = (
        tmp_path / "cache",
        tmp_path / "results" / "embedded-sympy",
        [*LINE, *folders(tmp_path)],
    )
    steps = random.Random(7).randrange(2, 100)

    process = start(tmp_path, *line, OFTEN)
    await_checkpoints(process, tmp_path, "base", steps)
    assert end(process, signal.SIGKILL, tmp_path)[0] == -signal.SIGKILL
    assert not list((cache / "base").glob("*/stage.json"))

    process = start(tmp_path, *line, OFTEN)
    work = freeze_in_checkpoint(process, tmp_path, "extend")
    assert end(process, signal.SIGKILL, tmp_path)[0] == -signal.SIGKILL
    assert {path.name for path in work.iterdir()} >= {"last.ckpt", "last.ckpt.part"}
    assert rows(tmp_path) == 0

    for number, code in ((signal.SIGUSR1, 75), (signal.SIGKILL, -signal.SIGKILL)):
        before = rows(tmp_path)
        process = start(tmp_path, *line)
        await_(process, tmp_path, lambda before=before: rows(tmp_path) > before)
        ended, said = end(process, number, tmp_path)
        assert ended == code, said
        assert before < rows(tmp_path) < len(undisturbed.rows)
        (stopped,) = runs(results).values()
        assert stopped.info["state"] == ("interrupted" if code == 75 else "running")

    done = launch(*line)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs(results).values()
    assert run.info["state"] == "finished"
    assert run.info["run"] == undisturbed.info["run"]
    assert run.info["fingerprint_after_training"] == undisturbed.info["fingerprint_after_training"]
    assert numbers(run) == numbers(undisturbed)
    assert rows(tmp_path) == len(run.rows)  # none was written twice
    assert not list(cache.glob("*/*.work"))
