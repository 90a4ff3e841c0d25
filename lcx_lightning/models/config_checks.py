"""What a config says must make sense: whole sizes, finite numbers in their range, factor lists of numbers."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

WHOLE = {  # of at least 1
    "max_position_embeddings",
    "original_max_position_embeddings",
    "max_sequence_length",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "num_local_experts",
    "num_experts_per_tok",
    "head_dim",
    "sliding_window",
}
ABOVE_ONE = {"rope_theta", "rotary_emb_base"}  # or no pair would be slower than another
ABOVE_ZERO = {"partial_rotary_factor", "rotary_pct", "low_freq_factor", "high_freq_factor", "attention_factor"}
ABOVE_ZERO |= {"beta_fast", "beta_slow"}
NOT_NEGATIVE = {"mscale", "mscale_all_dim", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"}
UP_TO_ONE = {"partial_rotary_factor", "rotary_pct"}
LISTS = {"short_factor", "long_factor"}
SCALINGS = ("rope_scaling", "rope_parameters")
NEEDED = {"linear": ("factor",), "dynamic": ("factor",), "yarn": ("factor",), "longrope": tuple(sorted(LISTS))}
NEEDED |= {"llama3": ("factor", "high_freq_factor", "low_freq_factor")}  # of a scaling, by its name


def check_config(plain: Mapping[str, Any]) -> None:
    """Raise a ValueError, with the name of the key, if a config has a value that makes no sense.

    Args:
        plain: Config as plain data: the content of a config.json, or what `config.to_dict()` returns.
    """
    for path, value in _numbers_in(plain):
        if not math.isfinite(value):
            raise ValueError(f"{path} in the model's config must be finite, got {value}.")
    _check_values(plain)
    check_blocks(plain)
    for name in SCALINGS:
        _check_scaling(plain.get(name) or {})


def check_blocks(plain: Mapping[str, Any]) -> None:
    """Raise a ValueError if what a config says of a scaling is no mapping, or its type is no name."""
    for name in SCALINGS:
        scaling = plain.get(name)
        if scaling is not None and not isinstance(scaling, Mapping):
            raise ValueError(f"{name} in the model's config must be a mapping, got {scaling!r}.")
        for kind in ((scaling or {}).get(key) for key in ("rope_type", "type")):
            if kind is not None and not isinstance(kind, str):
                raise ValueError(f"The type of {name} in the model's config must be a name such as yarn, got {kind!r}.")


def check_stated(plain: Mapping[str, Any]) -> None:
    """Raise a ValueError if a config that a user or an author wrote has a value that makes no sense.

    A config object also has defaults of its class, of which not all fit the values that were written.
    """
    check_config(plain)
    heads, groups = plain.get("num_attention_heads"), plain.get("num_key_value_heads")
    if heads and groups and heads % groups:
        raise ValueError(
            f"num_key_value_heads in the model's config must divide num_attention_heads, got {groups} and {heads}."
        )


def _check_scaling(scaling: Mapping[str, Any]) -> None:
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    lacks = [key for key in NEEDED.get(kind or "", ()) if scaling.get(key) is None]
    if kind == "yarn" and "factor" in scaling:  # null: the ratio of its lengths
        lacks = []
    if "rope_theta" in scaling and scaling["rope_theta"] is None:
        lacks.append("rope_theta")
    if lacks:
        raise ValueError(f"The scaling in the model's config is of type {kind} and lacks {' and '.join(lacks)}.")
    _check_values(scaling)
    low, high = scaling.get("low_freq_factor"), scaling.get("high_freq_factor")
    if low is not None and high is not None and low >= high:
        raise ValueError(f"high_freq_factor in the model's config must be above low_freq_factor, got {high} and {low}.")
    slow, fast = scaling.get("beta_slow") or 1, scaling.get("beta_fast") or 32
    if slow >= fast:
        raise ValueError(f"beta_fast in the model's config must be above beta_slow, got {fast} and {slow}.")


def _check_values(values: Mapping[str, Any]) -> None:
    """Raise a ValueError if a value that is known by its key is none that the key can have; None is no value."""
    for key, value in values.items():
        wanted = _wanted(key, value) if value is not None else None
        if wanted:
            raise ValueError(f"{key} in the model's config must be {wanted}, got {value!r}.")


def _wanted(key: str, value: Any) -> str | None:
    """Return what a key must be if the value is something else, or None."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    rules = (
        (key in WHOLE, isinstance(value, int) and number and value >= 1, "a whole number of at least 1"),
        (key == "factor", number and value >= 1, "a number of at least 1"),
        (key in ABOVE_ONE, number and value > 1, "a number above 1"),
        (key in ABOVE_ZERO, number and value > 0, "a number above 0"),
        (key in UP_TO_ONE, number and value <= 1, "a number up to 1"),
        (key in NOT_NEGATIVE, number and value >= 0, "a number of at least 0"),
        (key in LISTS, _is_list(value), "a list of numbers above 0"),
    )
    return next((wanted for asked, holds, wanted in rules if asked and not holds), None)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(number, int | float) and not isinstance(number, bool) and number > 0 for number in value
    )


def _numbers_in(node: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Return every floating-point number in plain data, with the keys that lead to it."""
    if isinstance(node, float):
        yield path, node
    elif isinstance(node, Mapping | list | tuple):
        items = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, value in items:
            yield from _numbers_in(value, f"{path}.{key}" if path else str(key))
