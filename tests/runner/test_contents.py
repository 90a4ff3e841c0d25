"""What a configuration names is hashed: files, folders of examples, and the code of the user's own classes."""

import sys

import pytest

from lcx_lightning.runner.contents import contents_in, own_modules


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder of the user's own: two methods, one of which imports a module beside it, and a package inside."""
    files = {
        "mine/slower.py": "import torch\nfrom mine.shared import SLOPE\n\nclass Slower: ...\n",
        "mine/shared.py": "from .deep import constant\nSLOPE = 2\n",
        "mine/deep/__init__.py": "from .constant import VALUE\n",
        "mine/deep/constant.py": "VALUE = 1\n",
        "mine/other.py": "class Other: ...\n",
        "helpers.py": "def half(x): return x / 2\n",
        "mine/late.py": "def build():\n    import helpers\n    return helpers\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] in ("mine", "helpers")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["path", "data_files"])
def test_files_and_folders_of_examples_are_hashed_and_prompts_are_no_files(name, tmp_path):
    file, found = tmp_path / "folder" / "examples.jsonl", []
    file.parent.mkdir()
    for text in ("a", "b"):
        file.write_text(text)
        source = {name: str(file.parent) if name == "path" else {"test": [str(file)]}}
        found.append(contents_in({"tasks": {"source": source, "prompt": f"Read. {'long ' * 900}/", "null": "\0"}}))
    assert found[0].keys() == found[1].keys() == {str(file)}
    assert found[0] != found[1]


def test_a_folder_is_read_only_where_a_source_may_name_one(tmp_path):
    (tmp_path / "file").write_text("x")
    assert not contents_in({"results_dir": str(tmp_path)})


def test_own_code_is_the_module_and_what_it_imports_from_beside_it(mine):
    assert set(own_modules("mine.slower")) == {"mine.slower", "mine.shared", "mine.deep", "mine.deep.constant"}
    assert set(own_modules("mine.late")) == {"mine.late", "helpers"}
    assert set(own_modules("mine.other")) == {"mine.other"}


@pytest.mark.parametrize("file", ["mine/slower.py", "mine/shared.py", "mine/deep/constant.py", "mine/deep/__init__.py"])
def test_a_change_of_own_code_changes_the_contents(file, mine):
    config = {"scaling": {"_target_": "mine.slower.Slower", "of": [{"_target_": "lcx_lightning.scaling.YaRN"}]}}
    before = contents_in(config)
    (mine / file).write_text((mine / file).read_text() + "# another\n")
    assert contents_in(config) != before
    assert not contents_in(config["scaling"]["of"])


def test_code_that_a_class_does_not_import_changes_nothing(mine):
    config = {"_target_": "mine.slower.Slower"}
    before = contents_in(config)
    (mine / "mine/other.py").write_text("changed = True\n")
    assert contents_in(config) == before
