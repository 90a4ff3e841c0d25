"""Records, statistics, tables, figures and pages, checked against numbers made by hand and against scipy."""

import json
import math
import subprocess
import sys
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

from experiments.report import main, report
from lcx_lightning.results import figure, page, records, statistics, table

LENGTHS = (128, 256, 512)


def make_row(**changes):
    row = {"run": "pi-0", "arm": "pi", "base": "b", "method": "pi", "factor": 4.0, "seed": 0}
    row |= {"evaluation": "growing_context", "protocol": "last_k", "dataset": "code", "document": "d0", "window": 0}
    return row | {"context_length": 128, "metric": "nll", "value": 10.0, "n": 5} | changes


def write_run(folder, arm, seed=0, nll=1.0, rows=True, **changes):
    """One run with three documents a length; the NLL per token grows by 0.1 a length and 0.01 a document."""
    name = f"{arm.replace('/', '-')}-{seed}"
    info = {"run": name, "arm": arm, "method": arm, "seed": seed, "state": "finished", "reason": None, "order": 0}
    info |= {"pretrain_length": 128, "train_length": None, "factor": 4.0, "lengths": list(LENGTHS), "not_evaluated": {}}
    info |= {"seconds": {"extend": 30.0, "evaluate": 6.0}, "base": {"key": f"b{seed}", "seconds": 120.0}}
    records.write_json(folder / name / "run.json", info | {"fingerprint": "0123456789abcdef"} | changes)
    absent = {int(length) for length in changes.get("not_evaluated", {})}
    lengths = [(i, length) for i, length in enumerate(LENGTHS) if rows and length not in absent]
    values = [(i, length, d, 8 * (nll + 0.1 * i + 0.01 * d)) for i, length in lengths for d in range(3)]
    shared = {"run": name, "arm": arm, "seed": seed, "n": 8}
    found = [make_row(context_length=n, document=f"d{d}", value=value, **shared) for _, n, d, value in values]
    records.append(folder / name / "records.jsonl", found)


@pytest.fixture
def folder(tmp_path):
    """An experiment of four arms, two seeds each: untrained, trained at 512, cut at 256, and skipped."""
    folder = tmp_path / "quickstart"
    meta = {"name": "quickstart", "question": "How far does <it> reach?", "look_for": ["PI: flat & low."]}
    records.write_json(
        folder / "experiment.json", meta | {"command": "run.py +exp=quickstart", "protocols": ["last_k"]}
    )
    for seed in (0, 1):
        write_run(folder, "pretrained", seed, nll=1.0 + 0.01 * seed)
        write_run(folder, "pi", seed, nll=0.9 + 0.02 * seed, order=1, train_length=512)
        write_run(folder, "clex_blocks", seed, nll=0.8, order=2, not_evaluated={"512": "max_factor is 2"})
        write_run(folder, "ntk", seed, rows=False, order=3, state="skipped", reason="equals pretrained", seconds={})
    return folder


@pytest.fixture
def experiment(folder):
    return records.read_experiment(folder)


