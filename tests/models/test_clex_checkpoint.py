"""Released CLEX checkpoints: a small one in their format becomes ours, settings, weights and logits."""

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from support.lab import EVALUATION, arms_of, built_arms_of, folders, save_checkpoint, save_documents
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from lcx_lightning.methods.library import build_method, read_method
from lcx_lightning.models.attach import attach
from lcx_lightning.models.clex_checkpoint import read_field, separate_clex, with_own_clex
from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.models.sources import HubModel, skeleton
from lcx_lightning.runner import stages
from lcx_lightning.runner.built_arm import BuiltArm

L, PAIRS, WIDTH = 64, 4, 2
RELEASE = {"type": "clex", "max_factor": 16, "param_factor": WIDTH, "act": "tanh", "factor": 1, "time_dt": 0.01}
ODE = "model.clex_layer.proj_func."
STORED = ["one file", "shards", "one pickle", "pickled shards"]


def field(strength=1.0):
    """Return the weights of an ODE as the released code has them: they act from the right."""
    generator = torch.Generator().manual_seed(5)
    hidden = WIDTH * 2 * PAIRS
    up = torch.rand(PAIRS, hidden, generator=generator) - 0.5
    return up, strength * 0.02 * torch.randn(hidden, PAIRS, generator=generator)


def release(folder, stored="one file", extra=None, lacking=(), strength=1.0, **block):
    """Save a tiny Llama as the authors released theirs, and return its folder."""
    torch.manual_seed(0)
    save_checkpoint(folder, initializer_range=0.3)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    ode = {
        f"{ODE}ode_up_proj": field()[0],
        f"{ODE}ode_down_proj": field(strength)[1],
        "model.clex_layer.inv_freq": 10_000 ** (-torch.arange(PAIRS) / PAIRS),
    }
    ode = {name: value for name, value in ode.items() if not name.endswith(tuple(lacking))}
    save(folder, stored, weights, ode)
    config = json.loads((folder / "config.json").read_text())
    theta = config.pop("rope_parameters")["rope_theta"]
    config |= {
        "auto_map": {
            "AutoConfig": "configuration_clex.CLEXLlamaConfig",
            "AutoModelForCausalLM": "modeling_llama.LlamaForCausalLM",
        },
        "data_length": L,
        "log_scale": False,
        "rope_scaling": {k: v for k, v in (RELEASE | block).items() if v is not None},
        "rope_theta": theta,
        "transformers_version": "4.29.1",
        "use_flashattn": True,
    }
    (folder / "config.json").write_text(json.dumps(config | (extra or {})))
    return folder


def save(folder, stored, weights, ode):
    meta = {"format": "pt"}
    if stored == "one file":
        save_file(weights | ode, folder / "model.safetensors", metadata=meta)
    elif stored == "one pickle":
        torch.save(weights | ode, folder / "pytorch_model.bin")
    else:
        pickled = stored == "pickled shards"
        first, second = ((f"pytorch_model-0000{i}.bin" if pickled else f"model-0000{i}.safetensors") for i in (1, 2))
        for name, part in ((first, weights), (second, ode)):
            if pickled:
                torch.save(part, folder / name)
            else:
                save_file(part, folder / name, metadata=meta)
        index = {"metadata": {}, "weight_map": dict.fromkeys(weights, first) | dict.fromkeys(ode, second)}
        name = "pytorch_model.bin.index.json" if pickled else "model.safetensors.index.json"
        (folder / name).write_text(json.dumps(index))


def source(folder):
    return HubModel(name=str(folder), revision="main", dtype="float32", own_scaling=True)


def method_of(name, config, factor=2):
    sizes = {"factor": factor, "train_factor": 1, "pretrain_length": L}
    whole = OmegaConf.create(sizes | {"method": with_own_clex(read_method(name), config)})
    return whole.method


def attached(folder, name="clex"):
    model = source(folder).load(None)
    return attach(model, build_method(method_of(name, model.config), rope_spec(model.config))).eval()


def frequencies(t, strength=1.0):
    """Return what the released code integrates to, by small midpoint steps in t in float64."""
    up, down = (w.double().numpy() for w in field(strength))
    d, steps = 2 * PAIRS, 3000
    i, h = np.arange(0, d, 2), (t - 1) / steps

    def slope(t, z):
        alpha = 2 * t - 1
        log_ntk = -i / d * np.log(10_000 * alpha ** (d / (d - 2)))
        return np.tanh((z + log_ntk) @ up) @ down - 2 * i / ((d - 2) * alpha)

    z = np.log(10_000.0 ** (-i / d))
    for step in range(steps):
        now = 1 + h * step
        z = z + h * slope(now + h / 2, z + h / 2 * slope(now, z))
    return torch.tensor(np.exp(z)).float()


