"""The dashboard on Weights & Biases: saved views and a report with the panels of a page, made by code.

A view is found again by a name that follows from the base and the corpus of its runs, the report by its title
and description: a second call changes them, and adds none. Whatever else there is in the project is left alone.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import wandb_workspaces.reports.v2.interface as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr
from wandb_workspaces.workspaces.internal import get_view_dict

from lcx_lightning.results.records import Experiment, joined
from lcx_lightning.results.report import wandb_panels as panels
from lcx_lightning.results.report.tables import Table, escaped, markdown_table
from lcx_lightning.results.report.wandb_charts import charts
from lcx_lightning.results.wandb_project import Project, asked, create_chart

TITLE = "LCX Lightning"
ABOUT = "Made by `python -m experiments.report --wandb`, which writes it anew."  # tells the report from others
ARM = "lcx.arm"  # of the configuration: what runs of several seeds share
COLUMNS = ("arm", "method", "factor", "seed", "train_length", "fingerprint", "git_commit")  # of `lcx`, beside the name
WIDTH, HEIGHT, ACROSS = 12, 8, 2  # of a panel in a report, which is 24 wide
MOST = 100  # lines and bars in a panel
OPEN = (panels.LENGTH, panels.RETRIEVAL)  # sections that are open from the start
RANDOM = ("id", "__id__", "ref")  # keys of a specification whose values are drawn anew each time


class Dashboard(NamedTuple):
    """What is shown in a project: questions that were asked, verdicts on claims, and parts of the runs."""

    project: Project
    questions: Sequence[str]
    claims: Sequence[Table]
    parts: Sequence[panels.Part]


def dashboard_of(project: Project, experiments: Sequence[Experiment], claims: Sequence[Table]) -> Dashboard:
    """What is shown of experiments, with the verdicts on claims."""
    questions = [str(one.meta["question"]) for one in experiments if one.meta.get("question")]
    return Dashboard(project, [*dict.fromkeys(questions)], claims, panels.parts_shown(joined(experiments)))


def specification(shown: Dashboard) -> dict[str, Any]:
    """What would be saved, as plain data, without what is drawn at random."""
    views = {view.name: _plain(view._to_model().spec) for _, view in _views(shown)}
    return {"views": views, "report": _plain(_report(shown)._to_model().spec), "charts": charts()}


def publish(shown: Dashboard) -> Iterator[str]:
    """Save charts, views and report, and yield what was done, with addresses.

    Raises:
        OutOfReachError: If W&B is out of reach, or refuses any of them.
    """
    entity, place = shown.project.entity, str(shown.project)
    with asked(shown.project) as api:
        views = [(view, key, _id_of_view(shown.project, key)) for key, view in _views(shown)]
        report = _report(shown)
        same = (one for one in api.reports(place) if (one.display_name, one.description) == (TITLE, ABOUT))
        before = next(same, None)
        report.id, held = (before.id, json.dumps(before.spec)) if before else ("", "")
        for name, spec in charts().items():
            if f'"{entity}/{name}"' not in held and create_chart(api, entity, name, spec):
                yield f"created the chart {entity}/{name}"
        for view, key, found in views:
            view._internal_name, view._internal_id = f"nw-{key}-v", found
            yield f"{_said(found)} the view {view.name}: {view.save().url}"
        said = _said(report.id)
        yield f"{said} the report {TITLE}: {report.save().url}"


def _said(found: str) -> str:
    return "updated" if found else "created"


def _id_of_view(project: Project, key: str) -> str:
    """The id of a saved view; empty if there is none."""
    try:
        return get_view_dict(project.entity, project.name, key)["id"]
    except ValueError as error:
        if "Workspace" in str(error):
            return ""
        raise


def _views(shown: Dashboard) -> list[tuple[str, ws.Workspace]]:
    """A view for each part, by the part's key as the address of the view has it."""
    several = len(shown.parts) > 1
    found = []
    for part in shown.parts:
        sections = [
            ws.Section(
                name=group.heading,
                panels=[wr.MarkdownPanel(markdown=group.caption), *_panels(group, shown.project.entity)],
                is_open=group.heading in OPEN,
                layout_settings=ws.SectionLayoutSettings(columns=2, rows=2),
            )
            for group in part.groups
        ]
        runset = ws.RunsetSettings(
            filters=_filters(part, several),
            order=[expr.Ordering(expr.Metric("Name"), ascending=True)],
            pinned_columns=["run:displayName", *(f"config:lcx.value.{name}" for name in COLUMNS), "summary:status"],
        )
        view = ws.Workspace(
            entity=shown.project.entity,
            project=shown.project.name,
            name=_without_signs(f"{TITLE}: {part.name}" if several else TITLE),
            sections=sections,
            settings=ws.WorkspaceSettings(max_runs=MOST),
            runset_settings=runset,
        )
        found.append((f"lcx{hashlib.sha256(part.key.encode()).hexdigest()[:8]}", view))
    return found


