"""Figures and tables for a paper: sizes, full numbers, and files of others that stay as they are."""

import csv
import io
import struct
import xml.etree.ElementTree as ET

import pytest
from markdown_it import MarkdownIt
from support.experiment_files import make_row, write_run
from support.tex import cells

from experiments.report import main
from lcx_lightning.results import records
from lcx_lightning.results.analysis.estimates import estimates
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.report.exports import LIST, csv_text
from lcx_lightning.results.report.labels import NOT_EVALUATED
from lcx_lightning.results.report.look import COLUMN, TEXT
from lcx_lightning.results.report.tables import Cell, Table, markdown_table, starred
from lcx_lightning.results.report.views import sections_of

SCRIPT = "</script><script>alert(1)</script>"
EVIL = (r"a_b & 50% $x$ #1 \cmd{y}", SCRIPT, "=1+1", "@SUM(A1)")
LAST_K = Measure("last_k")


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_has_every_number_in_full_with_its_interval_and_counts(folder, experiment, tmp_path):
    place = tmp_path / "paper"
    assert main([str(folder), "--tables", str(place)]) == 0
    found = {(row["arm"], int(row["context_length"])): row for row in read_csv(place / "perplexity.csv")}
    expected = estimates(experiment, LAST_K)
    assert found.keys() == expected.keys()
    for at, one in expected.items():
        assert [float(found[at][name]) for name in ("value", "low", "high")] == [one.value, one.low, one.high]
        assert [int(found[at][name]) for name in ("n_seeds", "n_documents", "n_scored")] == [2, 3, 48]
    assert {row["relative_to"] for row in read_csv(place / "perplexity_relative.csv")} == {"pretrained"}
    names = {f"perplexity{end}{kind}" for end in ("", "_relative") for kind in (".csv", ".md", ".tex")}
    assert {path.name for path in place.iterdir()} == names | {LIST}


def test_markdown_and_latex_have_the_digits_of_the_terminal(folder, experiment, tmp_path):
    assert main([str(folder), "--tables", str(tmp_path / "paper")]) == 0
    (view,) = sections_of(experiment)[0].views
    texts = {kind: (tmp_path / "paper" / f"perplexity{kind}").read_text() for kind in (".md", ".tex")}
    for row in view.tables[0].rows:
        for cell in row[1:4]:
            assert starred(cell).replace("*", "\\*") in texts[".md"]
            assert cell.text.replace("±", "$\\pm$").replace(NOT_EVALUATED, "\\textendash{}") in texts[".tex"]


def test_each_file_has_all_notes_of_its_table_also_those_that_others_share(folder, tmp_path):
    for path in folder.glob("*/records.jsonl"):
        records.append(path, [row | {"protocol": "whole_window"} for row in records.read(path)])
    assert main([str(folder), "--tables", str(tmp_path / "paper")]) == 0
    for name in ("perplexity", "perplexity_whole_window"):
        for kind in (".md", ".tex"):
            words = " ".join((tmp_path / "paper" / f"{name}{kind}").read_text().split())
            assert "Geometric mean over 2 seeds" in words
            assert "marks the length the arm was trained at" in words


def test_figures_are_vectors_and_pixels_of_the_size_of_a_column(folder, tmp_path):
    place = tmp_path / "paper"
    assert main([str(folder), "--figures", str(place)]) == 0
    assert {path.name for path in place.iterdir()} == {"perplexity.svg", "perplexity.pdf", "perplexity.png", LIST}
    svg = ET.parse(place / "perplexity.svg").getroot()
    width = svg.get("width")
    assert width.endswith("pt")
    assert COLUMN - 2 <= float(width.removesuffix("pt")) <= COLUMN
    assert "".join(svg.itertext()).count("clex_blocks") == 1
    pdf = (place / "perplexity.pdf").read_bytes()
    assert f"/MediaBox [0 0 {width.removesuffix('pt')} ".encode() in pdf
    png = (place / "perplexity.png").read_bytes()
    pixels, per_metre = struct.unpack(">I", png[16:20])[0], struct.unpack(">I", png.split(b"pHYs")[1][:4])[0]
    assert 72 * pixels / float(width.removesuffix("pt")) == pytest.approx(300, rel=0.01)
    assert per_metre == pytest.approx(300 / 0.0254, rel=0.001)


