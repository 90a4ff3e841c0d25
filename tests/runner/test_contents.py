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
        "alone.py": "import helpers\nimport torch.nn\nimport json\n",
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


def test_own_code_is_its_folder_and_what_is_imported_and_not_installed(mine):
    files = {path.relative_to(mine).as_posix() for path in own_modules("mine.slower").values()}
    assert files == {path.relative_to(mine).as_posix() for path in mine.rglob("*.py")} - {"alone.py"}
    assert set(own_modules("alone")) == {"alone", "helpers"}


@pytest.mark.parametrize("file", ["mine/slower.py", "mine/deep/constant.py", "mine/deep/__init__.py", "helpers.py"])
def test_a_change_of_own_code_changes_the_contents(file, mine):
    config = {"scaling": {"_target_": "mine.slower.Slower", "of": [{"_target_": "lcx_lightning.scaling.YaRN"}]}}
    before = contents_in(config)
    (mine / file).write_text((mine / file).read_text() + "# another\n")
    assert contents_in(config) != before
    assert not contents_in(config["scaling"]["of"])


def test_a_link_to_a_file_elsewhere_is_own_code(mine, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "linked.py"
    elsewhere.write_text("VALUE = 1\n")
    (mine / "mine" / "link.py").symlink_to(elsewhere)
    before = contents_in({"_target_": "mine.link.Class"})
    elsewhere.write_text("VALUE = 2\n")
    assert contents_in({"_target_": "mine.link.Class"}) != before


def test_own_code_that_is_no_python_is_named(mine):
    (mine / "mine" / "other.py").write_text("def broken(:\n")
    with pytest.raises(ValueError, match=r"other\.py cannot be read as Python: invalid syntax"):
        contents_in({"_target_": "mine.slower.Slower"})


@pytest.mark.parametrize("text", ["~~~ {context}", "~nobody/x", "\0", "x" * 5000])
def test_texts_that_are_no_paths_name_no_files(text):
    assert not contents_in({"prompt": text, "path": text})
