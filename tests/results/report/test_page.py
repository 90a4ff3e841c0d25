"""The page, and the report that writes it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from io import StringIO

import pytest
from rich.console import Console
from support.experiment_files import make_row, write_run

from experiments.report import main
from lcx_lightning.results import records
from lcx_lightning.results.analysis.estimates import estimates
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.report import tables
from lcx_lightning.results.report.command import report, write_dashboard
from lcx_lightning.results.report.dashboard import page
from lcx_lightning.results.report.dashboard.charts.heatmaps import matrix
from lcx_lightning.results.report.views import sections_of


class Page(HTMLParser):
    """Collects a page's open tags, its attributes by tag, and its text; closing tags must match."""

    VOID = ("meta", "link", "br", "img", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


LAST_K = Measure("last_k")


def data_of(text):
    """Return what the scripts of a page read."""
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def page_of(folder):
    """Return the page of the report."""
    return report(folder, Console(file=StringIO(), width=120))[-1].read_text()


def test_the_page_is_whole_loads_nothing_and_its_links_exist(folder):
    records.append(folder / "pi-0" / "records.jsonl", [make_row(protocol="whole_window")])
    text = page_of(folder)
    found = Page(text)
    assert "<it>" not in text
    assert "How far does <it> reach?" in found.text
    assert "PI: flat & low." in found.text
    assert not [one for one in found.all("script") if "src" in one]
    assert not found.all("img")
    assert not found.all("link")
    links = [attributes["href"] for attributes in found.all("a") if not attributes["href"].startswith("#")]
    assert len(links) == 2 * len(list(folder.glob("*/run.json")))
    assert all((folder / link).exists() for link in links)


def test_the_policy_allows_the_scripts_and_styles_of_the_page_and_nothing_else(folder):
    text = page_of(folder)
    policy = next(one["content"] for one in Page(text).all("meta") if one.get("http-equiv"))
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == allowed["base-uri"] == allowed["form-action"] == "'none'"
    for tag in ("script", "style"):
        inline = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in inline]
        assert allowed[f"{tag}-src"].split() == [f"'sha256-{one}'" for one in hashes]


def test_the_page_can_be_read_aloud(folder):
    records.append(folder / "pi-0" / "records.jsonl", [make_row(protocol="whole_window")])
    found = Page(page_of(folder))
    assert len(found.all("table")) == len(found.all("caption"))
    assert all(attributes["scope"] in ("row", "col") for attributes in found.all("th"))
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    charts = [attributes for attributes in found.all("div") if "data-chart" in attributes]
    assert charts
    assert all(attributes["role"] == "img" and attributes["aria-labelledby"] in ids for attributes in charts)


def test_links_reach_the_records_from_another_folder(folder, tmp_path):
    write_run(folder, "odd name#1")
    experiment = records.read_experiment(folder)
    path = tmp_path / "public" / "report.html"
    text = page.write_page(experiment, path, sections_of(experiment)).read_text()
    assert 'href="../quickstart/pi-0/run.json"' in text
    assert 'href="../quickstart/odd%20name%231-0/run.json"' in text


def test_several_folders_make_one_page_and_equal_runs_count_once(tmp_path):
    write_run(tmp_path / "mine" / "first", "pretrained", order=0)
    write_run(tmp_path / "mine" / "first", "pi", order=1, config={"method": {"pattern": {"window": 1}}})
    write_run(tmp_path / "yours", "pretrained")
    write_run(tmp_path / "yours", "pi", place="other", run="other", config={"method": {"pattern": {"window": 2}}})
    path = write_dashboard([tmp_path / "mine", tmp_path / "yours", tmp_path / "yours" / "other"], tmp_path / "all.html")
    data = data_of(path.read_text())
    assert [arm["name"] for arm in data["arms"]] == ["pretrained", "pi window=1", "pi window=2"]
    assert [len(arm["seeds"]) for arm in data["arms"]] == [1, 1, 1]
    assert data["settings"]["differing"]["method.pattern.window"]["of"][1:] != [0, 0]