@pytest.mark.slow
def test_long_names_make_a_figure_as_wide_as_a_text_and_depths_small_multiples(tmp_path):
    for order in range(3):
        arm = f"lm_infinite window={order} sink_tokens=100"
        write_run(tmp_path, arm, order=order)
        trials = [
            make_row(run=f"{arm}-0", arm=arm, protocol="passkey", metric="accuracy", value=1.0, n=1, at={"depth": d})
            for d in (0.0, 0.5, 1.0)
        ]
        records.append(tmp_path / f"{arm}-0" / "records.jsonl", trials)
    place = tmp_path / "paper"
    assert main([str(tmp_path), "--figures", str(place)]) == 0
    widths = {p.stem: float(ET.parse(p).getroot().get("width")[:-2]) for p in place.glob("*.svg")}
    assert COLUMN < widths["perplexity"] <= TEXT
    assert widths["passkey_accuracy_depth"] <= COLUMN


def test_several_folders_and_archives_are_one_report(folder, tmp_path):
    other = tmp_path / "colleague"
    write_run(other, "pi", 0, nll=0.9, order=1, train_length=512)
    write_run(other, "yarn", 0, nll=0.7)
    assert main([str(folder), str(other), "--tables", str(tmp_path / "paper")]) == 0
    found = read_csv(tmp_path / "paper" / "perplexity.csv")
    assert {row["arm"] for row in found} == {"pretrained", "pi", "clex_blocks", "yarn"}
    assert {row["n_seeds"] for row in found if row["arm"] == "pi"} == {"2"}


def test_files_of_others_stay_and_only_one_in_the_way_is_refused_before_anything_is_drawn(folder, tmp_path, capsys):
    place = tmp_path / "paper"
    place.mkdir()
    (place / "main.tex").write_text("a paper")
    (place / "perplexity.pdf").write_text("mine")
    assert main([str(folder), "--figures", str(place)]) == 2
    assert "perplexity.pdf is there already, and no export: move it away" in capsys.readouterr().err
    assert {path.name for path in place.iterdir()} == {"main.tex", "perplexity.pdf"}
    (place / "perplexity.pdf").unlink()
    assert main([str(folder), "--figures", str(place)]) == 0
    assert (place / "main.tex").read_text() == "a paper"


def test_an_export_is_made_anew_unless_somebody_has_changed_it_or_it_is_of_another_experiment(folder, tmp_path, capsys):
    place = tmp_path / "paper"
    tables = ["--tables", str(place)]
    assert main([str(folder), *tables]) == 0
    write_run(folder, "pi", 1, nll=0.5, order=1, train_length=512)
    assert main([str(folder), *tables]) == 0
    new = (place / "perplexity.tex").read_text()
    (place / "perplexity.tex").write_text(new.replace("\\centering", "\\small"))
    assert main([str(folder), *tables]) == 2
    assert "perplexity.tex has changed since it was exported" in capsys.readouterr().err
    (place / "perplexity.tex").write_text(new)
    write_run(tmp_path / "other", "pi")
    assert main([str(tmp_path / "other"), *tables]) == 2
    assert "is an export of quickstart, and not of other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--markdown"], "--markdown prints"), (["--claims"], "--claims has tables and no figures")],
)
def test_what_does_not_go_together_is_refused(folder, tmp_path, capsys, options, said):
    with pytest.raises(SystemExit):
        main([str(folder), "--figures", str(tmp_path / "paper"), *options])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "paper").exists()


def test_a_file_in_place_of_the_folder_and_a_damaged_list_are_refused(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(folder), "--tables", str(tmp_path / "file")]) == 2
    assert "A folder is needed for exports" in capsys.readouterr().err
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / LIST).write_text("{")
    assert main([str(folder), "--tables", str(tmp_path / "paper")]) == 2
    assert f"{LIST} is not JSON" in capsys.readouterr().err