def _filters(part: panels.Part, several: bool) -> expr.And:
    """Which runs are shown: all arms, also those that come later; of several parts those of one, as they are now."""
    return expr.And(expr.Metric("ID").isin(part.runs) if several else expr.Metric("JobType") != "base")


def _report(shown: Dashboard) -> wr.Report:
    """The report: questions, verdicts, and of every part the panels with captions and tables."""
    blocks: list[Any] = [wr.TableOfContents()]
    blocks += [wr.MarkdownBlock(text=escaped(question)) for question in shown.questions]
    if shown.claims:
        blocks += [wr.H1(text="Verdicts"), *map(_table, shown.claims)]
    for part in shown.parts:
        blocks += [wr.H1(text=part.name or "Results")]
        blocks += [wr.MarkdownBlock(text=escaped(sentence)) for sentence in part.sentences]
        runs = _filters(part, len(shown.parts) > 1)
        for group in part.groups:
            grid = wr.PanelGrid(runsets=[wr.Runset(filters=runs)], panels=_panels(group, shown.project.entity))
            blocks += [wr.H2(text=group.heading), wr.MarkdownBlock(text=group.caption), grid]
            blocks += map(_table, group.tables)
    return wr.Report(*shown.project[::-1], title=TITLE, description=ABOUT, blocks=blocks, width="fluid")


def _table(table: Table) -> wr.MarkdownBlock:
    return wr.MarkdownBlock(text=f"{escaped(table.title)}\n\n{markdown_table(table)}")


def _panels(group: panels.Group, entity: str) -> list[Any]:
    """The panels of a group, two side by side."""
    found = [_panel(one, entity) for one in group.panels]
    for i, panel in enumerate(found):
        panel.layout = wr.Layout(x=i % ACROSS * WIDTH, y=i // ACROSS * HEIGHT, w=WIDTH, h=HEIGHT)
    return found


def _panel(one: panels.Panel, entity: str) -> Any:
    """A panel as W&B has it."""
    over_seeds = {"groupby": wr.Config(ARM), "groupby_aggfunc": "mean", "groupby_rangefunc": "stderr"}
    match one:
        case panels.Lines(title, x, y, x_title, log_x, log_y):
            axes = {"x": x, "y": [y], "title_x": x_title, "log_x": log_x, "log_y": log_y}
            return wr.LinePlot(title=title, smoothing_type="none", max_runs_to_show=MOST, **axes, **over_seeds)
        case panels.Bars(title, metric):
            return wr.BarPlot(title=title, metrics=[metric], max_bars_to_show=MOST, **over_seeds)
        case panels.Points(title, x, y, log_y):
            axes = {"x": wr.SummaryMetric(x), "y": wr.SummaryMetric(y), "log_x": True, "log_y": log_y}
            return wr.ScatterPlot(title=title, **axes)
        case panels.Parallel(title, names, result, log):
            columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(f"lcx.{name}"), name) for name in names]
            last = wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(result), result, log=log)
            return wr.ParallelCoordinatesPlot(title=title, columns=[*columns, last])
        case panels.Importance(result):
            return wr.ParameterImportancePlot(with_respect_to=result)
        case panels.Chart(name, fields, words):
            query = {"summaryTable": {"tableKey": "cells"}}
            place = f"{entity}/{name}"
            return wr.CustomChart(query=query, chart_name=place, chart_fields=fields, chart_strings=words)
        case panels.Comparison():
            return wr.RunComparer(diff_only="split")


def _without_signs(name: str) -> str:
    """A name without the signs that the name of a view may not have, such as = and |."""
    kept = ["" if unicodedata.category(sign).startswith("S") else sign for sign in name.replace("=", " ")]
    return " ".join("".join(kept).split())


def _plain(spec: Any) -> Any:
    """A specification as plain data, without what is drawn at random."""
    return _without_ids(json.loads(spec.model_dump_json(by_alias=True, exclude_none=True)))


def _without_ids(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_ids(value) for key, value in node.items() if key not in RANDOM}
    return [_without_ids(inner) for inner in node] if isinstance(node, list) else node
