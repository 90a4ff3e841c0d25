"""Arms of several commands under one name: told apart by the settings that differ, and by no others."""

import json

import pytest
from support.experiment_files import changed, write_run

from lcx_lightning.results import records
from lcx_lightning.results.naming import apart, named, settings

CONFIG = {
    "experiment": "mine", "question": None, "look_for": [], "arms": [], "results_dir": "results", "cache_dir": "cache",
    "factor": 8, "train_factor": 2, "pretrain_length": 128, "attention": "auto", "seed": 0, "seeds": 1, "jobs": 2,
    "report": {"against": None}, "launch": {"at_once": 2}, "logger": None, "grow": False,
    "trainer": {"accelerator": "cpu", "devices": 1, "precision": "32-true"},
    "model": {"source": {"_target_": "lcx.EmbeddedModel", "architecture": {"hidden_size": 64}}, "recipe": {"steps": 8}},
    "data": {"corpus": {"_target_": "lcx.StandardLibrary", "seed": 0}, "mixture": {"copy": 0.1}},
    "method": {
        "window": 16,
        "scaling": {"_target_": "lcx.CLEX", "steps": 6},
        "positions": {"_target_": "lcx.FixedFactor", "factor": 8},
        "pattern": {"_target_": "lcx.Lambda", "window": 16, "sink_tokens": 4},
    },
    "training": {"steps": 64, "rows": 4, "length_factor": 2, "optimizer": {"lr": 0.1, "method_lr": 0.0}},
    "evaluation": {
        "growing_context": {"_target_": "lcx.GrowingContext", "multiples": [1, 2], "last": 64, "batch_tokens": 4096},
        "left_over": {"windows": 3},
    },
}  # fmt: skip


def words(*changes):
    """What tells configurations apart."""
    return [" ".join(said) for said in apart([settings({"config": changed(CONFIG, one)}) for one in changes])]


def window(size):
    return {"method.window": size, "method.pattern.window": size}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (({}, {}), ["", ""]),
        (({"method.pattern.sink_tokens": 1}, {}), ["sink_tokens=1", "sink_tokens=4"]),
        ((window(16), window(32)), ["window=16", "window=32"]),
        (({"factor": 4, "method.positions.factor": 4}, {}), ["factor=4", "factor=8"]),
        (({"factor": 4}, {}), ["", ""]),  # nothing follows it
        (({"train_factor": 1, "training.length_factor": 1}, {}), ["train_factor=1", "train_factor=2"]),
        (({"training": None}, {}), ["training=none", "training=64-steps"]),
        (({"training.optimizer.lr": 0.3}, {}), ["lr=0.3", "lr=0.1"]),
        (({"training.steps": 9}, {}), ["training=9-steps", "training=64-steps"]),
        (({"factor": 8.0, "method.positions.factor": 8.0}, {}), ["", ""]),
        (({"attention": "dense"}, {}), ["attention=dense", "attention=auto"]),
        (({"trainer.precision": "bf16"}, {}), ["precision=bf16", "precision=32-true"]),
        (({"method.scaling": {"_target_": "lcx.YaRN", "fast": 4}}, {}), ["scaling=YaRN", "scaling=CLEX"]),
        (({"evaluation": {"cost": {"_target_": "lcx.Cost"}}}, {}), ["evaluation=cost", "evaluation=growing_context"]),
        (({"model.source": {"_target_": "lcx.HubModel", "name": "a/b"}}, {}), ["model=b", "model=embedded"]),
        (
            [{"model.source": {"_target_": "lcx.HubModel", "name": "a/b", "dtype": kind}} for kind in ("half", "full")]
            + [{}],
            ["dtype=half model=b", "dtype=full model=b", "model=embedded"],
        ),
        (
            [{"model.source": {"_target_": "lcx.HubModel", "name": name}} for name in ("a/b", "c/b")] + [{}],
            ["name=a/b model=b", "name=c/b model=b", "model=embedded"],
        ),
        (
            ({"method.pattern.sink_tokens": 1}, {"method.scaling.steps": 2}, {}),
            ["scaling.steps=6 sink_tokens=1", "scaling.steps=2 sink_tokens=4", "scaling.steps=6 sink_tokens=4"],
        ),
    ],
)
def test_settings_that_differ_are_named_by_the_shortest_end_of_their_key(changes, expected):
    assert words(*changes) == expected


