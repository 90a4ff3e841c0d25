"""Two processes that share a model train as one does, and go on from each other's checkpoints."""

import pytest
import torch
from lab import save_checkpoint
from learning import load, same
from sharded import LORA, STEPS, evaluated, first_step, read, train, two_processes

from lcx_lightning.training.parts import learned

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")

METHODS = ["pi", "clex", "lm_infinite", "clex_lm_infinite"]
FAMILIES = {"llama": {}, "qwen2": {"tie_word_embeddings": True}}
STOP = 2  # steps done when a training is cut
LINES = {
    **{f"gradient {name}": ((name, "sgd"), {"steps": 1, "micro": 2}) for name in METHODS},
    **{f"adamw {name}": ((name, "adamw"), {}) for name in METHODS},
    "context": (("clex_lm_infinite", "adamw"), {"micro": 2, "context": 2}),
    "chunks": (("clex", "sgd"), {"steps": 1, "chunked": True, "recompute": True}),
    "muon": (("clex", "muon"), {}),
    "lora": (("clex", "adamw"), {"lora": LORA, "recompute": True}),
    "bfloat16": (("clex", "adamw"), {"steps": 1, "precision": "bf16-mixed"}),
    "cut": (("clex", "muon"), {"stop": STOP}),
    "left": (("clex", "muon"), {"stop": STOP}),
}
COMPARED = [line for line in LINES if line not in ("cut", "left", "bfloat16")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sharded")


def asked(folder, line):
    (name, optimizer), options = LINES[line]
    path = folder / line.replace(" ", "_")
    path.mkdir(parents=True, exist_ok=True)
    return (path, name, optimizer), options


@pytest.fixture(scope="module")
def checkpoints(folder):
    """Checkpoints of the hub's format by family."""
    return {family: save_checkpoint(folder / family, family, **own) for family, own in FAMILIES.items()}


@pytest.fixture(scope="module")
def learnings(folder, checkpoints):
    """Files of what models with adapters on these checkpoints may have learned."""
    files = {}
    for family, checkpoint in checkpoints.items():
        torch.manual_seed(1)
        files[family] = folder / f"{family}.pt"
        state = learned(read(checkpoint, 1, LORA))
        torch.save({name: x + 0.1 * torch.randn(x.shape) for name, x in state.items()}, files[family])
    return files


@pytest.fixture(scope="module")
def two(folder, checkpoints, learnings):
    """What two processes made of every line, of those that two and one had cut, and of checkpoints."""
    goes_on = (asked(folder / "2", "cut")[0], {})
    from_one = (asked(folder / "1", "cut")[0], {})
    train(*from_one[0], stop=STOP)
    lines = [*(asked(folder / "2", line) for line in LINES), goes_on, from_one]
    loads = [(first_step, (checkpoint, 2, lora), {}) for lora in (None, LORA) for checkpoint in checkpoints.values()]
    reads = [(evaluated, (checkpoint, learnings[family], 2), {}) for family, checkpoint in checkpoints.items()]
    answers = two_processes([*((train, *line) for line in lines), *loads, *reads], folder)
    kinds = [f"{family}{kind}" for kind in ("", " lora", " evaluated") for family in checkpoints]
    return dict(zip([*LINES, "2 to 2", "1 to 2", *kinds], answers, strict=True))


@pytest.fixture(scope="module")
def alone(folder):
    """What one process makes of the lines."""
    lines = {line: asked(folder / "1", line) for line in COMPARED}
    return {line: train(*arguments, **options) for line, (arguments, options) in lines.items()}


@pytest.mark.parametrize("line", COMPARED)
def test_two_processes_have_the_losses_gradients_and_weights_of_one(alone, two, line):
    ours, expected = two[line], alone[line]
    torch.testing.assert_close(ours["losses"], expected["losses"], rtol=0, atol=1e-6)
    moved = 1e-5 if LINES[line][0][1] == "sgd" else 1e-4
    assert ours["weights"].keys() == expected["weights"].keys()
    for name, weight in ours["weights"].items():
        torch.testing.assert_close(weight, expected["weights"][name], rtol=0, atol=moved, msg=f"{line}: {name}")
    assert ours["validation"] == pytest.approx(expected["validation"], abs=1e-4)
    assert not same(ours["weights"], load(LINES[line][0][0]).state_dict())


def test_frequencies_are_those_of_float32_to_the_last_bit_under_mixed_precision(two):
    scaling = load("clex").base_model.method.scaling
    factor, inv_freq = two["bfloat16"]["frequencies"][0]
    assert inv_freq.dtype == torch.float32
    assert torch.equal(inv_freq, scaling(factor).detach())
    assert not torch.equal(two["bfloat16"]["losses"], two["adamw clex"]["losses"][:1])


def test_a_training_that_was_cut_ends_the_same_on_as_many_processes_and_on_others(alone, two):
    assert two["cut"] is None
    assert same(two["2 to 2"]["weights"], two["muon"]["weights"])
    assert len(two["1 to 2"]["losses"]) == STEPS - STOP
    torch.testing.assert_close(
        two["1 to 2"]["losses"], alone["muon"]["losses"][STOP:], rtol=0, atol=1e-3
    )  # Muon rounds in bfloat16


def test_one_process_goes_on_from_the_checkpoint_of_two(alone, folder, two):
    (path, name, optimizer), _ = asked(folder / "2", "left")
    assert torch.load(path / "last.ckpt", weights_only=True)["global_step"] == STOP
    ours = train(path, name, optimizer)
    assert len(ours["losses"]) == STEPS - STOP
    torch.testing.assert_close(ours["losses"], alone["muon"]["losses"][STOP:], rtol=0, atol=1e-3)


@pytest.mark.parametrize("lora", [None, LORA], ids=["", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_that_two_processes_read_in_parts_is_the_one_that_one_reads(checkpoints, two, family, lora):
    ours, expected = two[f"{family} lora" if lora else family], first_step(checkpoints[family], 1, lora)
    assert not expected["unread"]
    made_here = (".method.", ".lora_A.", ".lora_B.")
    assert set(ours["unread"]) == {n for n in expected["gradients"] if not any(part in n for part in made_here)}
    assert same(ours["weights"], expected["weights"])
    for name, gradient in ours["gradients"].items():
        assert (gradient is None) == (expected["gradients"][name] is None)
        if gradient is not None:
            torch.testing.assert_close(gradient, expected["gradients"][name], rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_that_share_a_model_evaluate_it_as_one_does(checkpoints, learnings, two, family):
    ours, expected = two[f"{family} evaluated"], evaluated(checkpoints[family], learnings[family], 1)
    for mine, other in zip(ours["losses"], expected["losses"], strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)
    assert torch.equal(ours["generated"], expected["generated"])
    assert ours["here"] == pytest.approx(0.5, abs=0.02)
    assert expected["here"] == 1
