"""Sizes of the tiny models, and what shows the peculiarity of a family at these."""

TINY = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "sliding_window": None,
    "initializer_range": 0.1,  # at the usual 0.02 attention is nearly flat, and no logit would show a wrong rotation
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
OWN = {  # what shows the peculiarity of a family at this size
    "cohere": {"logit_scale": 1.0},
    "gemma": {"head_dim": 16},
    "glm": {"head_dim": 16},
    "mixtral": {"num_local_experts": 4},
    "qwen3": {"head_dim": 16},
    "smollm3": {"no_rope_layers": [1, 0]},
}
