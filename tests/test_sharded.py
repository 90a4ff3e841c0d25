"""Two processes that share a model train as one does, and go on from each other's checkpoints."""

import pytest
import torch
from learning import load, same
from sharded import STEPS, train, two_processes

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")

METHODS = ["pi", "clex", "lm_infinite", "clex_lm_infinite"]
STOP = 2  # steps done when a training is cut
LINES = {
    **{f"gradient {name}": ((name, "sgd"), {"steps": 1, "micro": 2}) for name in METHODS},
    **{f"adamw {name}": ((name, "adamw"), {}) for name in METHODS},
    "context": (("clex_lm_infinite", "adamw"), {"micro": 2, "context": 2}),
    "chunks": (("clex", "sgd"), {"steps": 1, "chunked": True, "recompute": True}),
    "muon": (("clex", "muon"), {}),
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
def two(folder):
    """What two processes made of every line; then of the one that was cut, by one and by two."""
    goes_on = (asked(folder / "2", "cut")[0], {})
    from_one = (asked(folder / "1", "cut")[0], {})
    train(*from_one[0], stop=STOP)
    lines = [*(asked(folder / "2", line) for line in LINES), goes_on, from_one]
    answers = two_processes(lines, folder)
    return dict(zip([*LINES, "2 to 2", "1 to 2"], answers, strict=True))


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
    torch.testing.assert_close(two["1 to 2"]["losses"], alone["muon"]["losses"][STOP:], rtol=0, atol=1e-5)


def test_one_process_goes_on_from_the_checkpoint_of_two(alone, folder, two):
    (path, name, optimizer), _ = asked(folder / "2", "left")
    assert torch.load(path / "last.ckpt", weights_only=True)["global_step"] == STOP
    ours = train(path, name, optimizer)
    assert len(ours["losses"]) == STEPS - STOP
    torch.testing.assert_close(ours["losses"], alone["muon"]["losses"][STOP:], rtol=0, atol=1e-5)
