"""Two processes that share a model train as one does, and go on from each other's checkpoints."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.lab import save_checkpoint
from support.trainable_model import load, same
from support.two_process_training import (
    CLIP,
    LENGTH,
    LORA,
    ROWS,
    STEPS,
    documents,
    evaluated,
    first_step,
    read,
    refusal,
    train,
    two_processes,
)

from lcx_lightning.distributed.state_dicts import trained_state_dict

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*does not have many workers.*")]

METHODS = ["pi", "clex", "lm_infinite", "clex_lm_infinite"]
FAMILIES = {
    "llama": {},
    "qwen2": {"tie_word_embeddings": True},
    "gpt_neox": {"rotary_pct": 0.5},
    "stablelm": {"partial_rotary_factor": 0.5},
}
BROKEN = {
    "lacks one": lambda weights: weights.pop("lm_head.weight"),
    "nan": lambda weights: weights["lm_head.weight"][0].fill_(float("nan")),  # in the shard of one process
}
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
}
CHAIN = ("2", "2 to 1", "2 to 1 to 2")  # one training, cut after 1 step and after 3
COMPARED = [line for line in LINES if line not in ("cut", "bfloat16")]
LEARNED = [line for line in LINES if "clex" in LINES[line][0][0] and line != "cut"]


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
        state = trained_state_dict(read(checkpoint, 1, LORA))
        torch.save({name: x + 0.1 * torch.randn(x.shape) for name, x in state.items()}, files[family])
    return files


def broken(checkpoint, folder, change):
    """Return the folder of a copy of a checkpoint whose weights are changed."""
    shutil.copytree(checkpoint, folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def two(folder, checkpoints, learnings):
    """What two processes made of every line, of one that was cut, of one by two, one and two, and of checkpoints."""
    lines = [(train, *asked(folder / "2", line)) for line in LINES]
    goes_on = (train, asked(folder / "2", "cut")[0], {})
    (folder / "chain").mkdir()
    chain = (folder / "chain", "clex", "adamw")
    loads = [(first_step, (checkpoint, 2, lora), {}) for lora in (None, LORA) for checkpoint in checkpoints.values()]
    reads = [(evaluated, (checkpoint, learnings[family], 2), {}) for family, checkpoint in checkpoints.items()]
    wrong = [(refusal, (broken(checkpoints["llama"], folder / what, change),), {}) for what, change in BROKEN.items()]
    kinds = [f"{family}{kind}" for kind in ("", " lora", " evaluated") for family in checkpoints]
    answers = two_processes([*lines, goes_on, *loads, *reads, *wrong, (train, chain, {"stop": 1})], folder)
    answers += [train(*chain, stop=3), *two_processes([(train, chain, {})], folder)]
    return dict(zip([*LINES, "2 to 2", *kinds, *BROKEN, *CHAIN], answers, strict=True))


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
    assert (
        line == "lora" or min(expected["norms"]) > CLIP
    )  # of the gradients that were clipped; adapters have small ones
    assert ours["norms"] == pytest.approx(expected["norms"], rel=1e-3)


def test_frequencies_are_those_of_float32_to_the_last_bit_under_mixed_precision(two):
    scaling = load("clex").base_model.attached.method.scaling
    factor, inv_freq = two["bfloat16"]["frequencies"][0]
    assert inv_freq.dtype == torch.float32
    assert torch.equal(inv_freq, scaling(factor).detach())
    assert not torch.equal(two["bfloat16"]["losses"], two["adamw clex"]["losses"][:1])


def test_a_training_that_was_cut_ends_the_same_on_as_many_processes_to_the_last_bit(two):
    assert len(two["cut"]["batches"]) == STOP
    assert len(two["2 to 2"]["batches"]) == STEPS - STOP
    assert same(two["2 to 2"]["weights"], two["muon"]["weights"])
    assert two["2 to 2"]["validation"] == two["muon"]["validation"]


def test_a_training_goes_on_by_one_process_and_by_two_again_with_the_batches_that_are_left(alone, two):
    whole, parts = alone["adamw clex"], [two[part] for part in CHAIN]
    assert [len(part["batches"]) for part in parts] == [1, 2, 1]
    batches = [batch for part in parts for batch in part["batches"]]
    assert all(map(torch.equal, batches, whole["batches"]))
    torch.testing.assert_close(parts[-1]["losses"], whole["losses"][3:], rtol=0, atol=1e-6)
    for name, weight in parts[-1]["weights"].items():
        torch.testing.assert_close(weight, whole["weights"][name], rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize("line", COMPARED)
def test_the_batches_of_two_processes_are_together_those_of_one(alone, two, line):
    data = documents()
    expected = [data.batch(step, 3, ROWS, LENGTH)["input_ids"] for step in range(len(alone[line]["batches"]))]
    for found in (two[line]["batches"], alone[line]["batches"]):
        assert len(found) == len(expected) > 0
        assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("line", LEARNED)
def test_what_clex_has_learned_is_the_same_on_both_processes_to_the_last_bit(two, line):
    (first, frequencies), (second, others) = two[line]["held"]
    assert first
    assert same(first, second)
    assert len(frequencies) == len(others) > 1
    for ours, theirs in zip(frequencies, others, strict=True):
        assert all(map(torch.equal, ours, theirs))
    assert not same(first, dict(load("clex").base_model.attached.method.named_parameters()))


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


@pytest.mark.parametrize(
    ("what", "said"), [("lacks one", "they lack lm_head.weight"), ("nan", "not finite in lm_head")]
)
def test_two_processes_refuse_a_broken_checkpoint_both_and_alike(two, what, said):
    first, second = two[what]
    assert first == second
    assert said in first