@pytest.mark.parametrize("strength", [1, 5, 20])
def test_the_solver_takes_the_steps_that_the_weights_of_a_release_need(tmp_path, strength):
    """The released code has an error of 3e-5 on strong fields, and six steps one of 1e-3."""
    scaling = attached(release(tmp_path, strength=strength)).base_model.attached.method.scaling
    factors = torch.tensor([1.0, 2.0, 5.0, 16.0])
    expected = torch.stack([frequencies(t, strength) for t in (1, 2, 5, 16)])
    found = scaling(factors).detach()
    torch.testing.assert_close(found, expected, atol=0, rtol=3e-5)
    assert (scaling.steps > 6) == (strength > 1)


def test_a_field_for_which_no_number_of_steps_is_enough_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"too strong for the solver rk4: .* and 3e-05 is allowed\. Take a smaller max_factor"
    ):
        attached(release(tmp_path, strength=1e6))
    with pytest.raises(ValueError, match=r"ode_up_proj or ode_down_proj of this CLEX is not finite"):
        attached(release(tmp_path, strength=float("nan")))


def test_a_factor_for_a_release_is_refused_with_what_to_give(tmp_path):
    model = source(release(tmp_path)).load(None)
    with pytest.raises(ValueError, match=r"trained up to max_factor=16 .*Leave factor out, or give max_factor=\.\.\."):
        attach(model, "clex", factor=4)
    assert attach(model, "clex", max_factor=8).base_model.attached.method.positions.max_factor == 8


@pytest.mark.parametrize("family", ["mixtral", "phi"])
def test_log_scale_is_read_by_llama_alone(family):
    """As in the released code of these families, whose configs may have it."""
    config = AutoConfig.for_model(family)
    config.clex = {"width": 1, "activation": "silu", "max_factor": 4, "log_scale": True}
    assert with_own_clex(read_method("clex"), config).temperature == read_method("clex").temperature


@pytest.mark.parametrize("stored", STORED)
def test_the_weights_of_a_release_become_ours_however_they_are_stored(tmp_path, stored):
    scaling = attached(release(tmp_path, stored)).base_model.attached.method.scaling
    up, down = field()
    assert torch.equal(scaling.up.weight, up.T)
    assert torch.equal(scaling.down.weight, down.T)
    drift = 10_000 ** (-torch.arange(PAIRS) / PAIRS) * 7 ** (-torch.arange(0, 2 * PAIRS, 2) / (2 * PAIRS - 2))
    ours = scaling(torch.tensor([4.0]))[0].detach()
    torch.testing.assert_close(ours, frequencies(4), atol=0, rtol=1e-4)
    assert ((ours / drift).log().abs() > 0.05).any(), "the field must matter, or this tests nothing"


def test_a_released_model_gives_the_logits_of_a_llama_that_rotates_by_its_frequencies(tmp_path):
    folder = release(tmp_path)
    model, stock = attached(folder), source(folder).load(None).eval()
    assert isinstance(stock, LlamaForCausalLM)
    ids = torch.arange(3 * L - 5)[None] * 7 % model.config.vocab_size  # t = 3
    plain = stock(ids).logits
    stock.model.rotary_emb.inv_freq = frequencies(3)
    ours = model(ids).logits
    torch.testing.assert_close(ours, stock(ids).logits, atol=1e-4, rtol=1e-4)
    assert (ours - plain).abs().max() > 0.01


def test_a_release_is_a_plain_model_with_its_settings_beside_it(tmp_path):
    config = source(release(tmp_path)).config()
    assert config.rope_parameters == {"rope_theta": 10_000.0, "rope_type": "default"}
    assert {k: config.clex[k] for k in ("width", "activation", "max_factor", "log_scale")} == {
        "width": WIDTH,
        "activation": "tanh",
        "max_factor": 16,
        "log_scale": False,
    }
    spec = rope_spec(config)
    assert (spec.dim, spec.base, spec.pretrain_length, spec.checkpoint_inv_freq) == (2 * PAIRS, 10_000, L, None)
    assert skeleton(config).config.clex == config.clex


def test_a_release_that_names_no_activation_has_silu(tmp_path):
    folder = release(tmp_path, act=None, time_dt=None)
    assert isinstance(attached(folder).base_model.attached.method.scaling.activation, torch.nn.SiLU)


@pytest.mark.parametrize("name", ["clex", "clex_blocks", "clex_consecutive"])
def test_methods_that_scale_by_clex_take_the_settings_of_the_checkpoint(tmp_path, name):
    method = method_of(name, source(release(tmp_path, act="silu")).config())
    assert method.scaling.width == WIDTH
    assert method.scaling.activation == "silu"
    assert method.positions.max_factor == 16


def test_a_largest_factor_that_was_asked_for_by_number_is_kept(tmp_path):
    config = source(release(tmp_path)).config()
    method = read_method("clex")
    method.positions.max_factor = 32
    assert with_own_clex(method, config).positions.max_factor == 32