def shown(renderable, width=120):
    console = Console(file=StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


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


# Records


def test_a_kill_at_any_byte_of_the_last_row_loses_that_row_only(tmp_path):
    path = tmp_path / "records.jsonl"
    rows = [make_row(document=name) for name in ("a", "b", "ü")]
    records.append(path, rows[:2])
    kept = path.stat().st_size
    records.append(path, rows[2:])
    whole = path.read_bytes()
    for size in range(kept, len(whole)):
        path.write_bytes(whole[:size])
        assert records.read(path) == rows[:2]
        records.append(path, rows[2:])
        assert path.read_bytes() == whole


def test_a_file_killed_in_its_first_row_is_empty_and_goes_on(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text('{"run": "pi')
    assert records.read(path) == []
    records.append(path, [make_row()])
    assert records.read(path) == [make_row()]


@pytest.mark.parametrize("line", ['{"run": "p', "[1]", ""])
def test_a_broken_line_in_the_middle_is_refused_with_file_and_line(tmp_path, line):
    path = tmp_path / "records.jsonl"
    path.write_text(f"{json.dumps(make_row())}\n{line}\n{json.dumps(make_row())}\n")
    with pytest.raises(ValueError, match=r"records\.jsonl, line 2: needed one JSON object"):
        records.read(path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    records.write_json(path, {"state": "running"})

    def killed(source, target):
        raise OSError("no space")

    monkeypatch.setattr(records.os, "replace", killed)
    with pytest.raises(OSError, match="no space"):
        records.write_json(path, {"state": "finished"})
    with pytest.raises(TypeError):
        records.write_json(path, {"state": object()})
    assert records.read_json(path) == {"state": "running"}
    assert list(tmp_path.iterdir()) == [path]


def test_of_rows_with_one_identity_the_last_counts(folder):
    path = folder / "pi-0"
    before = records.read_run(path).rows
    again = before[0] | {"value": 99.0}
    records.append(path / "records.jsonl", [again])
    after = records.read_run(path).rows
    assert len(after) == len(before)
    assert again in after
    assert before[0] not in after


def test_runs_are_in_the_order_of_the_grid_then_of_seeds(experiment):
    found = [(run.arm, run.info["seed"]) for run in experiment.runs]
    assert found == [(arm, seed) for arm in ("pretrained", "pi", "clex_blocks", "ntk") for seed in (0, 1)]


def test_a_run_with_few_keys_is_read_and_shown(tmp_path):
    records.write_json(tmp_path / "a" / "run.json", {"arm": "a", "state": "finished"})
    records.append(tmp_path / "a" / "records.jsonl", [make_row(arm="a")])
    experiment = records.read_experiment(tmp_path)
    assert "7.39" in shown(table.terminal_table(experiment, "last_k"))  # exp(10 / 5)
    assert page.write_page(experiment, tmp_path, {}).exists()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_folder_without_runs_is_refused_by_name(tmp_path, make, capsys):
    make(tmp_path / "nothing")
    with pytest.raises(ValueError, match="nothing"):
        records.read_experiment(tmp_path / "nothing")
    assert main([str(tmp_path / "nothing")]) == 2
    assert "Run the experiment first" in capsys.readouterr().err


def test_two_folders_of_one_arm_and_seed_are_refused(folder):
    (folder / "pi-old").mkdir()
    (folder / "pi-old" / "run.json").write_bytes((folder / "pi-0" / "run.json").read_bytes())
    with pytest.raises(ValueError, match="both hold pi, seed 0"):
        records.read_experiment(folder)


# Statistics


def test_perplexity_weighs_by_tokens_not_by_documents():
    rows = [make_row(value=3.0, n=1), make_row(value=9.0, n=11, document="d1")]
    assert statistics.perplexity(rows) == pytest.approx(math.e)  # 12 nats in 12 tokens
    with pytest.raises(ValueError, match="scored token"):
        statistics.perplexity([make_row(metric="accuracy")])


def test_the_interval_over_seeds_is_scipys_t_interval_of_log_perplexity():
    nll = [1.0, 1.1, 1.3]
    rows = [make_row(seed=seed, value=40 * mean, n=40) for seed, mean in enumerate(nll)]
    low, high = scipy.stats.t.interval(0.95, 2, loc=np.mean(nll), scale=scipy.stats.sem(nll))
    found = statistics.estimate(rows)
    geometric_mean = math.prod(math.exp(mean) for mean in nll) ** (1 / 3)
    assert (found.value, found.low, found.high) == pytest.approx((geometric_mean, math.exp(low), math.exp(high)))
    assert (found.n_seeds, found.n_documents, found.n_tokens) == (3, 1, 120)


def test_the_interval_of_one_seed_is_a_bootstrap_over_documents():
    generator = np.random.default_rng(1)
    nats, tokens = generator.normal(60, 10, size=200), generator.integers(20, 40, size=200)
    rows = [make_row(document=str(d), value=nats[d], n=int(tokens[d])) for d in range(200)]
    oracle = scipy.stats.bootstrap(
        (nats, tokens), lambda x, y, axis: x.sum(axis) / y.sum(axis), paired=True, vectorized=True, n_resamples=4000,
        method="percentile", rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    found = statistics.estimate(rows)
    width = oracle.high - oracle.low
    assert math.log(found.low) == pytest.approx(oracle.low, abs=0.1 * width)
    assert math.log(found.high) == pytest.approx(oracle.high, abs=0.1 * width)
    assert statistics.estimate(rows[::-1]).low == pytest.approx(found.low)


def test_the_bootstrap_draws_documents_and_not_their_windows():
    rows = [make_row(document=str(d), value=5.0 + d % 3) for d in range(6)]
    halves = [row | {"value": row["value"] / 2, "n": 2.5, "window": window} for row in rows for window in (0, 1)]
    assert statistics.estimate(halves).low == pytest.approx(statistics.estimate(rows).low)


def test_one_document_of_one_seed_has_no_interval():
    found = statistics.estimate([make_row()])
    assert found.value == pytest.approx(math.exp(2))
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_documents_of_two_datasets_with_one_name_are_two_documents():
    rows = [make_row(), make_row(dataset="books", value=20.0)]
    assert statistics.estimate(rows).n_documents == 2


def test_a_paired_ratio_is_free_of_what_documents_share():
    hard = np.random.default_rng(0).normal(2.0, 0.5, size=30)
    b = [make_row(document=str(d), value=5 * hard[d]) for d in range(30)]
    a = [row | {"value": row["value"] + 5 * math.log(1.1), "run": "clex-0", "arm": "clex"} for row in reversed(b)]
    ratio = statistics.paired_ratio(a, b)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.1, 1.1, 1.1))
    assert statistics.estimate(b).high / statistics.estimate(b).low > 1.2


def test_a_paired_ratio_over_seeds_is_scipys_interval_of_the_paired_t_test():
    base, change = [1.0, 1.4, 0.9], [0.10, 0.12, 0.05]
    b = [make_row(seed=seed, value=5 * nll) for seed, nll in enumerate(base)]
    a = [row | {"value": row["value"] + 5 * change[row["seed"]]} for row in b]
    test = scipy.stats.ttest_rel(np.add(base, change), base).confidence_interval()
    ratio = statistics.paired_ratio(a, [*b, make_row(seed=7), make_row(document="only in b", value=99.0)])
    expected = np.exp([np.mean(change), test.low, test.high])
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx(tuple(expected))
    assert ratio.n_seeds == 3
    with pytest.raises(ValueError, match="share none"):
        statistics.paired_ratio(a, [make_row(seed=9)])


def test_an_unfinished_run_is_not_averaged_with_finished_ones(folder):
    write_run(folder, "pi", seed=2, nll=50.0, order=1, train_length=512, state="interrupted", reason="Ctrl-C")
    found = statistics.estimates(records.read_experiment(folder), "last_k")
    assert found["pi", 128].n_seeds == 2
    assert found["pi", 128].value == pytest.approx(math.exp(0.92))  # seeds .90 and .92, documents +0, +.01, +.02


def test_a_model_that_diverged_has_an_infinite_perplexity_and_no_place_in_the_figure(folder):
    write_run(folder, "boom", order=9, nll=math.inf)
    write_run(folder, "boom", seed=1, order=9, nll=1e6)
    write_run(folder, "nothing", order=10, nll=math.nan)
    experiment = records.read_experiment(folder)
    text = shown(table.terminal_table(experiment, "last_k"))
    assert "inf" in text
    assert "nan" in text
    assert "boom" not in figure.length_figure(experiment, "last_k").to_json()


# Tables


def test_the_tables_numbers_are_right_and_the_training_length_is_marked(experiment):
    found = table.perplexity_table(experiment, "last_k")
    assert found.header == ["arm", "128 (1L)", "256 (2L)", "512 (4L)", "train", "eval", "hash"]
    by_arm = {row[0].text: row[1:] for row in found.rows}
    assert list(by_arm) == ["pretrained", "pi", "clex_blocks", "ntk (skipped)"]
    assert [cell.marked for cell in by_arm["pi"]] == [False, False, True, False, False, False]
    assert by_arm["clex_blocks"][0].text == "2.25 ±0.00"  # exp(.81), twice the same
    assert by_arm["clex_blocks"][2].text == table.NOT_EVALUATED
    assert not any(cell.marked for cell in by_arm["pretrained"])
    # pi at 512: NLL 1.11 and 1.13; t(.975, 1) = 12.706, so 1.12 ± .127: 3.06, from 2.70 to 3.48
    assert by_arm["pi"][2].text == "3.06 ±0.39"
    assert [cell.text for cell in by_arm["pi"][3:]] == ["30 s", "6.0 s", "012345"]


def test_the_table_shows_each_arms_fingerprint_and_whether_its_seeds_agree(folder):
    write_run(folder, "pi", seed=1, order=1, fingerprint="fedcba9876543210")
    write_run(folder, "clex_blocks", seed=0, order=2, fingerprint=None)
    write_run(folder, "clex_blocks", seed=1, order=2, fingerprint=None)
    found = table.perplexity_table(records.read_experiment(folder), "last_k")
    assert [row[-1].text for row in found.rows] == ["012345", "differ", table.NOT_EVALUATED, "012345"]
    assert any("arms that share it do the same before training" in note for note in found.notes)


def test_an_interval_too_lopsided_for_a_half_width_is_given_itself(folder):
    write_run(folder, "pi", seed=1, nll=1.0, order=1, train_length=512)
    found = table.perplexity_table(records.read_experiment(folder), "last_k")
    # NLL at 128: .91 and (the second writing holds) 1.01: .96 ± 12.706 * .05 = .635
    assert found.rows[1][1].text == "2.61 [1.38, 4.93]"


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_arms_marks_and_reasons(experiment, width):
    text = shown(table.terminal_table(experiment, "last_k"), width)
    words = (
        "clex_blocks",
        "ntk",
        "(skipped)",
        "0.39*",
        "clex_blocks at 512: max_factor is 2",
        "equals pretrained",
        "2.0 min",
    )
    for word in words:
        assert word in text
    assert max(map(len, text.splitlines())) <= width


def test_the_markdown_table_is_as_wide_as_its_header_and_escapes(folder):
    write_run(folder, "a|b <i>", order=5)
    text = table.markdown_table(records.read_experiment(folder), "last_k")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "**3.06 ±0.39\\***" in text
    assert r"a\|b \<i\>" in text
    assert len(lines) == 2 + 5


def test_numbers_of_an_unfinished_arm_stand_in_parentheses_with_the_reason(folder):
    write_run(folder, "yarn", order=5, state="failed", reason="ValueError: [bold] no memory")
    experiment = records.read_experiment(folder)
    for text in (shown(table.terminal_table(experiment, "last_k")), table.markdown_table(experiment, "last_k")):
        assert "(2.75)" in text  # exp(1.01)
        assert "no memory" in text
    assert "yarn (failed)" in table.markdown_table(experiment, "last_k")


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.306, "4.31"), (9.996, "10.0"), (51.23, "51.2"), (99.96, "100"), (1234.5, "1,234"), (2e6, "2.0e+06")],
)
def test_perplexities_have_three_figures(value, text):
    assert table.perplexity_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (0.42, "0.4 s"), (35.2, "35 s"), (408, "6.8 min"), (8280, "2.3 h")]
)
def test_times_are_rounded_for_reading(seconds, text):
    assert table.seconds_text(seconds) == text


