"""Models: what is read from a config, and what is refused by name."""

import math

import pytest
import torch
from support.trainable_model import FROM_BYTES
from transformers import AutoConfig

from lcx_lightning.methods.scaling.base import RopeSpec
from lcx_lightning.models.attach import attach
from lcx_lightning.models.families import FAMILIES
from lcx_lightning.models.rope_spec import rope_spec, without_scaling
from lcx_lightning.models.sources import EmbeddedModel, HubModel

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 32}
LISTS = {"short_factor": [1.0, 1.5, 2, 3, 4, 4, 5, 6], "long_factor": [1.0, 1.5, 2, 3, 4, 4, 5, 6]}
ONE_LIST = YARN | LISTS | {"rope_type": "longrope"}  # as models are exported: no length changes its frequencies
IDS = torch.randint(1, 64, (2, 100), generator=torch.Generator().manual_seed(0))


def spec_of(model_type, **architecture):
    return rope_spec(AutoConfig.for_model(model_type, **architecture))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_spec_is_the_rotary_embedding_that_the_model_builds(tiny, family):
    model = tiny(family)
    spec, stock = rope_spec(model.config), model.base_model.rotary_emb
    torch.testing.assert_close(spec.inv_freq(), stock.inv_freq)
    assert spec.dim == 2 * len(stock.inv_freq)
    assert spec.feature_scale == stock.attention_scaling == 1
    assert spec.pretrain_length == 32
    assert spec.checkpoint_inv_freq is None


def test_llama_2_is_read_from_its_config():
    spec = spec_of("llama", hidden_size=4096, num_attention_heads=32, max_position_embeddings=4096)
    assert spec == RopeSpec(dim=128, base=10_000.0, pretrain_length=4096)


def test_a_head_dimension_of_its_own_counts():
    rope = {"rope_type": "default", "rope_theta": 1e6}
    spec = spec_of("qwen3", hidden_size=1024, num_attention_heads=16, head_dim=128, rope_parameters=rope)
    assert (spec.dim, spec.base) == (128, 1e6)


@pytest.mark.parametrize(("family", "part", "dim"), [("phi", 0.4, 32), ("gpt_neox", 0.25, 20)])
def test_partial_rotary_embeddings_have_their_part_of_the_head(family, part, dim):
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": part}
    assert spec_of(family, hidden_size=2560, num_attention_heads=32, rope_parameters=rope).dim == dim


def test_a_llama_3_checkpoint_starts_from_its_own_frequencies_and_the_length_it_reaches(tiny):
    spec = rope_spec(tiny(rope_parameters=LLAMA3, max_position_embeddings=512).config)
    assert spec.pretrain_length == 512
    assert spec.base == 10_000
    for i, own in enumerate(spec.inv_freq().tolist()):
        theta = 10_000 ** (-2 * i / 16)
        turns = 64 * theta / (2 * math.pi)  # over the original length
        share = min(max((turns - 1) / (4 - 1), 0), 1)  # 0 interpolates, 1 keeps
        assert own == pytest.approx((1 - share) * theta / 8 + share * theta, rel=1e-5)


