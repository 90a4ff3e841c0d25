"""The views and the report of W&B: what they hold, and that a second call changes them and adds none."""

import json
import re
from pathlib import Path

import pytest
import vl_convert
from support.experiment_files import make_row, write_run
from support.wandb_project import log_experiment, report
from support.wandb_server import wandb_server

from experiments.report import main
from lcx_lightning.results import records
from lcx_lightning.results.logged import COLUMNS
from lcx_lightning.results.report import wandb_panels as panels
from lcx_lightning.results.report.tables import markdown_table
from lcx_lightning.results.report.views import sections_of
from lcx_lightning.results.report.wandb_charts import DEPTH, HEAT, LENGTH, charts
from lcx_lightning.results.report.wandb_views import TITLE, dashboard_of, specification
from lcx_lightning.results.wandb_project import project_of

STORED = Path(__file__).with_name("wandb_views.json")
PLACEHOLDER = re.compile(r"\$\{(field|string):(\w+)\}")


def method(window, sinks, pattern="Lambda"):
    parts = {"pattern": {"_target_": f"lcx_lightning.patterns.{pattern}", "window": window, "sink_tokens": sinks}}
    return {"method": parts, "training": {"steps": 5}}


@pytest.fixture
def folder(tmp_path):
    """An experiment over windows and sinks, one arm with needles, one with numbers by position, and a cost."""
    folder = tmp_path / "windows"
    records.write_json(folder / "experiment.json", {"name": "windows", "question": "How <wide>?", "runs": []})
    for number, (window, sinks) in enumerate([(16, 0), (16, 4), (32, 0), (32, 4)]):
        more = {"config": method(window, sinks), "train_length": 256, "order": number, "device_seconds": 36.0}
        write_run(folder, f"lm window={window} sinks={sinks}", nll=1 + number / 10, place=f"lm{number}-0", **more)
    shared = {"run": "lm0-0", "arm": "lm window=16 sinks=0"}
    needles = [
        make_row(protocol="passkey", metric="accuracy", context_length=n, document="t", n=1, value=1, at={"depth": d})
        for n in (128, 256)
        for d in (0.1, 0.9)
    ]
    places = [make_row(protocol="positions", document="d", at={"position": place}) for place in (64, 128)]
    spectrum = [make_row(protocol="attention_logits", metric="largest_logit", document="d", at={"distance": 8})]
    times = [make_row(protocol="prompt_and_new_tokens", metric="decode_seconds", document="d")]
    rows = [row | shared for row in (*needles, *places, *spectrum, *times)]
    records.append(folder / "lm0-0" / "records.jsonl", rows)
    return folder


def shown(*folders):
    experiments = [records.read_experiment(folder) for folder in folders]
    return dashboard_of(project_of("team/project"), experiments, [])


def of_views(shown):
    """Return the panels of each view by section."""
    views = specification(shown)["views"]
    banks = {name: view["section"]["panelBankConfig"]["sections"] for name, view in views.items()}
    return {name: {one["name"]: one["panels"] for one in sections} for name, sections in banks.items()}


def test_the_specification_is_the_stored_one(folder, tmp_path):
    """But for the tables, which are those of the page."""
    whole = shown(folder)
    groups = [group._replace(tables=[]) for group in whole.parts[0].groups]
    bare = whole._replace(parts=[whole.parts[0]._replace(groups=groups)])
    now = json.dumps(specification(bare), indent=1, sort_keys=True) + "\n"
    (tmp_path / "now.json").write_text(now)
    assert json.loads(now) == json.loads(STORED.read_text()), f"if it is meant: cp {tmp_path / 'now.json'} {STORED}"


def test_the_report_has_the_tables_of_the_page(folder):
    texts = [block.get("content") for block in specification(shown(folder))["report"]["blocks"]]
    views = [view for section in sections_of(records.read_experiment(folder)) for view in section.views]
    tables = [markdown_table(table) for view in views for table in view.tables]
    assert len(tables) > 4
    assert not [table for table in tables if not any(text and text.endswith(table) for text in texts)]


