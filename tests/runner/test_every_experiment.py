"""Every experiment of the package runs to its end at tiny sizes: the first arm of each of its methods, for a step."""

import re

import pytest
from support.lab import ROOT, TINY, TRAINING, arms_of, built_arms_of, composed, folders, run_built
from support.pairs import a_few

from lcx_lightning.results.records import read_run
from lcx_lightning.runner.experiments import experiments
from lcx_lightning.runner.recipe import Recipe

L = 512  # tokens: the openings of some prompts have 200 bytes
SMALL = {
    "growing_context": ["multiples=[1,2]", "last=16", "windows=1"],
    "passkey": ["multiples=[1]", "depths=[0.5]", "trials=1"],
    "needle": ["multiples=[1]", "depths=[0.5]", "trials=1"],
    "passkey_lm_infinite": ["multiples=[1]", "depths=[0.5]", "trials=1"],
    "passkey_pi": ["multiples=[1]", "distances=2", "trials=1"],
    "joined_stream": ["multiples=[1,2]"],
    "cost": ["multiples=[1]", "new_tokens=2", "warmup=0", "repeats=1"],
    "attention": ["multiples=[1]", "windows=1"],
    "score_bounds": ["multiples=[1,2]", "windows=1", "pairs=4"],
    "frequencies": ["multiples=[1]"],
    "documents": ["multiples=[1]", "texts=1"],
    "sliding": ["multiples=[1]", "text=2", "texts=1"],
}
NAMES = [one.name for one in experiments()]
EXPERIMENTS = ROOT / "experiments" / "configs" / "exp"
IN_PLACE_OF_LARGE = ["model=embedded", "data=sympy", "trainer=cpu"]


def small(name):
    """Return the words by which an experiment for large machines says that it can be tried, none if it says nothing."""
    comment = " ".join(re.findall("^# (.*)", (EXPERIMENTS / f"{name}.yaml").read_text(), re.MULTILINE))
    return " ".join(re.findall(r"(?:Small|Tried on a CPU): (.*?)\.(?: |$)", comment)).split()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper_clex", "paper_lm_infinite", "paper_pi", "reproduce_gpu"])
def test_what_needs_large_machines_says_how_to_try_it(name, tmp_path):
    words = small(name)
    assert "trainer=cpu" in words
    for arm in arms_of(f"+exp={name}", *{*IN_PLACE_OF_LARGE, *words}, *folders(tmp_path)):
        if arm.config["training"]:
            assert Recipe.read(arm.config["training"], arm.config["pretrain_length"], "training").steps == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", a_few(NAMES, 6))
def test_it_runs_to_its_end(name, tmp_path):
    chosen = composed(f"+exp={name}", *IN_PLACE_OF_LARGE)
    sizes = [
        *(word for word in TINY if "growing_context" not in word),
        f"model.source.architecture.max_position_embeddings={L}",
    ]
    sizes += [f"evaluation.{one}.{value}" for one in chosen.evaluation for value in SMALL.get(one, [])]
    trained = " ".join(chosen.arms)
    steps = [word for word in TRAINING if "papers_clex" not in trained or "warmup" not in word]  # it has a share
    steps = steps if "training=" in trained else []
    lengths = [f"lengths=[{L},{2 * L}]"] if chosen.lengths else []
    words = [*IN_PLACE_OF_LARGE, *sizes, *lengths, "seeds=1", *steps, *folders(tmp_path)]
    first = {}
    for built in built_arms_of(f"+exp={name}", *words):
        first.setdefault(tuple(built.arm.methods), built)
    for built in first.values():
        run_built(built)
        run = read_run(built.arm.folder)
        assert (run.info["state"], run.info["reason"]) == ("finished", None)
        assert run.rows
