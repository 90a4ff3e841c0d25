"""Adapters: nothing at first, W + alpha / rank B A then; what learns, what is kept, and what a run makes of them."""

import copy

import pytest
import torch
from support.lab import TINY, TRAINING, arms_of, folders
from support.refusals import COUNT, refusal
from support.trainable_model import load as load_plain
from support.trainable_model import same
from support.two_process_training import train
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.utils.flop_counter import FlopCounterMode

from lcx_lightning.distributed.state_dicts import frozen_names, load_trained_state_dict, trained_state_dict
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.models.attach import detach
from lcx_lightning.models.families import FAMILIES
from lcx_lightning.models.lora import add_adapters, merge_adapters
from lcx_lightning.results import records
from lcx_lightning.runner import stages
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.hardware import Hardware
from lcx_lightning.runner.launch.worker import run_arm
from lcx_lightning.runner.preview.forecast import Forecast
from lcx_lightning.training.flops import forward_flops, step_flops

LORA = {"rank": 4, "alpha": 6, "targets": "attention", "in_full": []}
LONG = LORA | {"in_full": ["embeddings", "norms"]}
IDS = torch.randint(1, 60, (2, 40), generator=torch.Generator().manual_seed(0))
LEARNED = (".lora_A.", ".lora_B.", ".method.")

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


def adapted(model, seed=3, **changes):
    return add_adapters(model, **LORA | changes, seed=seed)


def trained(model):
    """Return the model after two steps that move its adapters."""
    optimizer = AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):
        logits = model(IDS, use_cache=False).logits
        cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_new_adapters_stand_in_the_attention_of_every_family_and_change_nothing(extended, family):
    plain, model = extended("yarn", family), adapted(extended("yarn", family))
    assert torch.equal(model(IDS).logits, plain(IDS).logits)
    beside = {name.rpartition(".lora_A.")[0] for name, _ in model.named_parameters() if ".lora_A." in name}
    layers = range(model.config.num_hidden_layers)
    assert {name.split("layers.")[1].split(".")[0] for name in beside} == {str(layer) for layer in layers}
    assert all("attn" in name or "attention" in name for name in beside)
    assert len(beside) in (2 * len(layers), 4 * len(layers))  # queries, keys and values in one matrix, or in three


@pytest.mark.parametrize("in_full", [[], ["norms"], ["embeddings", "norms"]])
def test_adapters_the_method_and_what_is_named_learn_and_nothing_else(extended, in_full):
    model = adapted(extended("clex"), in_full=in_full)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    norms = {name for name, p in model.named_parameters() if "norm" in name}
    expected = {name for name, _ in model.named_parameters() if any(part in name for part in LEARNED)}
    expected |= norms if "norms" in in_full else set()
    expected |= {"model.embed_tokens.weight"} if "embeddings" in in_full else set()
    assert names == expected
    assert norms
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert not any(p.requires_grad for n, p in adapted(extended("clex_frozen")).named_parameters() if ".method." in n)


def test_the_targets_are_attention_all_linear_layers_or_names(extended):
    def leaves(targets):
        model = adapted(extended("pi"), targets=targets)
        return {name.split(".")[-4] for name, _ in model.named_parameters() if ".lora_A." in name}

    assert leaves("attention") == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert leaves("linear") == leaves("attention") | {"gate_proj", "up_proj", "down_proj"}
    assert leaves(["q_proj", "down_proj"]) == {"q_proj", "down_proj"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"targets": ["query"]}, "names of linear layers of this llama, which are down_proj, .*; got .'query'."),
        ({"targets": []}, "targets of adapters are"),
        ({"targets": "mlp"}, "got 'mlp'"),
        ({"in_full": ["head"]}, refusal({"in_full": ["head"]}, "a list with embeddings or norms in each place")),
        ({"rank": 0}, refusal({"rank": 0}, COUNT)),
        ({"alpha": 0}, refusal({"alpha": 0}, "a number above 0")),
    ],
)
def test_adapters_that_cannot_be_are_refused_and_the_model_is_left_as_it_was(extended, changes, said):
    model = extended("pi")
    with pytest.raises(ValueError, match=said):
        adapted(model, **changes)
    assert all(p.requires_grad for p in model.parameters())