def test_groups_are_those_of_the_page_and_hold_the_panels_of_its_figures(folder):
    (part,) = shown(folder).parts
    groups = {group.heading: group.panels for group in part.groups}
    assert [*groups] == [*panels.KINDS]
    lines = {one.y: one.x for some in groups.values() for one in some if isinstance(one, panels.Lines)}
    assert lines["cells/perplexity/last_k"] == lines["cells/ratio/last_k"] == "length"
    assert lines["by_position/perplexity/positions"] == "position"
    assert lines["by_distance/largest_logit/attention_logits"] == "distance"
    assert lines["cells/decode_seconds/prompt_and_new_tokens"] == "length"
    assert [(one.name, one.fields["x"], one.fields["y"]) for one in groups["Ablations"][:1]] == [
        (HEAT, "window", "sink_tokens")
    ]
    assert [one.name for one in groups["Retrieval and tasks"] if isinstance(one, panels.Chart)] == [LENGTH, DEPTH]


def test_what_no_run_has_is_not_shown(tmp_path):
    write_run(tmp_path / "plain", "pi")
    (part,) = shown(tmp_path / "plain").parts
    assert [group.heading for group in part.groups] == ["Perplexity", "Runs"]


def test_panels_fill_in_all_that_charts_want(folder):
    every = charts()
    (part,) = shown(folder).parts
    found = [one for group in part.groups for one in group.panels if isinstance(one, panels.Chart)]
    assert {one.name for one in found} == every.keys()
    for one in found:
        wanted = set(PLACEHOLDER.findall(json.dumps(every[one.name])))
        given = {("field", name) for name in one.fields} | {("string", name) for name in one.words}
        assert wanted <= given
        assert set(one.fields.values()) <= {*COLUMNS}


def rows_of(depths):
    cell = {"protocol": "last_k", "metric": "nll", "low": 1.5, "high": 9.5, "window": 16, "sink_tokens": 4}
    return [
        cell | {"arm": arm, "length": n, "depth": depth, "value": 2.0 + n / 128}
        for arm in ("pi", "clex")
        for n in (128, 256)
        for depth in depths
    ]


@pytest.mark.parametrize(("name", "depths", "marks"), [(LENGTH, [None], 2), (DEPTH, [0.1, 0.9], 8), (HEAT, [None], 1)])
def test_charts_draw_what_the_table_holds(name, depths, marks):
    words = {"protocol": "last_k", "metric": "nll", "title": "perplexity", "scale": "log"}
    words |= {"pretrain_length": "128", "length": "256", "x": "window", "y": "sink_tokens"}
    fields = {column: column for column in COLUMNS} | {"x": "window", "y": "sink_tokens"}
    filled = PLACEHOLDER.sub(lambda m: (fields if m[1] == "field" else words)[m[2]], json.dumps(charts()[name]))
    kind = "line mark" if name == LENGTH else "rect mark"
    for text, drawn in ((filled, marks), (filled.replace("'last_k'", "'other'"), 0)):
        spec = json.loads(text) | {"data": {"values": rows_of(depths)}}
        svg = vl_convert.vegalite_to_svg(spec | {key: 200 for key in ("width", "height") if key in spec})
        assert len(re.findall(f'aria-roledescription="{kind}"', svg)) == drawn


def test_a_name_that_could_end_an_expression_is_in_no_chart(tmp_path):
    write_run(tmp_path / "odd", "pi")
    rows = [make_row(protocol="x' || true || '", document="d", context_length=n) for n in (128, 256)]
    records.append(tmp_path / "odd" / "pi-0" / "records.jsonl", rows)
    (part,) = shown(tmp_path / "odd").parts
    every = [one for group in part.groups for one in group.panels]
    assert {one.words["protocol"] for one in every if isinstance(one, panels.Chart)} == {"last_k"}
    assert "cells/perplexity/x' || true || '" in {one.y for one in every if isinstance(one, panels.Lines)}


