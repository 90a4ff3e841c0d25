"""What a config says must make sense: whole sizes, finite numbers in their range, factor lists of numbers."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict  # that of typing serves pydantic from Python 3.12

from lcx_lightning.schema.files import check_values

SCALINGS = ("rope_scaling", "rope_parameters")
LISTS = ("long_factor", "short_factor")
NEEDED = {"linear": ("factor",), "dynamic": ("factor",), "yarn": ("factor",), "longrope": LISTS}
NEEDED |= {"llama3": ("factor", "high_freq_factor", "low_freq_factor")}  # of a scaling, by its name
ADVICE = "Correct it, or copy the checkpoint again."

Size = Annotated[int, Field(strict=True, ge=1, le=10**9)] | None  # its square is an integer of 64 bits
Count = Annotated[int, Field(strict=True, ge=1, le=10_000)] | None  # of modules, each of which is built
Token = Annotated[int, Field(strict=True)]
Tokens = Token | list[Token] | None
Precision = Annotated[str, Field(strict=True, pattern=r"^(torch\.)?(auto|b?float\d+\w*)$")] | None
Flag = Annotated[bool, Field(strict=True)] | None
FromOne = Annotated[float, Field(strict=True, ge=1)] | None
AboveOne = Annotated[float, Field(strict=True, gt=1)] | None  # or no pair would be slower than another
Positive = Annotated[float, Field(strict=True, gt=0)]
Share = Annotated[float, Field(strict=True, gt=0, le=1)] | None
NotNegative = Annotated[float, Field(strict=True, ge=0)] | None


class Values(TypedDict, total=False):
    """The values that are used, at the top level of a config or in a scaling; null is no value."""

    max_position_embeddings: Size
    original_max_position_embeddings: Size
    max_sequence_length: Size
    vocab_size: Size
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Count
    num_attention_heads: Size
    num_key_value_heads: Size
    num_local_experts: Count
    num_experts_per_tok: Count
    head_dim: Size
    sliding_window: Size
    bos_token_id: Token | None
    eos_token_id: Tokens
    pad_token_id: Token | None
    dtype: Precision
    torch_dtype: Precision
    tie_word_embeddings: Flag
    use_sliding_window: Flag
    factor: FromOne
    rope_theta: AboveOne
    rotary_emb_base: AboveOne
    partial_rotary_factor: Share
    rotary_pct: Share
    low_freq_factor: Positive | None
    high_freq_factor: Positive | None
    attention_factor: Positive | None
    beta_fast: Positive | None
    beta_slow: Positive | None
    mscale: NotNegative
    mscale_all_dim: NotNegative
    rms_norm_eps: NotNegative
    layer_norm_eps: NotNegative
    layer_norm_epsilon: NotNegative
    attention_dropout: NotNegative
    short_factor: Annotated[list[Positive], Field(min_length=1)] | None
    long_factor: Annotated[list[Positive], Field(min_length=1)] | None
    rope_type: str | None
    type: str | None


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
    padding, known = plain.get("pad_token_id"), plain.get("vocab_size")
    if padding is not None and known and not -known <= padding < known:
        raise ValueError(f"pad_token_id in the model's config must be below vocab_size={known}, got {padding}.")


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
    check_values(Values, values, "the model's config", ADVICE)


def _numbers_in(node: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Return every floating-point number in plain data, with the keys that lead to it."""
    if isinstance(node, float):
        yield path, node
    elif isinstance(node, Mapping | list | tuple):
        items = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, value in items:
            yield from _numbers_in(value, f"{path}.{key}" if path else str(key))