# Figures


def test_the_svg_names_every_arm_and_the_pretraining_length_and_the_png_is_twice_its_size(experiment, tmp_path):
    svg, png = figure.save(figure.length_figure(experiment, "last_k"), tmp_path, "perplexity")
    text = svg.read_text()
    drawing = ElementTree.fromstring(text)
    for word in (
        "pretrained",
        "pi",
        "clex_blocks",
        "pretraining length L = 128",
        "How far does &lt;it&gt; reach?",
        "4L",
    ):
        assert f">{word}<" in text
    assert "ntk" not in text
    header = png.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(header[16:20], "big") == pytest.approx(2 * float(drawing.attrib["width"]), abs=2)


def test_twelve_arms_differ_in_colour_and_in_shape_or_dash(tmp_path):
    for order in range(12):
        write_run(tmp_path, f"arm{order}", order=order, nll=1 + order / 50)
    experiment = records.read_experiment(tmp_path)
    points = figure._points(experiment, statistics.estimates(experiment, "last_k"))
    assert len({point["colour"] for point in points}) == 12
    assert len({(point["shape"], str(point["dash"])) for point in points}) == 12


def test_names_keep_their_order_and_distance_and_stay_inside():
    rows = figure._spread([0.0, 1.0, 2.0, 200.0, 429.0, 430.0])
    assert np.diff(rows).min() >= figure.LABEL_GAP - 1e-6
    assert rows[0] >= 0
    assert rows[-1] <= figure.HEIGHT
    assert rows[3] == pytest.approx(200.0)


