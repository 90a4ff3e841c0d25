"""The page, and the report that writes it."""

from html.parser import HTMLParser
from io import StringIO

from rich.console import Console
from support.experiment_files import make_row, write_run

from experiments.report import main
from lcx_lightning.results import records
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.report import page, tables
from lcx_lightning.results.report.command import report
from lcx_lightning.results.report.views import sections_of


class Page(HTMLParser):
    """Collects a page's open tags, its attributes by tag, and its text; closing tags must match."""

    VOID = ("meta", "link", "br", "img")

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
    assert not found.all("script")
    assert not found.all("img")
    assert not found.all("link")
    links = [attributes["href"] for attributes in found.all("a")]
    assert len(links) == 2 * len(list(folder.glob("*/run.json")))
    assert all((folder / link).exists() for link in links)


def test_the_page_can_be_read_aloud(folder):
    records.append(folder / "pi-0" / "records.jsonl", [make_row(protocol="whole_window")])
    found = Page(page_of(folder))
    captions = len(found.all("caption"))
    assert len(found.all("table")) == captions == 4  # of each measure, of one relative to pretrained, and of the runs
    assert all(attributes["scope"] in ("row", "col") for attributes in found.all("th"))
    assert [attributes["role"] for attributes in found.all("svg")] == ["img", "img"]
    assert all("last tokens" in a["aria-label"] or "windows" in a["aria-label"] for a in found.all("svg"))
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_links_reach_the_records_from_another_folder(folder, tmp_path):
    write_run(folder, "odd name#1")
    experiment = records.read_experiment(folder)
    text = page.write_page(experiment, tmp_path / "public", sections_of(experiment), {}).read_text()
    assert 'href="../quickstart/pi-0/run.json"' in text
    assert 'href="../quickstart/odd%20name%231-0/run.json"' in text


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
    assert not found.all("script")
    assert not found.all("img")
    assert not [attributes for _, attributes in found.tags if "onerror" in attributes]
    assert evil in found.text
