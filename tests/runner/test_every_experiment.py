"""Every experiment of the package runs to its end at tiny sizes: the first arm of each of its methods, for a step."""

import pytest
from support.lab import TINY, TRAINING, built_arms_of, composed, folders, run_built
from support.pairs import a_few

from lcx_lightning.results.records import read_run
from lcx_lightning.runner.experiments import experiments

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
IN_PLACE_OF_LARGE = ["model=embedded", "data=sympy", "trainer=cpu"]


@pytest.mark.slow
@pytest.mark.parametrize("name", a_few([one.name for one in experiments()], 6))
def test_it_runs_to_its_end(name, tmp_path):
    chosen = composed(f"+exp={name}", *IN_PLACE_OF_LARGE)
    sizes = [
        *(word for word in TINY if "growing_context" not in word),
        f"model.source.architecture.max_position_embeddings={L}",
    ]
    sizes += [f"evaluation.{one}.{value}" for one in chosen.evaluation for value in SMALL.get(one, [])]
    trains = any("training=" in line for line in chosen.arms)
    lengths = [f"lengths=[{L},{2 * L}]"] if chosen.lengths else []
    words = [*IN_PLACE_OF_LARGE, *sizes, *lengths, "seeds=1", *(TRAINING if trains else []), *folders(tmp_path)]
    first = {}
    for built in built_arms_of(f"+exp={name}", *words):
        first.setdefault(tuple(built.arm.methods), built)
    for built in first.values():
        run_built(built)
        run = read_run(built.arm.folder)
        assert (run.info["state"], run.info["reason"]) == ("finished", None)
        assert run.rows
