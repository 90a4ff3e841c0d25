"""Files of sweeps: what wandb reads of them, and every point a run of its own."""

import pytest
import yaml
from support.lab import ROOT, TINY, arms_of, folders

from lcx_lightning.runner.settings import OF_EXPERIMENT

SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
SWEEP_KEYS = {"program", "command", "project", "entity", "name", "description", "method", "metric", "parameters"}
SWEEP_KEYS |= {"early_terminate", "run_cap"}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_is_a_grid_for_wandb_that_names_this_program(path):
    sweep = yaml.safe_load(path.read_text())
    assert set(sweep) <= SWEEP_KEYS
    assert {"program", "command", "method", "parameters"} <= set(sweep)
    assert sweep["program"] == "experiments.run"
    assert sweep["method"] in ("grid", "random", "bayes")
    assert sweep["command"][:4] == ["${env}", "${interpreter}", "-m", "${program}"]
    assert sweep["command"][-1] == "${args_no_hyphens}"
    for parameter in sweep["parameters"].values():
        assert len(parameter) == 1
        assert set(parameter) <= {"value", "values"}
        for value in parameter.get("values", [parameter.get("value")]):
            assert isinstance(value, str | int | float | bool)  # other kinds do not survive the way to Hydra
            assert not set(str(value)) & set(",={}'\" ")


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_point_of_every_sweep_builds_and_they_are_different_runs(path, tmp_path):
    sweep = yaml.safe_load(path.read_text())
    fixed = [item for item in sweep["command"][4:-1] if item != "logger=wandb"]
    fixed += [f"{name}={p['value']}" for name, p in sweep["parameters"].items() if name in OF_EXPERIMENT]
    turned = {name: p for name, p in sweep["parameters"].items() if name not in OF_EXPERIMENT}
    points = [""]
    for name, those in ((name, p.get("values", [p.get("value")])) for name, p in turned.items()):
        points = [f"{point} {name}={value}".strip() for point in points for value in those]
    arms = arms_of(*fixed, f"arms={points}", *TINY, *folders(tmp_path))
    assert len({arm.run for arm in arms}) == len(arms) == len(points)
    assert not any(arm.equals_pretrained for arm in arms)
