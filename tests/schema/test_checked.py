"""Annotations are checks: what they allow is taken, all else is refused by its whole key, and names are corrected."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from lcx_lightning.schema.checked import SettingError, check_fields, checked, checked_arguments, section
from lcx_lightning.schema.kinds import LARGEST, Factor, LargeNumber, Share, allowed_values

if TYPE_CHECKING:
    from fractions import Fraction


@checked
def example(
    anything: "Fraction",  # known to type checkers alone
    *,
    window: PositiveInt,
    sinks: NonNegativeInt = 0,
    factor: Factor = 2,
    share: Share | None = None,
    inner: Annotated[float, Gt(0), Lt(1)] = 0.5,
    multiples: Annotated[Sequence[PositiveFloat], MinLen(1)] = (1,),
    mode: Literal["packed", "masked"] = "packed",
    on: bool = True,
    text: str | None = None,
    sizes: Mapping[str, PositiveInt] | None = None,
    bounded: Annotated[int, Ge(2), Le(10)] = 2,
    field: Annotated[float, Field(gt=0)] = 1.0,
    peak: LargeNumber = 1e15,
):
    """Return all arguments but the first."""
    return {name: value for name, value in locals().items() if name != "anything"}


REFUSED = {
    "window": ("a whole number of at least 1", ["4", 0, -1, 2.5, True, None, math.nan, math.inf, [4], 10**400, 1j]),
    "sinks": ("a whole number of at least 0", [-1, "0", False]),
    "factor": ("a number of at least 1", ["two", 0.5, math.nan, -math.inf, True, LARGEST * 10, {}]),
    "share": ("a number of at least 0 and up to 1 or null", [1.5, -0.1, "half"]),
    "inner": ("a number above 0 and below 1", [0, 1, "0.5"]),
    "multiples": ("a list, not empty, of numbers above 0", [4, [], ["a"], [0], [1, None], "12", {"a": 1}]),
    "mode": ("packed or masked", ["pack", None, 1, ["packed"]]),
    "on": ("true or false", ["false", 1, 0, None, "yes"]),
    "text": ("a text or null", [5, True, ["a"]]),
    "sizes": (
        "a mapping or null",
        [
            5,
            ["a"],
        ],
    ),
    "bounded": ("a whole number of at least 2 and up to 10", [1, 11]),
    "field": ("a number above 0", [0, "1"]),
    "peak": ("a number above 0", [0, math.inf, "fast"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_annotation_does_not_allow_is_refused_by_its_whole_key(name):
    allowed, values = REFUSED[name]
    for value in values:
        with pytest.raises(SettingError) as refusal:
            checked_arguments(example, {"anything": 1, "window": 4, name: value}, "method.pattern")
        assert str(refusal.value).startswith(f"method.pattern.{name} must be {allowed}, got ")
        with pytest.raises(SettingError, match=f"^{name} must be "):
            example(1, **{"window": 4, name: value})


def test_what_an_annotation_allows_comes_as_its_kind():
    found = example(1, window=4.0, factor=np.float32(1.5), multiples=[1, 2.5], sizes={"a": np.int64(3)}, peak=10**18)
    assert [type(found["window"]), type(found["factor"]), type(found["sizes"]["a"])] == [int, float, int]
    assert found["window"], found["factor"] == (4, 1.5)
    assert found["multiples"] == [1, 2.5]
    assert isinstance(found["multiples"][0], int)  # a whole number stays one


def test_an_unknown_name_is_answered_with_near_ones():
    with pytest.raises(SettingError, match=r"^method\.pattern has no 'windo'\. Did you mean method\.pattern\.window\?"):
        checked_arguments(example, {"windo": 4}, "method.pattern")
    with pytest.raises(SettingError, match=r"^a has no 'zzz'\. There are anything, window, sinks"):
        checked_arguments(example, {"zzz": 4}, "a")
    with pytest.raises(SettingError, match=r"mode must be packed or masked, got 'packd'\. Did you mean packed\?"):
        example(1, window=4, mode="packd")


def test_a_missing_value_is_named_with_what_is_allowed():
    with pytest.raises(SettingError, match=r"^A value is needed: a\.window, a whole number of at least 1\.$"):
        checked_arguments(example, {"anything": 1}, "a")
    assert checked_arguments(example, {"window": 1}, "a", given_later=("anything",)) == {"window": 1}


def test_a_section_is_made_of_a_mapping():
    @dataclass(frozen=True)
    class Size:
        width: PositiveInt

    assert section(Size, {"width": 3.0}, "size") == Size(3)
    with pytest.raises(SettingError, match=r"size\.width must be a whole number"):
        section(Size, {"width": "3"}, "size")
    with pytest.raises(SettingError, match="width must be a whole number"):
        check_fields(Size("3"))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Any, "anything"),
        (list[str], "a list of texts"),
        (Sequence[Share], "a list of numbers of at least 0 and up to 1"),
        (list[Literal["a", "b"]], "a list with a or b in each place"),
        (tuple[float, ...], "a list of numbers"),
        (tuple[Share, Share], "a list of 2 numbers of at least 0 and up to 1"),
        (dict[str, int], "a mapping"),
        (Annotated[Mapping[str, int], MinLen(1)] | None, "a mapping, not empty or null"),
        (int | str | None, "a whole number, a text or null"),
    ],
)
def test_words_of_an_annotation(annotation, words):
    assert allowed_values(annotation) == words


def test_a_long_value_is_shortened():
    with pytest.raises(SettingError) as refusal:
        example(1, window="x" * 1000)
    assert len(str(refusal.value)) < 200