def test_of_several_folders_the_overview_shows_perplexity_and_not_what_comes_first(tmp_path):
    """A folder of decode speed is read before that of a question about length, as its name is."""
    write_run(tmp_path / "decode", "pretrained", rows=False, run="fast", method="pretrained")
    made = [make_row(run="fast", arm="pretrained", protocol="passkey", metric="accuracy", value=1.0, n=1)]
    records.append(tmp_path / "decode" / "pretrained-0" / "records.jsonl", made)
    write_run(tmp_path / "length", "pretrained", order=0)
    write_run(tmp_path / "length", "pi", order=1)
    places = [tmp_path / "decode", tmp_path / "length"]
    text = write_dashboard(places, tmp_path / "all.html").read_text()
    overview = text.partition('id="overview"')[2].partition("</section>")[0]
    assert re.findall('data-chart="(.*?)"', overview) == ["perplexity_last_k-values"]
    alone = write_dashboard(places[:1], tmp_path / "one.html").read_text()
    overview = alone.partition('id="overview"')[2].partition("</section>")[0]
    assert re.findall('data-chart="(.*?)"', overview) == ["passkey_accuracy-values"]


def test_the_parts_of_a_page_say_what_sets_them_apart_and_whose_runs_they_are(tmp_path):
    for length, name in ((64, "short"), (128, "long")):
        write_run(tmp_path / name, "pretrained", run=name, pretrain_length=length, experiment=name)
        write_run(tmp_path / name, "pi", run=f"{name} pi", pretrain_length=length, experiment=name)
    text = write_dashboard([tmp_path / "short", tmp_path / "long"], tmp_path / "all.html").read_text()
    links = text.partition("<nav")[2].partition("</nav>")[0]
    parts = re.findall(r'<a href="#(view-.*?)".*?>(.*?)</a>', links)
    assert [name for _, name in parts] == ["pretrain_length=64", "pretrain_length=128"]
    assert all(f'id="{place}"' in text for place, _ in parts)
    captions = re.findall(r"<caption[^>]*>((?:short|long).*?):", text)
    assert {*captions} == {"short, pretrain_length=64", "long, pretrain_length=128"}


def test_several_experiments_in_one_table_are_all_named(tmp_path):
    names = ("one", "two", "three", "four", "five")
    for name in names:
        write_run(tmp_path / name, name, experiment=name, run=name)
        records.write_json(tmp_path / name / "experiment.json", {"name": name, "question": f"{name}?"})
    whole = records.joined([records.read_experiment(tmp_path / name) for name in names])
    assert whole.name == "one + two + three + 2 more"
    assert "question" not in whole.meta


def test_the_numbers_of_charts_are_those_of_the_tables(folder):
    experiment = records.read_experiment(folder)
    found = estimates(experiment, LAST_K)
    view = data_of(page_of(folder))["views"]["perplexity"]
    columns = view["values"]["columns"]
    drawn = zip(columns["arm"], columns["place"], columns["value"], columns["text"], strict=True)
    arms = {int(number): name for number, name in view["labels"].items()}
    assert {(arms[arm], place): (value, text) for arm, place, value, text in drawn} == {
        key: (float(f"{one.value:.6g}"), experiment.metric(LAST_K).text(one.value)) for key, one in found.items()
    }


def test_half_written_and_absent_runs_are_named(folder):
    with (folder / "pi-0" / "records.jsonl").open("a") as file:
        file.write('{"run": "pi-0", "va')
    names = [path.parent.name for path in folder.glob("*/run.json")]
    meta = records.read_experiment_file(folder) | {"runs": [*names, "yarn-s0-123"]}
    records.write_json(folder / "experiment.json", meta)
    said = " ".join(Page(page_of(folder)).text.split())
    assert "pi-0/records.jsonl ends in a row that is not whole" in said
    assert "yarn-s0-123" in said
    assert "has asked for it, and it has not begun" in said


