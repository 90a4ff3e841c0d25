"""The dashboard in a real browser that reaches no other host: charts, choice, search, themes, print, accessibility."""

import json
from io import StringIO

import pytest
from rich.console import Console
from support.browser import Visit, browser
from support.experiment_files import make_row, write_run
from support.many_arms import write_many

from experiments.report import PAPERS, main, verdicts
from lcx_lightning.results import records
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.report.command import report, write_dashboard
from lcx_lightning.results.report.tables import length_table, starred

pytestmark = pytest.mark.browser
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
CHART = "perplexity-values"


def window_run(folder, window, sinks, seed, order):
    """A run of a matrix of windows and sink tokens, with passkeys at depths and its costs."""
    pattern = {"_target_": "lcx_lightning.patterns.Lambda", "window": window, "sink_tokens": sinks}
    config = {"window": window, "sink_tokens": sinks, "method": {"pattern": pattern}}
    name = f"lm_infinite window={window} sink_tokens={sinks}"
    nll = 1 + 10 / window - sinks / 50
    info = {"method": "lm_infinite", "config": config, "order": order, "device_seconds": 30.0 + window}
    info |= {"fingerprint": f"{window:08x}{sinks:08x}", "command": f"lcx run window={window} seed={seed} arms=[]"}
    write_run(folder, name, seed, nll=nll + 0.02 * seed, place=f"w{window}-s{sinks}-{seed}", **info)
    at = [(n, depth) for n in (128, 256) for depth in (0.0, 0.5, 1.0)]
    shared = {"run": f"w{window}-s{sinks}-{seed}", "arm": name, "seed": seed, "protocol": "passkey"}
    rows = [
        make_row(**shared, metric="accuracy", value=float(depth >= 1 - sinks / 4), n=1, document=f"t{depth}",
                 context_length=n, at={"depth": depth, "task": "passkey"})
        for n, depth in at
    ]  # fmt: skip
    records.append(folder / f"w{window}-s{sinks}-{seed}" / "records.jsonl", rows)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """An experiment with every kind of chart: two seeds, a matrix of knobs, depths, and a run that failed."""
    folder = tmp_path_factory.mktemp("results") / "ablation"
    for seed in (0, 1):
        write_run(folder, "pretrained", seed, nll=1.5 + 0.1 * seed, order=0, train_length=None)
        for order, (window, sinks) in enumerate([(16, 0), (16, 4), (64, 0), (64, 4)], start=1):
            window_run(folder, window, sinks, seed, order)
    write_run(folder, "yarn", rows=False, state="failed", reason="no memory left", order=9)
    records.write_json(folder / "experiment.json", {"question": "What is a window worth?", "protocols": ["last_k"],
                                                    "look_for": ["a" * 90],
                                                    "commands": ["lcx run +exp=ablation"]})  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def page(results):
    """The page, with the verdicts."""
    path = results.parent / "report.html"
    return write_dashboard([results], path, claims=lambda experiment: verdicts(PAPERS, experiment))


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


def test_every_chart_is_drawn_and_nothing_is_asked_of_others(chromium, page):
    visit = Visit(chromium, page)
    visit.draw_all()
    charts = {place.get_attribute("class").split()[1] for place in visit.page.locator("[data-chart]").all()}
    assert charts >= {"lines", "depths", "matrix", "cost", "parallel"}
    assert not visit.blank_charts()
    assert not visit.errors
    assert not visit.requests


def test_a_chosen_arm_is_marked_everywhere_and_stands_in_the_address(chromium, page):
    visit = Visit(chromium, page)
    before = visit.picture(CHART)
    visit.page.locator("#list button").nth(2).click()
    visit.page.wait_for_selector("#overview tr.chosen")
    chosen = {row.get_attribute("data-arm") for row in visit.page.locator("tr.chosen").all()}
    assert chosen == {"2"}
    assert visit.count('.legend [data-choose="2"][aria-pressed="true"]') >= 2
    visit.page.wait_for_timeout(200)
    assert visit.picture(CHART) != before
    again = Visit(chromium, page, visit.page.evaluate("location.hash"))
    assert again.count('tr.chosen[data-arm="2"]') == visit.count('tr.chosen[data-arm="2"]') > 1


def test_a_click_into_a_chart_chooses_the_arm_and_the_length(chromium, page):
    visit = Visit(chromium, page)
    box = visit.page.locator(f'[data-chart="{CHART}"] canvas')
    at = visit.page.evaluate(
        f"""() => {{
          const rows = JSON.parse(document.getElementById("data").textContent).views.perplexity.values.columns;
          return [rows.arm[0], rows.place[0], document.querySelector('[data-chart="{CHART}"] canvas').clientWidth];
        }}"""
    )
    for x in range(30, 90, 3):  # the first place is near the left end of the axis
        for y in range(10, 300, 6):
            if not visit.count("tr.chosen"):
                box.click(position={"x": x, "y": y})
    assert visit.count("tr.chosen") > 1
    assert visit.count(f'th.chosen[data-place="{at[1]}"]') >= 1
    assert f"length={at[1]}" in visit.page.url


def test_arms_are_searched_and_hidden(chromium, page):
    visit = Visit(chromium, page)
    visit.page.fill("#search", "window=64")
    assert visit.count("#list li:not([hidden])") == 2
    visit.page.click("#only")
    assert visit.count("#overview tbody tr:not([hidden])") == 2
    assert "2 of 6 shown" in visit.page.inner_text("#counts")
    visit.page.click("#all")
    assert visit.count("#overview tbody tr:not([hidden])") == visit.count("#overview tbody tr")