@pytest.mark.parametrize(
    "change",
    [
        *({name: "other"} for name in ("experiment", "question", "results_dir", "cache_dir", "logger")),
        *({name: ["other"]} for name in ("look_for", "arms")),
        *({"jobs": 7}, {"seeds": 3}, {"seed": 5}, {"launch": {"at_once": 9}}, {"report": {"against": "pi"}}),
        *({"trainer.devices": 8}, {"trainer.accelerator": "gpu"}),
        {"evaluation.left_over": {"windows": 5}},
    ],
)
def test_what_is_no_part_of_an_arm_is_never_named(change):
    assert words(change, {}) == ["", ""]


def test_many_settings_are_named_by_those_that_tell_all_apart():
    values = {f"method.scaling.s{i}": 0 for i in range(9)}
    other = dict.fromkeys(values, 1)
    assert words(values, other) == ["s0=0 …", "s0=1 …"]


def test_seeds_of_one_configuration_are_one_arm_and_another_configuration_is_another(tmp_path):
    """Also if the seeds of the two do not meet: their mean would be that of unlike methods."""
    for seed in (0, 1):
        write_run(tmp_path, "lm_infinite", seed, config=changed(CONFIG, {**window(16), "seed": seed}))
    write_run(tmp_path, "lm_infinite", 2, config=changed(CONFIG, {**window(32), "seed": 2}))
    write_run(tmp_path, "pi", 0, order=1, config=changed(CONFIG, {}))
    found = records.read_experiment(tmp_path)
    assert [(run.arm, run.info["seed"]) for run in found.runs] == [
        ("lm_infinite window=16", 0),
        ("lm_infinite window=16", 1),
        ("lm_infinite window=32", 2),
        ("pi", 0),
    ]
    assert json.loads((tmp_path / "pi-0" / "run.json").read_text())["arm"] == "pi", "the records stay as they are"


def test_commands_that_named_one_configuration_differently_fill_one_row(tmp_path):
    """As a grid, a later command with another seed of one of its arms, one that is fine-tuned, and factor=4.0."""
    factor = {n: {"factor": n, "method.positions.factor": n, "training": None} for n in (2, 4, 4.0)}
    for arm, seed, change in (
        ("pi factor=2", 0, factor[2]),
        ("pi factor=4", 0, factor[4]),
        ("pi", 1, factor[4]),
        ("pi factor=4.0", 2, {"factor": 4.0, "method.positions.factor": 4.0, "training": None}),
        ("pi", 0, factor[2] | {"training": CONFIG["training"]}),
    ):
        place = f"{arm}-{seed}-{len(list(tmp_path.iterdir()))}"
        write_run(tmp_path, arm, seed, place=place, method="pi", config=changed(CONFIG, change | {"seed": seed}))
    found = records.read_experiment(tmp_path)
    assert sorted((run.arm, run.info["seed"]) for run in found.runs) == [
        ("pi factor=2 training=64-steps", 0),
        ("pi factor=2 training=none", 0),
        ("pi factor=4 training=none", 0),
        ("pi factor=4 training=none", 1),
        ("pi factor=4 training=none", 2),
    ]


def test_what_no_setting_tells_apart_is_told_by_contents_or_by_its_id(tmp_path):
    for number in range(4):
        contents = {"method": {"mine.py": f"{number // 2}abcdefgh"}}
        write_run(tmp_path, "mine", place=f"run{number}", config=changed(CONFIG, {}), contents=contents)
    runs = [records.read_run(path.parent) for path in sorted(tmp_path.glob("*/run.json"))]
    assert [run.arm for run in named(runs)] == [f"mine code={n // 2}abcde run=run{n}" for n in range(4)]


def test_runs_come_in_the_order_in_which_commands_have_asked_for_them(tmp_path):
    for place, arm, order in (("b", "pi", 1), ("a", "pretrained", 0), ("d", "ntk", 0), ("c", "unclaimed", 0)):
        write_run(tmp_path, arm, place=place, order=order)
    records.write_json(tmp_path / "experiment.json", {"runs": ["a", "b", "d", "deleted"]})
    assert records.read_experiment(tmp_path).arms() == ["pretrained", "pi", "ntk"]
