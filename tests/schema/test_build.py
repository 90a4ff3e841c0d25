"""A description becomes the object that it names; whatever is wrong with it is said with its key."""

import sys
from collections.abc import Mapping

import pytest
from omegaconf import OmegaConf
from pydantic import PositiveInt

from lcx_lightning.schema.build import build, check
from lcx_lightning.schema.checked import SettingError, checked


class Inner:
    """A part."""

    @checked
    def __init__(self, *, size: PositiveInt, sizes: Mapping[str, int] | None = None):
        self.size = size
        if sizes is not None:
            Inner(**sizes)


class Outer:
    """A whole."""

    def __init__(self, inner: Inner, *, times: PositiveInt = 1, given: str = ""):
        if times == 13:
            raise ValueError("Thirteen times is too often.")
        if times == 14:
            raise KeyError("lost")
        self.inner, self.times, self.given = inner, times, given


@pytest.fixture(autouse=True)
def module(monkeypatch):
    """The classes above as a module that a configuration can name."""
    monkeypatch.setitem(sys.modules, "mine", sys.modules[__name__])


INNER = {"_target_": "mine.Inner", "size": 2}


def test_objects_are_built_from_the_inside_out():
    outer = build(OmegaConf.create({"n": 3, "x": {"_target_": "mine.Outer", "inner": INNER, "times": "${n}"}}).x, "x")
    assert (outer.inner.size, outer.times) == (2, 3)
    assert build({"a": [INNER, 5]}, "x")["a"][0].size == 2
    partial = build({"_target_": "mine.Outer", "_partial_": True, "times": 4}, "x")
    assert partial(inner=Inner(size=1)).times == 4
    assert build({"_target_": "mine.Outer", "inner": INNER}, "x", given="later").given == "later"


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"_target_": "mine.Outer", "inner": INNER | {"size": 0}}, "x.inner.size must be a whole number of at least 1"),
        ({"_target_": "mine.Outer", "inner": [INNER]}, "x.inner must be a Inner, got"),
        ({"_target_": "mine.Outer", "inner": INNER, "tims": 2}, "x has no 'tims'. Did you mean x.times?"),
        ({"_target_": "mine.Outer"}, "A value is needed: x.inner"),
        ({"_target_": "mine.Outer", "inner": INNER, "times": 13}, "x: Thirteen times is too often."),
        ({"_target_": "mine.Outer", "inner": INNER, "times": 14}, "x: KeyError: 'lost'."),
        ({"_target_": "mine.Outer", "inner": INNER | {"sizes": {"size": -1}}}, "x.inner.size must be a whole number"),
        ({"_target_": "mine.Otter"}, "x._target_: mine.Otter cannot be imported"),
        ({"_target_": "nowhere.Outer"}, "x._target_: nowhere.Outer cannot be imported"),
        ({"_target_": 5}, "x._target_: 5 cannot be imported"),
        ({"_target_": "mine.INNER"}, "x._target_ must name a class or a function, got mine.INNER"),
        ({"_target_": "mine.Outer", "_partial_": "yes"}, "x._partial_ must be true or false"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(node, said):
    with pytest.raises(SettingError) as refusal:
        build(node, "x")
    assert said in str(refusal.value)


def test_a_check_builds_nothing_and_finds_the_same_kinds():
    check({"_target_": "mine.Outer", "inner": INNER, "times": 13}, "x")  # known only when it is built
    check({"_target_": "mine.Outer", "times": 2}, "x", ("inner",))
    with pytest.raises(SettingError, match=r"x\.inner\.size must be"):
        check({"_target_": "mine.Outer", "inner": INNER | {"size": "two"}}, "x")


def test_an_import_that_fails_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "broken_part.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingError, match=r"broken_part\.Thing cannot be imported: ZeroDivisionError"):
        build({"_target_": "broken_part.Thing"}, "x")