@pytest.mark.slow
def test_verdicts_on_claims_are_tables_too(folder, tmp_path):
    assert main([str(folder), "--claims", "--tables", str(tmp_path / "paper")]) == 0
    found = read_csv(tmp_path / "paper" / "claims_lm_infinite.csv")
    assert {row["verdict"] for row in found} <= {"reproduced", "not reproduced", "not distinguishable", "not tested"}
    assert "\\raggedright not tested \\newline" in (tmp_path / "paper" / "claims_clex.tex").read_text()


def test_an_experiment_without_a_finite_number_has_tables_and_says_why_no_figure(tmp_path, capsys):
    write_run(tmp_path / "r", "ntk", rows=False, state="failed", reason="no memory")
    assert main([str(tmp_path / "r"), "--figures", str(tmp_path / "p"), "--tables", str(tmp_path / "p")]) == 0
    assert "No figure: " in capsys.readouterr().out
    assert "no memory" in (tmp_path / "p" / "perplexity.md").read_text()


def named(folder, name):
    """Return a folder with an experiment, a question, an arm and a document of that name."""
    write_run(folder, name, place="evil", method="pi")
    rows = [row | {"document": name} for row in records.read(folder / "evil" / "records.jsonl")]
    (folder / "evil" / "records.jsonl").unlink()
    records.append(folder / "evil" / "records.jsonl", rows)
    records.write_json(folder / "experiment.json", {"name": name, "question": name})
    return folder


@pytest.mark.parametrize("name", EVIL)
def test_names_are_text_in_every_table_and_no_formula_in_a_spreadsheet(tmp_path, name):
    assert main([str(named(tmp_path / "r", name)), "--tables", str(tmp_path / "p")]) == 0
    row = read_csv(tmp_path / "p" / "perplexity.csv")[0]
    assert row["arm"] == row["experiment"] == ("'" if name[0] in "=@" else "") + name
    html = MarkdownIt("commonmark").enable("table").render((tmp_path / "p" / "perplexity.md").read_text())
    document = ET.fromstring(f"<body>{html}</body>")
    assert document.find(".//tbody/tr/td").text == name
    assert document[0].text.startswith(f"{name}: perplexity of")
    assert "".join(cells((tmp_path / "p" / "perplexity.tex").read_text())[2][0].split()) == "".join(name.split())


def test_names_are_text_in_a_figure(tmp_path):
    assert main([str(named(tmp_path / "r", SCRIPT)), "--figures", str(tmp_path / "p")]) == 0
    svg = ET.parse(tmp_path / "p" / "perplexity.svg").getroot()
    assert any(node.text == SCRIPT for node in svg.iter() if node.tag.endswith("}text"))
    assert not [node for node in svg.iter() if node.tag.endswith("script")]


@pytest.mark.parametrize(
    "text", ["# a", "- a", "+ a", "1. a", "2) a", "---", "&lt;b&gt;", "~~a~~", "`b` *c* _d_", "![a](b)"]
)
def test_a_text_stays_a_paragraph_of_markdown(text):
    table = Table(text, ["arm"], [[Cell(text)]], [text])
    html = MarkdownIt("gfm-like", {"linkify": False}).render(markdown_table(table))
    document = ET.fromstring(f"<body>{html}</body>")
    assert document.find(".//td").text == document.find(".//li").text == text


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", " =1", "\r=1"])
def test_a_name_that_a_spreadsheet_would_compute_is_text_and_numbers_are_numbers(text):
    written = csv_text([{"arm": text, "value": -1.5, "low": float("nan"), "n": 3}, {"arm": "a", "more": True}])
    assert written.splitlines()[0] == '"arm","value","low","n","more"'
    first, second = csv.DictReader(io.StringIO(written, newline=""))
    assert first == {"arm": f"'{text}", "value": "-1.5", "low": "", "n": "3", "more": ""}
    assert second["more"] == "1"
    assert ",-1.5," in written, "no text"