@pytest.mark.parametrize(
    ("family", "rope"),
    [
        ("llama", LLAMA3),
        ("llama", YARN),
        ("llama", {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}),
        ("llama", ONE_LIST),
        ("phi3", ONE_LIST),
        ("gpt_neox", YARN | {"partial_rotary_factor": 0.5}),
    ],
    ids=["llama3", "yarn", "linear", "longrope", "phi3", "partial yarn"],
)
@torch.no_grad()
def test_a_checkpoint_with_a_scaling_is_itself_under_the_pretrained_method(tiny, extended, family, rope):
    sizes = {"rope_parameters": dict(rope), "max_position_embeddings": 128}
    if family == "phi3":
        sizes["original_max_position_embeddings"] = 32
    stock, ours = tiny(family, **sizes), extended("pretrained", family, **sizes)
    spec = ours.base_model.attached.method.scaling.spec
    torch.testing.assert_close(spec.inv_freq(), stock.base_model.rotary_emb.inv_freq)
    assert spec.feature_scale == pytest.approx(stock.base_model.rotary_emb.attention_scaling)
    torch.testing.assert_close(ours(IDS).logits, stock(IDS).logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_pi_on_a_checkpoint_with_a_scaling_slows_its_own_frequencies(extended):
    method = extended("pi", rope_parameters=YARN, max_position_embeddings=128).model.attached.method
    rope = method.rope(torch.ones(1, 128, dtype=torch.bool), 128)
    torch.testing.assert_close(rope.inv_freq[0], method.scaling.spec.inv_freq() / 4)
    assert rope.feature_scale.item() == pytest.approx(0.1 * math.log(4) + 1)


# What is refused


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("gptj", "attention does not use the attention interface"),
        ("falcon", "attention does not use the attention interface"),
        ("gemma3_text", "several rotary embeddings"),
        ("gemma3", "not plain causal language models"),
        ("deepseek_v3", "latent attention"),
        ("gpt2", "no rotary embedding"),
        ("bloom", "no rotary embedding"),
        ("mamba", "no rotary embedding"),
        ("gemma2", "no test compares them"),
    ],
)
def test_families_that_are_not_supported_are_refused_by_name_with_the_reason(model_type, reason):
    with pytest.raises(
        ValueError, match=f"type '{model_type}' are not supported: .*{reason}.*Supported: {', '.join(FAMILIES)}"
    ):
        spec_of(model_type)


@pytest.mark.parametrize(
    ("family", "architecture", "window"),
    [
        ("mistral", {"sliding_window": 40}, 40),
        ("mistral", {"sliding_window": None}, None),
        ("phi3", {"sliding_window": 40}, 40),
        ("mixtral", {"sliding_window": 40}, 40),
        ("qwen2", {"sliding_window": 40, "use_sliding_window": True, "max_window_layers": 0}, 40),
        ("qwen2", {"sliding_window": 40, "use_sliding_window": True, "max_window_layers": 2}, None),
        ("qwen3", {"sliding_window": 40, "use_sliding_window": False}, None),
        ("smollm3", {"sliding_window": 40, "use_sliding_window": True}, None),
        ("llama", {"sliding_window": 40}, None),
    ],
)
def test_the_spec_knows_the_native_window_of_the_layer_that_sees_farthest(family, architecture, window):
    assert spec_of(family, **architecture).window == window


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_a_window_that_is_switched_off_is_none(family):
    assert spec_of(family, sliding_window=4096, use_sliding_window=False)


DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "short_factor": [1.0] * 8,
    "long_factor": [2.0] * 8,
}
SIZES = {"hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 128}


@pytest.mark.parametrize("rope", [DYNAMIC, LONGROPE], ids=["dynamic", "longrope"])
def test_checkpoints_whose_frequencies_change_with_the_length_are_refused(rope):
    with pytest.raises(ValueError, match=f"carries the scaling '{rope['rope_type']}'.*own_scaling=false"):
        spec_of("llama", **SIZES, rope_parameters=rope)


@pytest.mark.parametrize(
    ("family", "rope", "original"),
    [
        ("llama", LLAMA3, 64),
        ("llama", YARN, 32),
        ("llama", DYNAMIC, 128),
        ("llama", LONGROPE, 32),
        ("phi3", LONGROPE, 32),
        ("gpt_neox", YARN | {"partial_rotary_factor": 0.5}, 32),
    ],
    ids=["llama3", "yarn", "dynamic", "longrope", "phi3", "partial"],
)
def test_without_its_scaling_a_checkpoint_has_plain_frequencies_and_its_original_length(family, rope, original):
    more = {"original_max_position_embeddings": 32, "pad_token_id": 0} if family == "phi3" else {}
    config = AutoConfig.for_model(family, **SIZES, **more, rope_parameters=dict(rope))
    before = config.to_dict()
    dim = 8 if "partial_rotary_factor" in rope else 16
    assert rope_spec(without_scaling(config)) == RopeSpec(dim=dim, base=10_000.0, pretrain_length=original)
    assert config.to_dict() == before


def test_without_a_scaling_a_config_stays_as_it_is():
    config = AutoConfig.for_model("llama", **SIZES)
    assert without_scaling(config) is config


def test_a_linear_scaling_that_does_not_say_its_original_length_is_kept_or_refused():
    config = AutoConfig.for_model(
        "llama", **SIZES, rope_parameters={"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
    )
    assert rope_spec(config).pretrain_length == 128
    with pytest.raises(ValueError, match="'linear', and its config does not state its original length"):
        without_scaling(config)


def test_a_checkpoint_that_states_its_original_length_twice_reaches_factor_times_that():
    rope = YARN | {"original_max_position_embeddings": 128}  # Qwen2.5, as its authors describe YaRN
    assert spec_of("qwen2", **SIZES, rope_parameters=rope).pretrain_length == 4 * 128
    assert spec_of("qwen2", **SIZES, rope_parameters=YARN).pretrain_length == 128


def test_bidirectional_attention_is_refused():
    with pytest.raises(ValueError, match="both directions"):
        spec_of("gemma", use_bidirectional_attention=True)


def test_attention_dropout_is_refused():
    with pytest.raises(ValueError, match=r"attention_dropout of 0\.1"):
        spec_of("llama", attention_dropout=0.1)


# Loading


ARCHITECTURE = {
    "model_type": "llama",
    "vocab_size": 257,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


def test_an_embedded_model_is_built_from_its_architecture_and_loaded_from_its_folder(tmp_path):
    source = EmbeddedModel(architecture=ARCHITECTURE, **FROM_BYTES)
    assert rope_spec(source.config()) == RopeSpec(dim=16, base=10_000.0, pretrain_length=64)
    assert source.tokens().vocab_size == source.config().vocab_size
    model = source.load(None)
    model.save_pretrained(tmp_path)
    again = source.load(tmp_path)
    assert all(torch.equal(x, y) for x, y in zip(model.parameters(), again.parameters(), strict=True))


def test_a_hub_model_is_loaded_in_the_dtype_asked_for(tmp_path):
    EmbeddedModel(architecture=ARCHITECTURE, **FROM_BYTES).load(None).save_pretrained(tmp_path)
    source = HubModel(name=str(tmp_path), revision="main", dtype="bfloat16", own_scaling=True)
    assert source.config().model_type == "llama"
    assert source.load(None).dtype == source.load(tmp_path).dtype == torch.bfloat16


@pytest.mark.parametrize("own", [True, False])
@torch.no_grad()
def test_a_hub_model_with_a_scaling_starts_from_it_or_from_before_it(tmp_path, build, own):
    sizes = ARCHITECTURE | {"max_position_embeddings": 128}
    model = EmbeddedModel(architecture=sizes | {"rope_parameters": dict(YARN)}, **FROM_BYTES).load(None).eval()
    model.save_pretrained(tmp_path)
    if not own:  # the same weights, before they were scaled
        model.model.rotary_emb = EmbeddedModel(architecture=sizes, **FROM_BYTES).load(None).model.rotary_emb
    source = HubModel(name=str(tmp_path), revision="main", dtype="float32", own_scaling=own)
    spec = rope_spec(source.config())
    assert spec.pretrain_length == (128 if own else 32)
    loaded = source.load(None).eval()
    assert rope_spec(loaded.config) == spec
    torch.testing.assert_close(loaded(IDS).logits, model(IDS).logits)
    torch.testing.assert_close(attach(loaded, build("pretrained", spec))(IDS).logits, model(IDS).logits)
