"""Files of LongRoPE: the factor lists of a checkpoint, with the factor and the temperature that belong to them."""

import math
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # that of typing serves pydantic from Python 3.12

from lcx_lightning.schema.files import check_values, read_json

ADVICE = "Correct it, or copy the file again."
NESTED = ("rope_parameters", "rope_scaling")  # keys of a config.json: in transformers 5, and before
MSCALES = ("short_mscale", "long_mscale")  # of Phi-3-small and Phi-3.5-MoE: a temperature that changes with the length


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Lists(TypedDict):
    """What stands beside the lists, in the same mapping."""

    short_factor: list[Number]
    long_factor: list[Number]
    factor: NotRequired[Annotated[Number, Field(ge=1)] | None]
    attention_factor: NotRequired[Annotated[Number, Field(ge=1e-6)] | None]


class Lengths(TypedDict, total=False):
    """What stands beside the lists, or at the top level of the file."""

    original_max_position_embeddings: Annotated[Number, Field(ge=2)] | None
    max_position_embeddings: Annotated[Number, Field(ge=2)] | None


class LongRoPEFile(NamedTuple):
    """What a file says of a model that was extended by LongRoPE. None: it does not say it."""

    short: list[float]  # divisors up to the pretraining length, one for each pair
    long: list[float]  # divisors beyond it
    factor: float | None  # target length over pretraining length
    pretrain_length: int | None  # tokens
    attention_factor: float | None  # scale of the rotated features, in place of sqrt(1 + ln(s) / ln(L))

    def check(self, factor: float, pretrain_length: int, path: str) -> None:
        """Raise a ValueError if a method has another factor or pretraining length than the file."""
        if self.pretrain_length not in (None, pretrain_length):
            raise ValueError(
                f"The lists in {path} are for a pretraining length of {self.pretrain_length:,} tokens, and this model "
                f"has L = {pretrain_length:,}. Set model.source.own_scaling=false if it is the same checkpoint."
            )
        if self.factor is not None and not math.isclose(self.factor, factor, rel_tol=1e-4):
            raise ValueError(
                f"The lists in {path} are for a factor of {self.factor:g}, and so is their temperature; got "
                f"factor={factor:g}. Set factor={self.factor:g}."
            )


def read_longrope_file(path: str) -> LongRoPEFile:
    """Return what a JSON file such as a config.json says, with the rules of transformers.

    The factor is `factor` beside the lists, else max_position_embeddings / original_max_position_embeddings.

    Raises:
        ValueError: If the file does not exist, is not JSON, does not contain two lists of numbers, has a value that is
            no number or out of range, or a temperature for each list.
    """
    try:
        outer = read_json(Path(path).expanduser(), ADVICE)
    except OSError as error:
        raise ValueError(f"LongRoPE cannot read its lists from {path}: {error}.") from error
    for mapping in (outer, *(outer.get(key) for key in NESTED)):
        if isinstance(mapping, dict) and all(key in mapping for key in ("short_factor", "long_factor")):
            return _read(mapping, mapping | outer, path)
    raise ValueError(f"LongRoPE needs lists short_factor and long_factor in {path}, or in its {' or '.join(NESTED)}.")


def _read(rope: dict[str, Any], both: dict[str, Any], path: str) -> LongRoPEFile:
    if any(rope.get(key) is not None for key in MSCALES):
        raise ValueError(
            f"{path} has a temperature for each of its lists, {' and '.join(MSCALES)} (Phi-3-small, Phi-3.5-MoE), "
            "which is not supported: remove them to take the formula of LongRoPE."
        )
    check_values(Lists, rope, path, ADVICE)
    check_values(Lengths, both, path, ADVICE)
    short, long = ([float(number) for number in rope[key]] for key in ("short_factor", "long_factor"))
    original, reached = (both.get(key) for key in ("original_max_position_embeddings", "max_position_embeddings"))
    factor = rope.get("factor")
    if factor is None and original and reached:
        factor = reached / original
    return LongRoPEFile(short, long, factor, original and int(original), rope.get("attention_factor"))