@pytest.mark.parametrize("name", ["pretrained", "yarn", "dynamic_ntk", "clex_discrete"])
def test_other_methods_and_other_checkpoints_are_left_as_they_are(tmp_path, name):
    clex, plain = source(release(tmp_path / "clex")).config(), source(save_checkpoint(tmp_path / "plain")).config()
    assert with_own_clex(read_method(name), clex) == read_method(name)
    assert with_own_clex(read_method("clex"), plain) == read_method("clex")
    assert not hasattr(plain, "clex")
    assert attached(tmp_path / "clex", name) is not None


def test_the_frozen_control_keeps_the_drift_alone(tmp_path):
    scaling = attached(release(tmp_path), "clex_frozen").base_model.attached.method.scaling
    assert not scaling.down.weight.any()


def test_log_scale_of_a_release_is_a_temperature_that_another_choice_replaces(tmp_path):
    config = source(release(tmp_path, extra={"log_scale": True})).config()
    released = with_own_clex(read_method("clex"), config).temperature
    assert released == {"_target_": "lcx_lightning.temperature.LogN", "clamp": False, "per_pass": True}
    method = read_method("clex")
    method.temperature = read_method("yarn").temperature
    assert with_own_clex(method, config).temperature == read_method("yarn").temperature


def test_a_method_built_with_other_settings_than_the_checkpoints_is_refused(tmp_path):
    model = source(release(tmp_path)).load(None)
    sizes = {"factor": 2, "train_factor": 1, "pretrain_length": L}
    width = OmegaConf.create(sizes | {"method": read_method("clex")}).method
    with pytest.raises(ValueError, match=r"needs ode_up_proj \[4, 8\].*got \[4, 16\]"):
        attach(model, build_method(width, rope_spec(model.config)))
    activation = method_of("clex", model.config)
    activation.scaling.activation = "silu"
    with pytest.raises(ValueError, match=r"activation tanh, the method SiLU\(\): build the method with"):
        attach(model, build_method(activation, rope_spec(model.config)))
    assert not hasattr(model.base_model, "attached"), "a refused model stays as it was"


def test_a_release_without_its_ode_is_refused(tmp_path):
    folder = release(tmp_path, "shards", lacking=["ode_down_proj"])
    with pytest.raises(ValueError, match=r"its weight files lack model\.clex_layer\.proj_func\.ode_down_proj"):
        read_field(str(folder), "main")


def test_an_activation_that_no_release_has_is_refused(tmp_path):
    with pytest.raises(ValueError, match="activation tanh or silu, this one 'relu'"):
        source(release(tmp_path, act="relu")).config()


def test_a_config_without_rotary_embedding_is_left_alone(tmp_path):
    config = AutoModelForCausalLM.from_pretrained(save_checkpoint(tmp_path)).config
    config.rope_parameters = None
    assert separate_clex(config, "x", "main") is config


def test_the_command_line_takes_a_release_with_its_own_settings_and_weights(tmp_path):
    folder = release(tmp_path / "model")
    model = ["model=hub", f"model.source.name={folder}", *save_documents(tmp_path / "documents")]
    (built,) = built_arms_of(*model, "method=clex", "factor=4", *EVALUATION, *folders(tmp_path))
    assert built.ignored == ["factor"]  # the checkpoint decides what it reaches
    arm, method = built.arm, built.arm.config["method"]
    assert (method["scaling"]["width"], method["positions"]["max_factor"]) == (WIDTH, 16)
    assert arm.lengths == [L, 2 * L]
    built = BuiltArm(arm)
    loaded = stages.load_model(built, None, built.method)
    torch.testing.assert_close(
        loaded.base_model.attached.method.scaling(torch.tensor([2.0]))[0], frequencies(2), atol=0, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("method", "more", "grows"),
    [
        ("clex", [], True),
        ("clex", ["grow=false"], False),
        (["clex", "lm_infinite"], [], True),
        ("dynamic_ntk", [], False),
        ("dynamic_ntk", ["grow=true"], True),
        ("pi", [], False),
    ],
)
def test_a_release_grows_as_its_code_does_unless_it_is_told_not_to(tmp_path, method, more, grows):
    folder = release(tmp_path / "model")
    model = ["model=hub", f"model.source.name={folder}", *save_documents(tmp_path / "documents")]
    name = f"[{','.join(method)}]" if isinstance(method, list) else method
    (arm,) = arms_of(*model, f"method={name}", *more, *EVALUATION, *folders(tmp_path))
    assert arm.config["grow"] is arm.grows is grows
    built = BuiltArm(arm)
    assert stages.load_model(built, None, built.method).base_model.attached.grow is grows
    if not more and method != "pi":
        assert attach(source(folder).load(None), method).base_model.attached.grow is grows