def test_parts_trained_in_full_must_be_float32_and_adapters_are(extended):
    with pytest.raises(ValueError, match=r"model.source.dtype=float32"):
        adapted(extended("pi").bfloat16(), in_full=["norms"])
    adapted(extended("pi").bfloat16().to("meta"), in_full=["norms"])  # which may be read as float32
    model = adapted(extended("pi").bfloat16())
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert model(IDS).logits.dtype == torch.bfloat16


def test_a_weight_becomes_itself_and_alpha_over_rank_times_the_product(extended):
    model = trained(adapted(extended("clex"))).eval()
    by_hand, state = extended("clex"), model.state_dict()
    weights = {name.replace(".base_layer", ""): x for name, x in state.items() if ".lora_" not in name}
    for name in [name for name in state if ".lora_A." in name]:
        stem = name.split(".lora_A.")[0]
        product = state[f"{stem}.lora_B.default.weight"] @ state[f"{stem}.lora_A.default.weight"]
        assert product.abs().max() > 0
        weights[f"{stem}.weight"] = weights[f"{stem}.weight"] + 6 / 4 * product
    by_hand.load_state_dict(weights)
    torch.testing.assert_close(model(IDS).logits, by_hand(IDS).logits, rtol=1e-4, atol=1e-5)
    merged = merge_adapters(copy.deepcopy(model))
    assert merged.state_dict().keys() == by_hand.state_dict().keys()
    torch.testing.assert_close(merged(IDS).logits, by_hand(IDS).logits, rtol=1e-4, atol=1e-5)
    assert all(p.requires_grad for p in merged.parameters())


def test_a_detached_model_keeps_its_adapters_and_merged_it_is_a_stock_model(extended, tiny):
    model = detach(trained(adapted(extended("yarn")))).eval()
    logits = model(IDS).logits
    stock = tiny()
    assert not torch.allclose(logits, stock(IDS).logits, atol=1e-4)
    stock.load_state_dict(merge_adapters(model).state_dict())
    torch.testing.assert_close(stock(IDS).logits, logits, rtol=1e-4, atol=1e-5)


def test_adapters_are_drawn_from_their_seed_alone(extended):
    first, other = adapted(extended("pi")), adapted(extended("pi"), seed=4)
    torch.rand(7)
    again = adapted(extended("pi"))
    name = "model.layers.1.self_attn.q_proj.lora_A.default.weight"
    a = first.state_dict()[name]
    assert torch.equal(a, again.state_dict()[name])
    assert not torch.equal(a, other.state_dict()[name])
    assert a.abs().max() <= 64**-0.5  # uniform within 1 / sqrt(in), as linear layers begin


def test_what_was_learned_is_all_that_a_model_like_it_needs(extended):
    model = trained(adapted(extended("clex"), **LONG))
    saved = {name: x.clone() for name, x in trained_state_dict(model).items()}
    assert saved.keys() == model.state_dict().keys() - frozen_names(model)
    assert not any("base_layer" in name or "mlp" in name for name in saved)
    other = adapted(extended("clex"), seed=5, **LONG)
    load_trained_state_dict(other, saved)
    assert torch.equal(other(IDS).logits, model(IDS).logits)
    with pytest.raises(RuntimeError, match="lora_A"):
        load_trained_state_dict(
            adapted(extended("clex"), **LONG), {n: x for n, x in saved.items() if "lora_A" not in n}
        )
    assert trained_state_dict(extended("clex")).keys() == extended("clex").state_dict().keys()


def test_a_step_has_the_flops_that_torch_counts(extended):
    """With embeddings that learn: otherwise the first layer needs no gradient of what it reads."""
    model, tokens = adapted(extended("pi"), **LONG), 24
    ids = torch.arange(1, tokens + 1)[None]
    counted = {}
    for name, part in (("with", model), ("without", extended("pi"))):
        part.base_model.attached.backend = "dense"
        with FlopCounterMode(display=False) as counter:
            part(ids, use_cache=False).logits.sum().backward()
        counted[name] = counter.get_total_flops()
    plain = extended("pi")
    saved = step_flops(plain, Causal(), tokens) - step_flops(model, Causal(), tokens)
    assert counted["without"] - counted["with"] == saved > 0
    assert step_flops(plain, Causal(), tokens) == 3 * forward_flops(plain, Causal(), tokens)


