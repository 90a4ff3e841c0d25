"""The pretraining length L of checkpoints as released, and the sentence that says where it comes from."""

import pytest
from transformers import AutoConfig

from lcx_lightning.models.rope_spec import length_source, rope_spec, without_scaling

HEADS = {"hidden_size": 64, "num_attention_heads": 4}
LLAMA_3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LISTS = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8}

# checkpoint -> family, what its config.json says, L with its scaling, L before it (None: not stated)
RELEASED = {
    "Llama-2-7b": ("llama", {"max_position_embeddings": 4096}, 4096, 4096),
    "CodeLlama-7b": ("llama", {"max_position_embeddings": 16384, "rope_theta": 1e6}, 16384, 16384),
    "Qwen3-8B with the YaRN block of its model card": (
        "qwen3",
        {
            "max_position_embeddings": 40960,
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        },
        131072,
        32768,
    ),
    "Qwen2.5-7B with its YaRN block": (
        "qwen2",
        {
            "max_position_embeddings": 32768,
            "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        },
        131072,
        32768,
    ),
    "Qwen2.5-7B with a YaRN block that states no original length": (
        "qwen2",
        {"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4.0}},
        131072,
        32768,
    ),
    "Yarn-Mistral-7b-128k": (
        "mistral",
        {
            "max_position_embeddings": 32768,
            "sliding_window": 131072,
            "rope_scaling": {
                "type": "yarn",
                "factor": 16.0,
                "original_max_position_embeddings": 8192,
                "finetuned": True,
            },
        },
        131072,
        8192,
    ),
    "Yarn-Llama-2-7b-64k": (
        "llama",
        {
            "max_position_embeddings": 65536,
            "rope_scaling": {"type": "yarn", "factor": 16.0, "original_max_position_embeddings": 4096},
        },
        65536,
        4096,
    ),
    "a Llama with the YaRN block of DeepSeek-V2": (
        "llama",
        {
            "max_position_embeddings": 163840,
            "rope_scaling": {
                "type": "yarn",
                "factor": 40,
                "original_max_position_embeddings": 4096,
                "mscale": 0.707,
                "mscale_all_dim": 0.707,
                "beta_fast": 32,
                "beta_slow": 1,
            },
        },
        163840,
        4096,
    ),
    "vicuna-7b-v1.5-16k": (
        "llama",
        {
            "max_position_embeddings": 4096,
            "max_sequence_length": 16384,
            "rope_scaling": {"type": "linear", "factor": 4.0},
        },
        16384,
        4096,
    ),
    "longchat-7b-v1.5-32k": (
        "llama",
        {
            "max_position_embeddings": 4096,
            "max_sequence_length": 32768,
            "rope_scaling": {"type": "linear", "factor": 8.0},
        },
        32768,
        4096,
    ),
    "LLaMA-2-7B-32K": (
        "llama",
        {"max_position_embeddings": 32768, "rope_scaling": {"type": "linear", "factor": 8.0}},
        32768,
        None,
    ),
    "a linear scaling that states its original length": (
        "llama",
        {
            "max_position_embeddings": 4096,
            "rope_scaling": {"type": "linear", "factor": 8.0, "original_max_position_embeddings": 4096},
        },
        32768,
        4096,
    ),
    "Llama-3.1-8B": (
        "llama",
        {
            "max_position_embeddings": 131072,
            "rope_scaling": LLAMA_3 | {"factor": 8.0, "original_max_position_embeddings": 8192},
        },
        131072,
        8192,
    ),
    "Llama-3.2-1B, whose factor is not that of its lengths": (
        "llama",
        {
            "max_position_embeddings": 131072,
            "rope_scaling": LLAMA_3 | {"factor": 32.0, "original_max_position_embeddings": 8192},
        },
        131072,
        8192,
    ),
    "Phi-4-mini exported with one list": (
        "phi3",
        {
            "max_position_embeddings": 131072,
            "original_max_position_embeddings": 4096,
            "pad_token_id": 0,
            "rope_scaling": {"type": "longrope", "short_factor": [2.0] * 8, "long_factor": [2.0] * 8},
        },
        131072,
        4096,
    ),
}


@pytest.fixture(params=RELEASED)
def released(request):
    family, stated, length, original = RELEASED[request.param]
    plain = {name: dict(value) if isinstance(value, dict) else value for name, value in stated.items()}
    return AutoConfig.for_model(family, **HEADS, **plain), length, original


def test_a_released_checkpoint_has_the_length_that_its_authors_say(released):
    config, length, _ = released
    assert rope_spec(config).pretrain_length == length
    assert length_source(config).startswith(f"L = {length:,} tokens: ")


def test_without_its_scaling_a_released_checkpoint_has_its_original_length(released):
    config, _, original = released
    if original is None:
        with pytest.raises(ValueError, match="does not state its original length"):
            without_scaling(config)
        return
    plain = without_scaling(config)
    assert rope_spec(plain).pretrain_length == original
    assert length_source(plain).startswith(f"L = {original:,} tokens: ")


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_a_dynamic_or_two_list_checkpoint_has_its_original_length_alone(family):
    """InternLM states 32,768 and a dynamic factor of 2; Phi-3-mini-128k states both of its lengths."""
    rope = {"llama": {"type": "dynamic", "factor": 2.0}, "phi3": LISTS | {"type": "longrope"}}[family]
    sizes = {"max_position_embeddings": 32768, "pad_token_id": 0}
    if family == "phi3":
        sizes = {"max_position_embeddings": 131072, "original_max_position_embeddings": 4096, "pad_token_id": 0}
    config = AutoConfig.for_model(family, **HEADS, **sizes, rope_scaling=rope)
    assert rope_spec(without_scaling(config)).pretrain_length == {"llama": 32768, "phi3": 4096}[family]


@pytest.mark.parametrize(
    ("stated", "rope", "said"),
    [
        ({}, None, "max_position_embeddings of the config"),
        (
            {},
            {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 3072},
            "factor 4 x original 3,072 (max_position_embeddings says 4,096)",
        ),
        (
            {"max_sequence_length": 16384},
            {"type": "linear", "factor": 4.0},
            "max_sequence_length of the config (max_position_embeddings says 4,096)",
        ),
        ({}, {"type": "linear", "factor": 4.0}, "assumed to be the length that its linear scaling reaches"),
        (
            {},
            LLAMA_3 | {"factor": 32.0, "original_max_position_embeddings": 256},
            "max_position_embeddings of the config, 16 x original 256",
        ),
    ],
    ids=["default", "yarn", "vicuna", "assumed", "llama3"],
)
def test_the_source_of_the_length_is_said_in_one_sentence(stated, rope, said):
    sizes = {"max_position_embeddings": 4096} | stated | ({"rope_scaling": rope} if rope else {})
    assert said in length_source(AutoConfig.for_model("llama", **HEADS, **sizes))


def test_the_sentence_names_the_scaling_that_was_left_out():
    rope = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    config = AutoConfig.for_model("llama", **HEADS, max_position_embeddings=4096, rope_scaling=rope)
    assert length_source(without_scaling(config)) == (
        "L = 1,024 tokens: original length of the checkpoint, whose scaling 'yarn' is left out."
    )
