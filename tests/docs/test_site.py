"""The documentation is true: its commands compose, its tables and drawings come from what there is."""

import re
import shlex
from xml.etree import ElementTree

import pytest
from generators.drawings import frequencies_svg, mask_svg
from generators.method_pages import FRAGMENTS, method_page
from generators.reference import PACKAGES, reference_page
from generators.tables import (
    benchmarks_table,
    choices_table,
    data_table,
    described,
    evaluations_table,
    methods_table,
    training_note,
)
from support.lab import ROOT, composed

from experiments.bench import offered
from lcx_lightning.methods.library import methods
from lcx_lightning.runner.command import readable
from lcx_lightning.runner.settings import settle

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINE = re.compile(r"(?:`|^    )(?:lcx run|(?:python|.*torchrun [^`]*) -m experiments\.run) ([^`\n]*)", re.MULTILINE)


def commands():
    """Return the words behind every command of the pages, each once."""
    texts = [path.read_text().replace("\\\n", " ") for path in PAGES]
    found = dict.fromkeys(line.split("#")[0].strip() for text in texts for line in LINE.findall(text))
    return [line for line in found if not line.startswith("-") and "=" in line and "exp=?" not in line]


def test_the_commands_are_found():
    assert len(commands()) > 20


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_documentation_composes(line):
    words = [readable(word) for word in shlex.split(line) if word != "..."]
    config = composed(*words)
    settle(config)
    assert config.experiment  # one that was given, or a name of the model and what is compared


def test_benchmarks_that_are_named_exist():
    named = {name for path in PAGES for name in re.findall(r"lcx bench (\w+)", path.read_text())} - {"NAME"}
    assert named
    assert named <= set(offered())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_old_words_are_gone(path):
    old = r"(fingerprint|forecast|data_report)=only|launch=here|hardware=this|finetune_(gently|strongly)|masked_running"
    text = path.read_text()
    assert not re.search(rf"{old}|multinode|experiments\.(parity|readme)", text)


# Methods


def test_the_page_of_a_method_has_its_parts_its_file_and_its_drawings(some_method):
    page = method_page(some_method)
    assert page.startswith(f"# {some_method}\n")
    assert all(f"\n| {part} | [`" in page for part in ("scaling", "positions", "temperature", "pattern"))
    assert f"{some_method}_mask.svg" in page
    assert "## Equation" in page or "It composes [" in page


def test_a_method_is_drawn_as_svg(any_method):
    for drawn in (frequencies_svg(any_method), mask_svg(any_method)):
        assert ElementTree.fromstring(drawn).tag.endswith("svg")


def test_drawings_differ_where_methods_do():
    assert mask_svg("lm_infinite") != mask_svg("window_only") != mask_svg("pretrained") == mask_svg("yarn")
    assert frequencies_svg("yarn") != frequencies_svg("ntk") != frequencies_svg("pretrained")
    assert frequencies_svg("pretrained") == frequencies_svg("lm_infinite")


def test_what_is_written_by_hand_belongs_to_a_method():
    assert {path.stem for path in FRAGMENTS.glob("*.md")} <= {*methods(), "index"}


def test_a_method_that_learns_or_samples_says_that_it_needs_training(build, spec, any_method):
    method = build(any_method, spec)
    if method.positions.samples or any(weight.requires_grad for weight in method.parameters()):
        assert training_note(any_method)


def test_lm_infinite_needs_no_training_and_what_stands_on_clex_does():
    needs = [bool(training_note(name)) for name in ("pretrained", "lm_infinite", "clex_frozen", "pi")]
    assert needs == [False, False, True, True]


# Tables and reference


def test_tables_have_a_row_for_each_file():
    configs = ROOT / "experiments" / "configs"
    for table, folder in ((evaluations_table(), "evaluation"), (data_table(), "data"), (choices_table("exp"), "exp")):
        assert all(f"| `{path.stem}` |" in table for path in (configs / folder).glob("*.yaml"))
    table = methods_table()
    assert all(f"| [`{name}`]({name}.md) |" in table for name in methods())
    assert "`attention`" in benchmarks_table()


def test_papers_in_a_description_are_links(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("# @package evaluation.some\n# As in arXiv:2306.15595, table 1.\nvalue: 1\n")
    assert described(path) == "As in [arXiv:2306.15595](https://arxiv.org/abs/2306.15595), table 1"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_names_every_public_class_by_its_file(package):
    page = reference_page(package)
    assert re.findall(r"^::: lcx_lightning\.\S+\.\w+$", page, re.MULTILINE)


def test_no_page_is_left_out_of_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    docs = ROOT / "docs"
    pages = [*docs.glob("*.md"), *(docs / "results").glob("*.md")]
    assert all(path.relative_to(docs).as_posix() in navigation for path in pages)