@pytest.mark.parametrize("ends", [(3.2, 60), (3.5, 3.9), (4.0, 9.0), (5, 3e6), (0.9, 1.1)])
def test_ticks_are_few_and_inside(ends):
    ticks = figure._ticks(*ends)
    assert 2 <= len(ticks) <= 9
    assert ends[0] <= min(ticks) <= max(ticks) <= ends[1]


def test_a_figure_without_numbers_is_refused(tmp_path):
    write_run(tmp_path, "ntk", rows=False, state="failed", reason="no memory")
    with pytest.raises(ValueError, match="finite perplexity"):
        figure.length_figure(records.read_experiment(tmp_path), "last_k")


# Page and report


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
    assert len(found.all("table")) == len(found.all("caption")) == 3
    assert all(attributes["scope"] in ("row", "col") for attributes in found.all("th"))
    assert [attributes["role"] for attributes in found.all("svg")] == ["img", "img"]
    assert all("last tokens" in a["aria-label"] or "windows" in a["aria-label"] for a in found.all("svg"))
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_links_reach_the_records_from_another_folder(folder, tmp_path):
    write_run(folder, "odd name#1")
    text = page.write_page(records.read_experiment(folder), tmp_path / "public", {}).read_text()
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
    assert capsys.readouterr().out == table.markdown_table(records.read_experiment(folder), "last_k")
    assert set(folder.iterdir()) == before


def test_importing_results_loads_neither_models_nor_plotting():
    heavy = ["torch", "transformers", "lightning", "hydra", "altair", "vl_convert", "scipy", "rich"]
    modules = ", ".join(
        f"lcx_lightning.results.{path.stem}" for path in Path(records.__file__).parent.glob("[a-z]*.py")
    )
    code = f"import sys, {modules}; print(*sorted(set({heavy}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
