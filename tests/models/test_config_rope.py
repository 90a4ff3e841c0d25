"""The rotary embedding of a config.json whose keys stand in several places, old and new."""

import json
from typing import Any

import pytest
from support.lab import save_checkpoint
from transformers import AutoConfig, AutoModelForCausalLM

from lcx_lightning.models.families import FAMILIES
from lcx_lightning.models.rope_spec import length_source, rope_spec
from lcx_lightning.models.sources import HubModel, skeleton

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
OUTER = "original_max_position_embeddings"
PARAMETERS = {"rope_type": "default", "rope_theta": 5e5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("model"), pad_token_id=0)


@pytest.fixture(scope="module")
def write(folder):
    """Function that writes a config.json, and returns the source of its checkpoint."""
    held = json.loads((folder / "config.json").read_text())
    del held["rope_parameters"]

    def write(family="llama", own_scaling=True, **values):
        (folder / "config.json").write_text(json.dumps({**held, "model_type": family, **values}))
        return HubModel(name=str(folder), revision="main", dtype="float32", own_scaling=own_scaling)

    return write


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt_neox", "mixtral"])
@pytest.mark.parametrize("scaling", [YARN, {"type": "linear", "factor": 4.0}, YARN | {"rope_theta": 5e5}])
def test_a_block_of_a_model_card_keeps_the_base_of_a_file_saved_by_transformers_5(write, family, scaling):
    """The frequencies are those that transformers has with the base written into the block."""
    found = rope_spec(write(family, rope_parameters=PARAMETERS, rope_scaling=scaling).config())
    assert found.base == 5e5
    assert found == rope_spec(write(family, rope_theta=5e5, rope_scaling=scaling).config())
    config = AutoConfig.for_model(family, **SIZES, rope_parameters={"rope_theta": 5e5} | scaling)
    if family == "llama":
        assert found.inv_freq().equal(AutoModelForCausalLM.from_config(config).model.rotary_emb.inv_freq)


SIZES = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 9}


@pytest.mark.parametrize("stated", [{"rope_theta": 5e5}, {"rope_scaling": None}, {"rope_scaling": {"rope_theta": 5e5}}])
def test_places_that_agree_are_read(write, stated):
    assert rope_spec(write(rope_parameters=PARAMETERS, **stated).config()).base == 5e5


@pytest.mark.parametrize(
    ("family", "stated", "said"),
    [
        ("llama", {"rope_theta": 1e6}, "rope_theta twice.*rope_parameters.rope_theta.*rope_theta at the top level"),
        ("gpt_neox", {"rotary_emb_base": 1e6}, "rope_theta twice.*rope_parameters.*rotary_emb_base at the top"),
        ("gpt_neox", {"rotary_pct": 0.5, "partial_rotary_factor": 1.0}, "partial_rotary_factor .*rotary_pct"),
        ("llama", {"rope_scaling": YARN | {"rope_theta": 1e6}}, "rope_theta twice.*rope_parameters.*rope_scaling"),
        ("llama", {"rope_scaling": YARN | {"type": "linear"}}, "type of rope_scaling twice.*rope_type.*type"),
        (
            "llama",
            {"rope_scaling": YARN, "original_max_position_embeddings": 16},
            "original_max_position_embeddings twice.*rope_scaling.* at the top level",
        ),
    ],
)
def test_places_that_disagree_are_refused_by_name(write, family, stated, said):
    with pytest.raises(ValueError, match=rf"{said}.*Keep the one that is right\."):
        write(family, rope_parameters=PARAMETERS, **stated).config()


def test_two_scalings_are_refused(write):
    with pytest.raises(ValueError, match=r"the scaling twice.*rope_parameters.*rope_scaling"):
        write(rope_parameters=PARAMETERS | YARN, rope_scaling=YARN | {"factor": 2.0}).config()


def test_keys_of_old_gpt_neox_are_read(write):
    spec = rope_spec(write("gpt_neox", rotary_pct=0.5, rotary_emb_base=5e4).config())
    assert (spec.base, spec.dim) == (5e4, 4)


