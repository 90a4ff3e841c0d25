"""Files of sweeps: what wandb reads of them, and every cell a run of its own."""

import re
from pathlib import Path

import pytest
import yaml
from hydra import initialize_config_module
from support.lab import ROOT, arms_of, folders

from lcx_lightning.runner.grid import build
from lcx_lightning.runner.preflight import identified
from lcx_lightning.runner.sweep.cells import cells_of
from lcx_lightning.runner.sweep.checks import check_early_terminate, check_metric, doubles, equal_to_pretrained
from lcx_lightning.runner.sweep.files import PACKAGE, find_sweep, read_sweep

SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
GRIDS = [path for path in SWEEPS if read_sweep(path).method == "grid"]
OTHERS = [path for path in SWEEPS if path not in GRIDS]
NAMES = ["hybrids", "learning_rate", "method_x_factor_x_seed", "ode_width", "paper_clex", "paper_lm_infinite"]
NAMES += ["paper_pi", "papers", "scale_factor", "window"]


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def test_they_are_these_and_come_with_the_package():
    assert [path.stem for path in SWEEPS] == NAMES
    assert sorted(path.stem for path in PACKAGE.glob("*.yaml")) == NAMES
    assert find_sweep("window") == PACKAGE / "window.yaml"
    assert find_sweep(str(SWEEPS[0])) == SWEEPS[0]


@named(SWEEPS)
def test_every_sweep_is_one_for_wandb_that_names_this_program(path):
    sweep = yaml.safe_load(path.read_text())
    assert sweep["command"][:5] == ["${env}", "${interpreter}", "-m", "${program}", "logger=wandb"]
    assert sweep["command"][-1] == "${args_no_hyphens}"
    assert f"experiment={path.stem}" in sweep["command"]
    assert sweep["metric"].keys() == {"name", "goal"}
    for parameter in sweep["parameters"].values():
        for value in parameter.get("values", [parameter.get("value")]):
            assert value is None or isinstance(value, str | int | float)


@named(SWEEPS)
def test_every_sweep_opens_with_its_question_and_how_long_it_takes(path):
    question, source, takes, how = path.read_text().splitlines()[:4]
    assert question.endswith("?")
    assert source.startswith("# ")
    assert re.fullmatch(r"# \d+ cells, about .* on two cores:", takes)
    assert f"experiments.sweep {path.stem} " in how
    cells = int(takes.split()[1])
    sweep = read_sweep(path)
    assert cells == (sweep.run_cap or count(sweep))
    assert sweep.takes == takes.removeprefix("# ").removesuffix(":")


def count(sweep):
    product = 1
    for values in sweep.values.values():
        product *= len(values)
    return product


@pytest.mark.slow
@named(GRIDS)
def test_every_cell_builds_and_they_are_different_runs_none_of_them_pretrained(path, tmp_path):
    sweep = read_sweep(path)
    with initialize_config_module("experiments.configs", version_base="1.3"):
        cells = cells_of(sweep, folders(tmp_path))
        arms = [identified(one) for one in build(cells.config, cells.grid)]
    labels = [f"{cells.turned[arm.order]} {arm.seed}" for arm in arms]
    assert len({arm.run for arm in arms}) == len(arms) == count(sweep)
    assert not [*doubles(arms, labels), *equal_to_pretrained(arms, labels), *check_metric(sweep, arms, labels)]
    assert {arm.config["experiment"] for arm in arms} == {path.stem}


@pytest.mark.slow
@named(OTHERS)
def test_every_end_of_what_is_drawn_builds_and_logs_the_metric(path, tmp_path):
    sweep = read_sweep(path)
    check_early_terminate(sweep)
    for end in ("min", "max"):
        drawn = [f"{key}={one[end]}" for key, one in sweep.drawn.items()]
        (arm,) = arms_of(*sweep.words, *drawn, *folders(tmp_path))
        assert check_metric(sweep, [arm], [end]) == []


@pytest.mark.slow
def test_a_cell_is_the_run_that_an_agent_would_make_of_it(tmp_path):
    sweep, line = read_sweep(find_sweep("ode_width")), [*folders(tmp_path)]
    with initialize_config_module("experiments.configs", version_base="1.3"):
        cells = cells_of(sweep, [*line, "seed=2"])
        arms = [identified(one) for one in build(cells.config, cells.grid)]
    for arm in arms[:: len(arms) - 1]:
        (alone,) = arms_of(*sweep.words, *cells.turned[arm.order].split(), "seed=2", *line)
        assert (arm.run, arm.name, arm.folder) == (alone.run, alone.name, alone.folder)


def test_the_folder_of_the_package_is_that_of_the_repository():
    assert Path(PACKAGE).resolve() == (ROOT / "sweeps").resolve()
