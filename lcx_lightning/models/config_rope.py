"""The rotary embedding of a config.json in one place, where its keys may say one thing in several places.

transformers 5 writes `rope_parameters`; before, `rope_theta` and `partial_rotary_factor` stood beside `rope_scaling`,
the block that model cards tell their readers to add. transformers takes one of two blocks, and forgets the other.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from transformers import CONFIG_MAPPING

from lcx_lightning.models.config_checks import check_blocks, check_stated
from lcx_lightning.models.families import FAMILIES

BLOCKS = ("rope_parameters", "rope_scaling")
NAMES = {  # of a value at the top level of config.json, by its name in rope_parameters
    "rope_theta": ("rope_theta", "rotary_emb_base"),
    "partial_rotary_factor": ("partial_rotary_factor", "rotary_pct", "rope_pct"),
    "original_max_position_embeddings": ("original_max_position_embeddings",),
}
KINDS = ("rope_type", "type")
UNSCALED = (None, "default")
OLD_LONGROPE = ("su", "yarn")  # names of longrope in the first releases of Phi-3; YaRN proper has no lists
CONDENSED = "rope_condense_ratio"  # of longchat-v1, whose code divides the positions by it


def rope_in_one_place(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a config.json, checked, with all that it says of the rotary embedding in `rope_parameters`.

    A scaling in one block is joined with the base in the other. Head sizes and lengths that transformers would lack or
    guess are filled in. The content of other model types is returned as it is.

    Raises:
        ValueError: If two places disagree, a value makes no sense, or a key asks for a rotary embedding that the model
            type has not.
    """
    check_blocks(plain)
    check_stated({key: value for key, value in plain.items() if key not in BLOCKS})
    joined = _in_one_place(plain) if plain.get("model_type") in FAMILIES else dict(plain)
    check_stated(joined)
    return joined


def _in_one_place(plain: Mapping[str, Any]) -> dict[str, Any]:
    kind = plain["model_type"]
    if plain.get(CONDENSED) not in (None, 1):
        raise ValueError(
            f"{CONDENSED}={plain[CONDENSED]} in the config.json is not read by transformers, which would run the model "
            "at other positions. Write rope_scaling: {type: linear, factor: ...} with this number in its place."
        )
    rope = _joined(plain)
    found = {name: _agreed(plain, rope, name) for name in NAMES}
    whole = {key: value for key, value in plain.items() if key not in {*BLOCKS, *_top_names()}}
    rope |= {name: value for name, value in found.items() if value is not None}
    original = found["original_max_position_embeddings"]
    if rope.get("rope_type") in UNSCALED:
        rope.pop("original_max_position_embeddings", None)
    if original is not None and (kind == "phi3" or rope.get("rope_type") in UNSCALED):  # Phi-3 reads the outer one
        whole["original_max_position_embeddings"] = original
    whole |= _filled(plain)
    return whole | ({"rope_parameters": rope} if rope else {})


def _joined(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the two blocks as one, with its type under the key `rope_type`."""
    joined: dict[str, Any] = {}
    for name in BLOCKS:
        block = _block(name, plain.get(name) or {}, plain["model_type"])
        if block and _scaling_of(joined) not in ({}, _scaling_of(block)):
            raise ValueError(_differ("the scaling", f"rope_parameters ({joined})", f"rope_scaling ({block})"))
        for key in ("rope_theta", "partial_rotary_factor"):
            values = [held[key] for held in (joined, block) if held.get(key) is not None]
            if len(values) == 2 and values[0] != values[1]:
                raise ValueError(_differ(key, f"rope_parameters ({values[0]})", f"{name} ({values[1]})"))
        joined |= {key: value for key, value in block.items() if value is not None or key not in joined}
    return joined


def _scaling_of(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a block says of a scaling, nothing if it has none."""
    if block.get("rope_type") in UNSCALED:
        return {}
    return {key: value for key, value in block.items() if key not in ("rope_theta", "partial_rotary_factor")}


def _block(name: str, block: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """Return one block with its type under the key `rope_type`, and longrope under its own name."""
    nested = [key for key, value in block.items() if isinstance(value, Mapping)]
    if nested and block.get("rope_type", block.get("type")) != "clex":
        raise ValueError(
            f"{name} in the config.json has one mapping for each type of layer ({', '.join(nested)}), and models of "
            f"type {model_type} have one rotary embedding. Write its keys directly into {name}."
        )
    kinds = {
        key: "longrope" if block[key] in OLD_LONGROPE and "short_factor" in block else block[key]
        for key in KINDS
        if block.get(key) is not None
    }
    if len(set(kinds.values())) > 1:
        raise ValueError(_differ(f"the type of {name}", *(f"{key} ({value})" for key, value in kinds.items())))
    rest = {key: value for key, value in block.items() if key not in KINDS}
    return rest | ({"rope_type": next(iter(kinds.values()))} if kinds else {})


def _agreed(plain: Mapping[str, Any], rope: Mapping[str, Any], name: str) -> Any:
    """Return a value that the top level and the block may both state, None if neither does."""
    stated = dict(_statements(plain, rope, name))
    places = list(stated)
    for place in places[1:]:
        if stated[place] != stated[places[0]]:
            raise ValueError(
                _differ(name, f"{places[0]} ({stated[places[0]]})", f"{place} ({stated[place]})"),
            )
    return stated[places[0]] if places else None


def _statements(plain: Mapping[str, Any], rope: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    block = next((block for block in BLOCKS if name in (plain.get(block) or {})), BLOCKS[0])
    if rope.get(name) is not None:
        yield f"{block}.{name}", rope[name]
    for key in NAMES[name]:
        if plain.get(key) is not None:
            yield f"{key} at the top level", plain[key]


def _top_names() -> set[str]:
    return {key for names in NAMES.values() for key in names}


def _differ(what: str, one: str, other: str) -> str:
    return f"The config.json states {what} twice, and not alike: {one} and {other}. Keep the one that is right."


def _filled(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that transformers would lack, or take from the class though the file has them by another name."""
    filled: dict[str, Any] = {}
    own = CONFIG_MAPPING[plain["model_type"]]
    if "max_position_embeddings" not in plain:
        reached = plain.get("max_sequence_length")
        filled = {"max_position_embeddings": reached} if reached else {"assumed_length": own.__name__}
    if plain.get("head_dim") is None and getattr(own, "head_dim", 0) is None:  # Mixtral, where YaRN needs it
        width, heads = (plain.get(key) or getattr(own, key) for key in ("hidden_size", "num_attention_heads"))
        filled["head_dim"] = width // heads
    return filled