def test_the_keyboard_goes_through_arms_and_lengths(chromium, page):
    visit = Visit(chromium, page)
    visit.page.focus(f'[data-chart="{CHART}"]')
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("ArrowRight")
    assert visit.count('tr.chosen[data-arm="0"]') > 1
    assert visit.page.input_value("#length") == "128"
    visit.page.keyboard.press("Escape")
    assert visit.count("tr.chosen") == 0
    assert "length" not in visit.page.url


def test_tables_equal_the_report_to_the_printed_digit(chromium, page, results):
    experiment = records.joined([records.read_experiment(results)])
    table = length_table(experiment, Measure("last_k"))
    visit = Visit(chromium, page)
    shown = visit.page.evaluate(
        """title => {
          const found = [...document.querySelectorAll("table")].find((t) => t.caption.textContent === title);
          return [...found.rows].map((row) => [...row.cells].map((cell) => cell.textContent));
        }""",
        table.title,
    )
    assert shown == [table.header, *([starred(cell) for cell in row] for row in table.rows)]


def test_verdicts_are_filtered(chromium, page):
    visit = Visit(chromium, page)
    every = visit.count("[data-verdicts]")
    assert visit.page.inner_text("#claims-shown") == f"{every} shown"
    visit.page.fill("#claim", "no such claim")
    assert visit.count("[data-verdicts]:not([hidden])") == 0
    visit.page.fill("#claim", "")
    visit.page.select_option("#verdict", "reproduced")
    assert visit.count("[data-verdicts]:not([hidden])") < every


def test_an_arm_shows_its_command_and_how_its_settings_differ(chromium, page):
    visit = Visit(chromium, page)
    visit.page.select_option("#arm", label="lm_infinite window=64 sink_tokens=4")
    visit.page.select_option("#against", label="lm_infinite window=16 sink_tokens=4")
    said = [one.inner_text() for one in visit.page.locator("#about-arm dd div code").all()]
    assert said == ["lcx run window=64 seed=0 arms=[]", "lcx run window=64 seed=1 arms=[]"]
    rows = [row.inner_text().split("\t") for row in visit.page.locator("#about-arm tbody tr").all()]
    assert ["window", "64", "16"] in rows
    assert not any(row[0] == "sink_tokens" for row in rows)
    visit.page.select_option("#arm", label="yarn (failed)")
    assert "Run its experiment again with\nlcx run +exp=ablation" in visit.page.inner_text("#about-arm")


def test_a_failed_cell_is_shown_with_its_reason(chromium, page):
    assert "no memory left" in Visit(chromium, page).page.inner_text("#where")


@pytest.mark.parametrize(
    "kind", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 380, "height": 800}}], ids=["light", "dark", "phone"]
)
def test_axe_finds_nothing_serious_and_nothing_is_too_wide(chromium, page, kind):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    visit = Visit(chromium, page, **kind)
    visit.draw_all()
    found = axe.Axe().run(visit.page).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
    assert not serious
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_dark_follows_the_system_and_the_button(chromium, page):
    visit = Visit(chromium, page, color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = visit.page.evaluate(colour)
    visit.page.click("#theme")
    assert visit.page.evaluate(colour) == "rgb(255, 255, 255)" != dark
    assert "theme=light" in visit.page.url
    visit.draw_all()
    assert not visit.errors


def test_print_leaves_out_what_is_pressed_and_opens_every_table(chromium, page):
    visit = Visit(chromium, page)
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    visit.page.emulate_media(media="print")
    assert not visit.page.is_visible("nav")
    assert not visit.page.is_visible("aside")
    assert visit.count("main details.table:not([open])") == 0
    assert len(visit.page.pdf()) > 10_000


def test_names_of_a_record_stay_text(chromium, tmp_path):
    """Files of a run may come from anybody: an arm, a question, a document or a reason is never markup."""
    for order, arm in enumerate((EVIL, "pretrained")):
        info = {"method": arm, "order": order, "config": {EVIL: EVIL, "window": order}}
        write_run(tmp_path, arm, place=f"run{order}", **info)
        path = tmp_path / f"run{order}" / "records.jsonl"
        rows = [row | {"document": EVIL, "dataset": EVIL} for row in records.read(path)]
        path.unlink()
        records.append(path, rows)
    write_run(tmp_path, "pi", place="run2", rows=False, state="failed", reason=EVIL, order=2)
    records.write_json(tmp_path / "experiment.json", {"question": EVIL, "look_for": [EVIL], "commands": [EVIL]})
    page = report(tmp_path, Console(file=StringIO()))[-1]
    visit = Visit(chromium, page)
    visit.draw_all()
    visit.page.select_option("#arm", "0")
    visit.page.select_option("#against", "1")
    assert not visit.errors
    assert not visit.requests
    assert visit.count("img") == 0
    assert visit.count("script") == 3  # the data, the bundle and ours
    assert visit.page.inner_text("h1") == EVIL
    assert EVIL in visit.page.inner_text("#list")


def test_a_page_of_many_arms_stays_small_and_answers(chromium, tmp_path):
    write_many(tmp_path / "large", arms=120, lengths=6, documents=8)
    page = tmp_path / "report.html"
    assert main([str(tmp_path / "large"), "-o", str(page), "--papers", str(tmp_path)]) in (0, 2)
    write_dashboard([tmp_path / "large"], page)
    assert page.stat().st_size < 3_000_000
    visit = Visit(chromium, page)
    visit.page.locator("#list button").nth(50).click()
    assert visit.count('tr.chosen[data-arm="50"]') >= 1
    data = json.loads(
        visit.page.inner_text("#data") or visit.page.evaluate("document.getElementById('data').textContent")
    )
    assert len(data["arms"]) == 120
    assert not visit.errors