def test_a_released_clex_keeps_the_base_of_rope_parameters(write):
    clex = {"type": "clex", "max_factor": 16, "param_factor": 2, "act": "tanh"}
    assert rope_spec(write(rope_parameters=PARAMETERS, rope_scaling=clex).config()).base == 5e5


@pytest.mark.parametrize("family", ["qwen2", "smollm3", "llama"])
def test_a_rotary_embedding_for_each_type_of_layer_is_refused(write, family):
    rope = {"full_attention": PARAMETERS, "sliding_attention": PARAMETERS}
    with pytest.raises(ValueError, match=rf"one mapping for each type of layer.* type {family} have one"):
        write(family, rope_parameters=rope).config()


def test_a_mixtral_with_yarn_needs_no_head_size(write):
    spec = rope_spec(write("mixtral", rope_theta=1e4, rope_scaling=YARN, head_dim=None).config())
    assert spec.dim == 8
    assert skeleton(write("mixtral", rope_theta=1e4, rope_scaling=YARN).config())


# Lengths

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
DUAL = {"chunk_size": 8, "local_size": 4, "original_max_position_embeddings": 32}


@pytest.mark.parametrize(
    ("values", "length", "original"),
    [
        ({"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 64}}, 64, None),
        ({"rope_scaling": LLAMA3}, 64, None),
        ({"rope_scaling": YARN | {OUTER: None}, OUTER: 16}, 64, 16),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}, OUTER: 64}, 256, 64),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}, "max_sequence_length": 16}, 64, None),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}, "max_sequence_length": 64}, 64, 16),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}, OUTER: 32}, None, 32),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0, OUTER: 32}}, None, 32),
        ({"dual_chunk_attention_config": DUAL}, 32, 32),
    ],
)
def test_the_length_is_that_of_the_file(write, values, length, original):
    """With the scaling and without it; None: refused."""
    for own_scaling, expected in ((True, length), (False, original)):
        if expected is None:
            with pytest.raises(ValueError, match=r"does not state its original length|change with the length"):
                rope_spec(write(own_scaling=own_scaling, rope_theta=1e4, **values).config())
            continue
        config = write(own_scaling=own_scaling, rope_theta=1e4, **values).config()
        assert rope_spec(config).pretrain_length == expected
        assert length_source(config).startswith(f"L = {expected} tokens: ")


def test_a_dual_chunk_attention_without_a_length_is_refused(write):
    with pytest.raises(ValueError, match=r"dual_chunk_attention_config, an attention that transformers has not"):
        rope_spec(write(rope_theta=1e4, dual_chunk_attention_config={"chunk_size": 8}).config())


def test_a_length_that_the_file_does_not_state_is_said_to_be_the_default(folder, write):
    write(rope_theta=1e4)
    held = json.loads((folder / "config.json").read_text())
    del held["max_position_embeddings"]
    hub = HubModel(name=str(folder), revision="main", dtype="float32", own_scaling=True)
    (folder / "config.json").write_text(json.dumps(held | {"model_type": "mistral"}))
    assert length_source(hub.config()) == (
        "L = 131,072 tokens: default of MistralConfig, as the config.json states no max_position_embeddings."
    )
    (folder / "config.json").write_text(json.dumps(held | {"model_type": "llama", "max_sequence_length": 128}))
    assert rope_spec(hub.config()).pretrain_length == 128


# Rotated part of a head


@pytest.mark.parametrize("family", FAMILIES)
def test_a_part_of_the_head_is_rotated_where_the_stock_code_does(write, family):
    """The number of frequencies in the model is the oracle: the code of most families ignores the key."""
    source = write(family, rope_theta=1e4, partial_rotary_factor=0.5, num_local_experts=2)
    stock: Any = skeleton(source.config())
    rotated = 2 * len(stock.base_model.rotary_emb.inv_freq)
    if FAMILIES[family].partly_rotated:
        assert rope_spec(source.config()).dim == rotated == source.config().head_dim // 2
        return
    assert rotated == source.config().head_dim
    with pytest.raises(ValueError, match=rf"partial_rotary_factor=0\.5 .*no meaning for models of type {family}"):
        rope_spec(source.config())
