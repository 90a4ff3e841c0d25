"""Files of JSON and YAML: what they must hold, and sentences with file and key or line for what they hold instead."""

from typing import Annotated, NotRequired

import pytest
from pydantic import Field
from typing_extensions import TypedDict

from lcx_lightning.schema.files import check_values, naming, read_json
from lcx_lightning.schema.yaml_files import read_yaml

LAUGHS = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


class Held(TypedDict):
    size: Annotated[int, Field(strict=True, ge=1)]
    share: NotRequired[Annotated[float, Field(strict=True, le=1)] | None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is not JSON: Expecting value"),
        (b"{", "is not JSON: Expecting property name"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "is not JSON: it has the key 'c' twice"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "is not JSON: it is nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON: it has a number of thousands of digits"),
        (b'{"a": "\xff"}', "is not JSON: its byte 7 is not UTF-8"),
        (b"[1]", r"must hold a mapping, got \[1\]"),
    ],
)
def test_a_file_that_holds_no_json_object_is_named_with_the_reason_and_what_to_do(tmp_path, text, said):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/a\.json {said}.*\. Copy it again\.$"):
        read_json(tmp_path / "a.json", "Copy it again.")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "FILE lacks size. Mend it."),
        ({"size": 0}, "size in FILE must be a whole number of at least 1, got 0. Mend it."),
        ({"size": "4"}, "size in FILE must be a whole number of at least 1, got '4'. Mend it."),
        ({"size": True}, "size in FILE must be a whole number of at least 1, got true. Mend it."),
        ({"size": 1, "share": [2]}, "share in FILE must be a number up to 1 or null, got [2]. Mend it."),
    ],
)
def test_a_value_of_another_kind_is_refused_by_file_and_key(content, said):
    check_values(Held, {"size": 1, "share": None, "more": "of any kind"}, "FILE", "Mend it.")
    with pytest.raises(ValueError, match="FILE") as raised:
        check_values(Held, content, "FILE", "Mend it.")
    assert str(raised.value) == said


def test_a_file_is_named_once():
    for said in ("no number", "a.json: no number"):
        with pytest.raises(ValueError, match=r"^a\.json: no number$"), naming("a.json"):
            raise ValueError(said)
    with pytest.raises(ValueError, match=r"^no number$"), naming(""):
        raise ValueError("no number")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "line [0-9]: its aliases, written out, are more than 10,000 values"),
        ("a: &a {b: *a}\n", "line 1: the value is a part of itself, by an alias"),
        ("a: " + "[" * 40 + "]" * 40 + "\n", "it is nested too deeply, in more than 32 levels"),
        ("a: " + "{b: " * 5000 + "}" * 5000 + "\n", "it is nested too deeply"),
        ("a: 1\nb:\n\t- c\n", "no YAML in line 3, column 1: found character '.t' that cannot start any token"),
        ("a: !!python/object/apply:os.mkdir [made]\n", "no YAML in line 1.*python/object"),
        ("a: 1\na: 2\n", "no YAML in line 2.*duplicate key"),
        ("- a\n", r"it must hold a mapping, got \['a'\]"),
        ("a: " + "9" * 5000 + "\n", "it has a number of thousands of digits"),
    ],
)
def test_yaml_that_explodes_or_is_none_is_refused_with_its_line(tmp_path, text, said):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/a\.yaml: {said}.*\.$"):
        read_yaml(tmp_path / "a.yaml")


def test_yaml_with_aliases_and_interpolations_is_read(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a [1, 2]\nb: [*a, *a]\nc: ${factor}\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": [1, 2], "b": [[1, 2], [1, 2]], "c": "${factor}"}