# Under the Trainer, and as a run


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_moves_adapters_and_method_and_goes_on_from_a_checkpoint_that_holds_nothing_else(tmp_path, optimizer):
    whole = train(tmp_path / "whole", "clex", optimizer, lora=LONG, recompute=True)["weights"]
    assert "weights" not in train(tmp_path / "cut", "clex", optimizer, lora=LONG, recompute=True, stop=2)
    saved = torch.load(tmp_path / "cut" / "last.ckpt", weights_only=True)["state_dict"]
    untouched = adapted(load_plain("clex"), **LONG)
    assert saved.keys() == {f"model.{name}" for name in trained_state_dict(untouched)}
    assert same(train(tmp_path / "cut", "clex", optimizer, lora=LONG, recompute=True)["weights"], whole)
    moved = {name for name, x in untouched.state_dict().items() if not torch.equal(x, whole[name])}
    assert moved == {name for name, p in untouched.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    root = tmp_path_factory.mktemp("lora")
    line = ["method=clex", "training=finetune", "training/lora=longlora", "training.lora.rank=2", "factor=4"]
    (arm,) = arms_of(*line, *TINY, *TRAINING, "recompute=true", *folders(root))
    return arm


def test_an_arm_with_adapters_keeps_what_was_learned_and_is_evaluated_with_it(arm):
    built = BuiltArm(arm)
    run_arm(built, lambda *_: None)
    run = records.read_run(arm.folder)
    base, extended = (arm.cache(*stage) for stage in (("base", arm.base_key), ("extend", arm.extend_key)))
    model = stages.model_to_evaluate(built, base, extended)
    trains = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert run.info["trained_parameters"] == trains < run.info["parameters"]
    kept = torch.load(extended / "model.pt", weights_only=True)
    assert kept.keys() == trained_state_dict(model).keys()
    assert sum(x.numel() for x in kept.values()) < run.info["parameters"]
    assert any(x.abs().max() > 0 for name, x in kept.items() if "lora_B" in name)
    units = built.evaluation.work_units(built.data, arm.pretrain_length, arm.lengths[-1])
    found = [row["value"] for piece in units for row in piece.compute(merge_adapters(model))]
    assert found == pytest.approx([row["value"] for row in run.rows], rel=1e-5)


def test_adapters_are_part_of_the_key_of_an_extension_and_recipes_without_them_keep_theirs(arm):
    same_line = ["method=clex", "training=finetune", "factor=4", *TINY, *TRAINING]
    (plain,) = arms_of(*same_line)
    (other,) = arms_of(*same_line, "training/lora=default", "training.lora.rank=2")
    assert len({one.extend_key for one in (arm, plain, other)}) == len({one.run for one in (arm, plain, other)}) == 3
    assert arm.base_key == plain.base_key
    assert "lora" not in plain.config["training"]


def test_adapters_without_training_are_refused():
    with pytest.raises(ValueError, match=r"training/lora=default would change nothing.*Add training=finetune"):
        arms_of("method=lm_infinite", "training/lora=default", *TINY)
    with pytest.raises(ValueError, match="targets of adapters are"):
        arms_of(
            "method=pi", "training=finetune", "training/lora=default", "training.lora.targets=[x]", *TINY, *TRAINING
        )


def test_the_forecast_has_gradients_and_states_of_what_learns_alone(arm):
    built = BuiltArm(arm)
    forecast = Forecast(built, Hardware("a device", 1e6, 2**40, None, ""))
    base, extend, _ = forecast.stages()
    model = stages.load_model(built, None, built.method, lora=built.recipe.lora)
    trains = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert extend.memory.gradients == trains < base.memory.gradients
    assert extend.memory.optimizer < base.memory.optimizer
    assert forecast.adapters == sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    of_row = extend.flops / (arm.config["training"]["steps"] * arm.config["training"]["rows"])
    assert of_row == step_flops(model, model.base_model.attached.method.pattern, arm.train_length)
