"""Configurations name public classes, and those of the user's own module; any other class is refused by name."""

import re

import pytest
from omegaconf import OmegaConf
from support.lab import ROOT

from lcx_lightning.methods.library import METHODS, build_method, read_method
from lcx_lightning.models.attach import attach
from lcx_lightning.schema.targets import check_targets, is_public

FILES = [*sorted(METHODS.glob("*.yaml")), *sorted((ROOT / "experiments" / "configs").rglob("*.yaml"))]
OTHERS = [
    "os.system",
    "builtins.eval",
    "torch.nn.Tanh",
    "lcx_lightning.methods.scaling.yarn.YaRN",  # where the file is
    "lcx_lightning.scaling.Absent",
    "lcx_lightning.absent.YaRN",
    "lcx_lightning.scaling",
    "YaRN",
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_of_the_package_names_public_classes_alone(path):
    targets = re.findall(r"_target_: *([\w.]+)", path.read_text())
    assert [target for target in targets if not is_public(target)] == []


@pytest.mark.parametrize("target", OTHERS)
def test_another_class_is_refused_by_its_name_wherever_it_stands(target):
    beside = [{"_target_": "lcx_lightning.scaling.YaRN"}, {"_target_": target}]
    for config in ({"a": {"_target_": target}}, {"a": {"b": beside}}):
        with pytest.raises(ValueError, match=rf"^_target_: {target} is not a public name of lcx_lightning"):
            check_targets(OmegaConf.create(config))


def test_a_class_of_the_users_own_module_is_allowed_and_one_of_another_module_is_not():
    config = OmegaConf.create({"scaling": {"_target_": "mine.slower.Slower"}})
    check_targets(config, ["mine"])
    with pytest.raises(ValueError, match=r"mine\.slower\.Slower"):
        check_targets(config, ["other", "min"])


def test_a_method_file_that_names_a_function_of_the_system_is_refused_before_it_is_called(tmp_path):
    path, witness = tmp_path / "method.yaml", tmp_path / "witness"
    path.write_text(f"scaling: {{_target_: os.system, command: 'touch {witness}'}}\n")
    with pytest.raises(ValueError, match=r"_target_: os\.system is not a public name"):
        read_method(str(path))
    assert not witness.exists()


@pytest.mark.parametrize(
    "values",
    [
        lambda call: {"factor": 4, "pattern": call},
        lambda call: {"factor": call},
        lambda call: {"factor": 4, "slope": {"a": [{"b": call}]}},
        lambda call: {"factor": "${oc.create:{_target_:" + call["_target_"] + ",command:'" + call["command"] + "'}}"},
    ],
    ids=["part", "open value", "deep inside", "resolved"],
)
def test_a_value_from_python_that_names_a_function_of_the_system_is_refused_before_it_is_called(tiny, tmp_path, values):
    witness = tmp_path / "witness"
    with pytest.raises(ValueError, match=r"_target_: os\.system is not a public name"):
        attach(tiny(), "yarn", **values({"_target_": "os.system", "command": f"touch {witness}"}))
    assert not witness.exists()


def test_a_method_is_built_from_public_classes_and_those_of_the_modules_that_are_given(spec):
    method = read_method("pretrained")
    method.pattern = {"_target_": "support.method_parts.Nothing"}
    with pytest.raises(ValueError, match=r"support\.method_parts\.Nothing is not a public name"):
        build_method(method, spec)
    with pytest.raises(ValueError, match=r"support\.method_parts\.Nothing cannot be imported"):
        build_method(method, spec, ["support"])


def test_a_folder_with_the_name_of_a_module_of_python_opens_no_road_to_it(tmp_path):
    folder = tmp_path / "os"
    folder.mkdir()
    (folder / "mine.yaml").write_text("scaling: {_target_: os.system, command: 'true'}\n")
    with pytest.raises(ValueError, match=r"_target_: os\.system is not a public name"):
        read_method(str(folder / "mine.yaml"))


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("lcx_lightning.scaling.YaRNN", " Did you mean lcx_lightning.scaling.YaRN?"),
        ("lcx_lightning.evaluation.Growingcontext", " Did you mean lcx_lightning.evaluation.GrowingContext?"),
        ("lcx_lightning.nothing.YaRN", r"lcx_lightning\. Name one"),
        ("os.system", r"lcx_lightning\. Name one"),
    ],
)
def test_a_class_name_that_is_like_a_public_one_is_answered_with_it(target, meant):
    with pytest.raises(ValueError, match=rf"_target_: {re.escape(target)} is not a public name of .*{meant}"):
        check_targets({"a": {"_target_": target}})