@pytest.mark.parametrize("content", ["my own page", ""])
def test_a_file_that_is_no_page_of_ours_is_kept(folder, tmp_path, capsys, content):
    path = tmp_path / "notes.html"
    path.write_text(content)
    assert main([str(folder), "-o", str(path)]) == 2
    assert "is no page of ours. Move it away" in capsys.readouterr().err
    assert path.read_text() == content


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    assert main([str(tmp_path), "-o", str(tmp_path / "report.html")]) == 2
    assert "has no runs in it" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_the_report_prints_the_table_and_writes_figures_and_page(folder, capsys):
    assert main([str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["perplexity.svg", "perplexity.png", "index.html"]
    assert lines[-3:] == [str(folder / name) for name in names]
    assert any("pretrained" in line for line in lines)
    assert all((folder / name).stat().st_size for name in names)


def test_the_report_of_arms_that_all_failed_says_so(tmp_path):
    write_run(tmp_path, "ntk", rows=False, state="failed", reason="no memory")
    records.write_json(tmp_path / "experiment.json", {"protocols": ["last_k"]})
    console = Console(file=StringIO(), width=120)
    assert report(tmp_path, console) == [tmp_path / "index.html"]
    assert "no memory" in console.file.getvalue()


def test_markdown_is_printed_and_nothing_is_written(folder, capsys):
    before = set(folder.iterdir())
    assert main([str(folder), "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert tables.markdown_table(tables.length_table(records.read_experiment(folder), LAST_K)) in printed
    assert "relative to pretrained \\[95%\\]\n\n| arm |" in printed
    assert set(folder.iterdir()) == before


def test_a_report_is_drawn_anew_only_where_records_or_run_files_changed(folder, monkeypatch):
    console = Console(file=StringIO(), width=120)
    first = report(folder, console)
    drawn = []
    monkeypatch.setattr("lcx_lightning.results.report.figures.save", lambda *_: drawn.append(1) or first[:2])
    assert sorted(report(folder, console, redraw=False)) == sorted(first)
    assert not drawn
    report(folder, console)
    assert drawn, "asked for, it is drawn"
    drawn.clear()
    write_run(folder, "pi", 1, nll=0.5, order=1, train_length=512)
    report(folder, console, redraw=False)
    assert drawn


def test_nothing_of_a_foreign_folder_is_markup_on_the_page(tmp_path):
    """Files of a run may come from anybody: every text in them is shown as it is, and a text is no number."""
    evil = "<script>alert(1)</script>'\"><img src=x onerror=alert(2)>"
    info = dict.fromkeys(("run", "method", "reason", "fingerprint", "state"), evil)
    write_run(tmp_path, "pi", **info)
    path = tmp_path / "pi-0" / "run.json"
    run = records.read_json(path) | {"arm": evil, "experiment": evil, "config": {evil: {evil: evil}}}
    run |= {"computed_by": [{"git_commit": evil, "versions": {evil: evil}, "hardware": {evil: evil}}]}
    records.write_json(path, run)
    rows = [row | {"document": evil, "dataset": evil} for row in records.read(tmp_path / "pi-0" / "records.jsonl")]
    (tmp_path / "pi-0" / "records.jsonl").unlink()
    records.append(tmp_path / "pi-0" / "records.jsonl", rows)
    meta = dict.fromkeys(("name", "question"), evil) | {"look_for": [evil], "commands": [evil]}
    records.write_json(tmp_path / "experiment.json", meta | {"runs": ["pi-0"]})
    text = page_of(tmp_path)
    found = Page(text)
    assert len(found.all("script")) == 3  # the data, the bundle and ours
    assert not found.all("img")
    assert not [attributes for _, attributes in found.tags if "onerror" in attributes]
    assert evil in found.text


def test_values_across_a_matrix_that_would_cover_each_other_are_turned():
    angles = [
        matrix("scaling", "pattern", "perplexity", logarithmic=True, longest=len(longest))["layer"][0]["encoding"]["x"]
        for longest in ("4096", "Unscaled")
    ]
    assert [one["axis"]["labelAngle"] for one in angles] == [0, -40]