def test_names_stay_text_in_the_report(tmp_path):
    write_run(tmp_path / "odd", "</script><script>alert(1)</script>", place="odd-0")
    spec = specification(shown(tmp_path / "odd"))
    texts = [block["content"] for block in spec["report"]["blocks"] if block["type"] == "markdown-block"]
    assert any("alert(1)" in text for text in texts)
    assert not [text for text in texts if "<script>" in text.replace("\\<", "")]


def test_runs_that_cannot_be_compared_are_views_of_their_own_with_their_runs_alone(tmp_path):
    write_run(tmp_path / "a", "pi", pretrain_length=128, run="a1", wandb={"id": "a1-2"})
    write_run(tmp_path / "b", "pi", pretrain_length=256, run="b1")
    views = specification(shown(tmp_path / "a", tmp_path / "b"))["views"]
    filters = [view["section"]["runSets"][0]["filters"]["filters"] for view in views.values()]
    assert [[(one["key"]["name"], one["value"]) for one in some] for some in filters] == [
        [("name", ["a1-2"])],
        [("name", ["b1"])],
    ]
    assert [*views] == ["LCX Lightning: pretrain_length 128", "LCX Lightning: pretrain_length 256"]
    keys = {one.key for one in shown(tmp_path / "a", tmp_path / "b").parts}
    assert len(keys) == 2
    assert {one.key for one in shown(tmp_path / "a").parts} < keys  # the view of a part stays its own


def test_a_dry_run_prints_the_specification_and_writes_nothing(folder, capsys, no_account):
    before = sorted(folder.rglob("*"))
    assert main([str(folder), "--wandb", "team/project", "--dry-run"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["views"] == specification(shown(folder))["views"]
    assert sorted(folder.rglob("*")) == before
    verdicts = [block for block in printed["report"]["blocks"] if "Position Interpolation" in block.get("content", "")]
    assert "not tested" in verdicts[0]["content"]


def test_without_w_and_b_the_local_report_is_made_and_what_is_missing_is_said(folder, capsys, no_account):
    assert main([str(folder), "--wandb", "team/project"]) == 1
    assert (folder / "index.html").exists()
    assert "The W&B project team/project is out of reach" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"), [([], "a results folder is needed"), (["results", "--dry-run"], "--dry-run is of --wandb")]
)
def test_options_that_do_not_go_together_are_refused(line, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(line)
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_second_call_changes_views_report_and_charts_and_adds_none(folder, tmp_path):
    with wandb_server(tmp_path / "server") as server:
        log_experiment(tmp_path, server, folder)
        someone = {"projectName": "project", "entityName": "team", "description": ""}
        server.views["mine"] = someone | {
            "id": "mine",
            "type": "runs",
            "name": "x",
            "displayName": TITLE,
            "spec": "{}",
        }
        first = report(tmp_path, server, "--wandb", "team/project")
        held = {name: view["displayName"] for name, view in server.views.items()}
        second = report(tmp_path, server, "--wandb", "team/project")
        after = {name: view["displayName"] for name, view in server.views.items()}
        types = {view["type"]: json.loads(view["spec"]) for name, view in server.views.items() if name != "mine"}
        server.views.pop("view1")
        server.views.pop("view2")
        third = report(tmp_path, server, "--wandb", "team/project")
        assert server.unknown == []
    assert re.findall(r"created the (chart|view|report)", first) == ["chart"] * 3 + ["view", "report"]
    assert re.findall(r"(created|updated) the (\w+)", second) == [("updated", "view"), ("updated", "report")]
    assert re.findall(r"(created|updated) the (\w+)", third) == [("created", "view"), ("created", "report")]
    assert held == after == dict.fromkeys(["mine", "view1", "view2"], TITLE)
    assert server.views["mine"]["spec"] == "{}"
    assert server.charts == {f"team/{name}": spec for name, spec in charts().items()}
    assert types["project-view"]["section"]["panelBankConfig"]["sections"][0]["name"] == "Perplexity"
    addresses = re.findall(r"http\S+", second)
    assert addresses == re.findall(r"http\S+", first)
