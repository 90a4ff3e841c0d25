"""The source code of an installed package: one text for everybody, and no other under its name."""

from importlib.metadata import version

import pytest
from omegaconf import OmegaConf
from support.made import made
from support.text_corpora import CONFIGS

from lcx_lightning.data.corpora.base import SPLITS
from lcx_lightning.data.corpora.package_sources import PackageSources


@pytest.fixture(scope="module")
def sympy():
    return made(OmegaConf.load(CONFIGS / "sympy.yaml").corpus)


def package(**changes):
    given = {"package": "annotated-types", "version": None, "text": None, "excluded": []}
    return PackageSources(**{**given, "validation_share": 0.1, "test_share": 0.2, "seed": 0, **changes})


def test_the_text_of_the_laboratory_is_the_same_everywhere(sympy):
    """So its identity, which is in the keys of all that is made of it, stands here."""
    assert sympy.identity() == "2e1a2874d8fe5f5c"
    assert {split: len(sympy.documents(split)) for split in SPLITS} == {"train": 560, "validation": 81, "test": 176}


def test_no_file_is_in_two_splits_and_none_is_a_test_or_a_table(sympy):
    names = [document.name for split in SPLITS for document in sympy.documents(split)]
    assert len(names) == len(set(names))
    assert "core/expr.py" in names
    assert not any(part in name for name in names for part in ("tests/", "benchmarks/", "_antlr/"))


def test_the_splits_are_large_enough_to_train_and_to_evaluate_on(sympy):
    long = {split: sum(len(document.text) >= 30_000 for document in sympy.documents(split)) for split in SPLITS}
    assert long["test"] >= 30
    assert long["validation"] >= 10
    assert sympy.report()["train"]["bytes"] > 8_000_000


def test_another_version_is_refused_with_both_and_what_to_do():
    there = version("annotated-types")
    with pytest.raises(ValueError, match=rf"0\.0\.1, and annotated-types {there} is installed") as refusal:
        package(version="0.0.1").documents("train")
    assert "numbers on the two cannot be compared" in str(refusal.value)
    assert "pip install annotated-types==0.0.1" in str(refusal.value)
    assert package(version=there).documents("train") == package().documents("train")


def test_a_text_that_was_changed_is_refused_with_its_hash():
    with pytest.raises(ValueError, match=r"their text has the hash [0-9a-f]{16}, and 0123 was expected"):
        package(text="0123").documents("train")


def test_a_package_that_is_not_there_or_has_no_source_is_named():
    with pytest.raises(ValueError, match="the source code of not-there, which is not installed: pip install not-there"):
        package(package="not-there").documents("train")
    with pytest.raises(ValueError, match="holds none"):
        package(excluded=["__init__.py", "test_cases.py"]).documents("train")
