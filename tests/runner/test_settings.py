"""Every value of run.yaml is obeyed or refused, and texts are texts whatever was typed."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from support.lab import ROOT, TINY, TRAINING, built_arms_of, composed, folders

from lcx_lightning.runner.command import readable
from lcx_lightning.runner.expand import expand, words_of
from lcx_lightning.runner.settings import but_for_knobs, idle_knobs, settle

TRAINED = ["method=pi", "training=finetune", *TINY, *TRAINING]


def arm_of(*line):
    return built_arms_of(*line)[0].arm


def with_a_checkpoint(*line):
    return arm_of(*TRAINED, *line)


# setting -> another value, and what of the run it must change
OBEYED = {
    "experiment": ("mine", lambda *line: arm_of(*TINY, *line).folder.parent.name),
    "question": ("Why?", lambda *line: composed(*line).question),
    "takes": ("ages", lambda *line: composed(*line).takes),
    "look_for": ("[this]", lambda *line: list(composed(*line).look_for)),
    "arms": ("['method=pi,ntk']", lambda *line: len(built_arms_of(*TINY, *line))),
    "factor": ("4", lambda *line: with_a_checkpoint(*line).fingerprint),
    "train_factor": ("1", lambda *line: with_a_checkpoint(*line).train_length),
    "pretrain_length": ("128", lambda *line: (with_a_checkpoint(*line).lengths, with_a_checkpoint(*line).run)),
    "attention": ("flash_bands", lambda *line: with_a_checkpoint(*line).run),
    "grow": ("true", lambda *line: arm_of(*TINY, "method=dynamic_ntk", *line).run),
    "recompute": ("true", lambda *line: with_a_checkpoint(*line).config["recompute"]),
    "seed": ("1", lambda *line: with_a_checkpoint(*line).run),
    "seeds": ("2", lambda *line: len(built_arms_of(*TINY, *line))),
    "dry_run": ("fingerprint", lambda *line: composed(*line).dry_run),
    "in_loop": ("{every: 1}", lambda *line: with_a_checkpoint(*line).extend_key),
    "nonfinite": ("skip", lambda *line: with_a_checkpoint(*line).config["nonfinite"]),
    "jobs": ("1", lambda *line: composed(*line).launch.at_once),
    "checkpoint_seconds": ("3", lambda *line: with_a_checkpoint(*line).config["checkpoint_seconds"]),
    "report": ("{against: pi}", lambda *line: composed(*line).report.against),
    "lengths": ("[64,96]", lambda *line: with_a_checkpoint(*line).lengths),
    "window": ("20", lambda *line: arm_of(*TINY, "method=lm_infinite", *line).run),
    "sink_tokens": ("3", lambda *line: arm_of(*TINY, "method=lm_infinite", *line).run),
    "distance_limit": ("20", lambda *line: arm_of(*TINY, "method=lm_infinite", *line).run),
    "width": ("2", lambda *line: arm_of(*TINY, "method=clex", *line).run),
    "max_factor": ("8", lambda *line: arm_of(*TINY, "method=clex", *line).run),
    "solver_steps": ("3", lambda *line: arm_of(*TINY, "method=clex", *line).run),
    "results_dir": ("elsewhere", lambda *line: str(arm_of(*TINY, *line).folder.parent)),
    "cache_dir": ("elsewhere", lambda *line: str(arm_of(*TINY, *line).cache("base", "x"))),
}
SETTINGS = set(OmegaConf.load(ROOT / "experiments" / "configs" / "run.yaml")) - {"defaults", "hydra"}


@pytest.mark.parametrize("name", sorted(map(str, SETTINGS)))
def test_every_setting_is_obeyed(name, tmp_path, monkeypatch):
    """A setting that is added to run.yaml needs an entry in OBEYED: what it changes."""
    monkeypatch.chdir(tmp_path)
    value, observe = OBEYED[name]
    line = [] if name in ("results_dir", "cache_dir") else folders(tmp_path)
    if name == "in_loop":
        assert observe(*line) != observe(*line, "in_loop.every=1")
    else:
        assert observe(*line) != observe(*line, f"{name}={value}")


def test_a_knob_that_no_part_depends_on_is_told_from_one_that_some_does():
    with initialize_config_module("experiments.configs", version_base="1.3"):
        for method, ignored in (("lm_infinite", True), ("pi", False), ("self_extend", False), ("pretrained", True)):
            config = compose("run", [f"method={method}", *TINY])
            assert ("factor" in idle_knobs(config)) == ignored
            assert "train_factor" in idle_knobs(config)
        trained = compose("run", ["method=lm_infinite", "training=finetune", *TINY])
        assert not {"train_factor", "factor"} & {*idle_knobs(trained)}  # factor by way of train_factor


LAMBDA = ["method=lm_infinite", "window=16", "sink_tokens=1", "distance_limit=64", "factor=4"]


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ("window=32", True),
        ("factor=8", True),
        ("window=???", False),  # that of the method's file
        ("distance_limit=null", False),
        ("distance_limit=${window}", False),
        ("method=pi", False),
        ("training=finetune", False),
        ("evaluation.growing_context.last=${factor}", False),
    ],
)
def test_configurations_that_differ_in_values_of_knobs_alone_share_their_idle_knobs(change, alike):
    first, other = composed(*LAMBDA), composed(*LAMBDA, change)
    assert (but_for_knobs(first) == but_for_knobs(other)) == alike
    assert idle_knobs(first) == idle_knobs(other) or not alike


@pytest.mark.parametrize("follows", ["${oc.env:${window}}", "${evaluation.${window}}", "${oc.env:HOME}"])
def test_where_a_knob_may_choose_what_another_value_follows_nothing_is_shared(follows):
    config = composed(*LAMBDA)
    assert but_for_knobs(config) is not None
    OmegaConf.update(config, "evaluation.growing_context.last", follows)
    assert but_for_knobs(config) is None


@pytest.mark.parametrize(
    "given",
    [["question=5"], ["question=true"], ["experiment=7"], ["look_for=[1,2.5]"], ["results_dir=5", "cache_dir=6"]],
)
def test_texts_are_texts_whatever_was_typed(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = composed(*given)
    settle(config)
    for name in ("question", "experiment", "results_dir", "cache_dir"):
        assert config[name] is None or isinstance(config[name], str)
    assert all(isinstance(one, str) for one in config.look_for)
    assert arm_of(*TINY, *given).folder.parts[-2] == config.experiment


def test_folders_are_found_without_the_variable_of_the_home_folder(monkeypatch):
    """As cron and some schedulers start programs: the home folder is then the one of the user's account."""
    monkeypatch.delenv("HOME", raising=False)
    config = composed()
    settle(config)
    assert Path(config.cache_dir).is_absolute()
    assert "~" not in config.cache_dir


def test_no_home_at_all_is_a_sentence(monkeypatch):
    def nobody(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)
    with pytest.raises(ValueError, match="There is no home folder for results_dir=results: set results_dir, or HOME"):
        settle(composed())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("method=pi,ntk factor=2,4", ["method=pi,ntk", "factor=2,4"]),
        ("method=[pi, lm_infinite]   factor=2", ["method=[pi, lm_infinite]", "factor=2"]),
        ("question='a b' method=pi", ["question='a b'", "method=pi"]),
        ('+x={a: "b c", d: [1, 2]} y="it\'s [ here"', ['+x={a: "b c", d: [1, 2]}', 'y="it\'s [ here"']),
        (r"question='it\'s so' y=1", [r"question='it\'s so'", "y=1"]),
        ("", []),
    ],
)
def test_blanks_in_quotes_and_brackets_part_no_words(line, words):
    assert words_of(line) == words


def test_arms_may_have_values_with_blanks_and_quotes(tmp_path):
    lists = tmp_path / "a [b] c.json"
    lists.write_text('{"short_factor": [1.0, 1.0, 1.0, 1.0], "long_factor": [1.0, 1.0, 1.0, 4.0]}')
    line = [f"arms=[\"method=longrope method.scaling.file='{lists}'\"]"]
    arm = arm_of(*TINY, *line, "factor=4", *map(readable, folders(tmp_path / "out [1]")))
    assert arm.config["method"]["scaling"]["file"] == str(lists)
    assert list(arm.contents["method"]) == [str(lists)]
    assert "out [1]" in str(arm.folder)


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("results_dir=/tmp/a[b]/c", "results_dir='/tmp/a[b]/c'"),
        ("+x.path=/tmp/(1)/it's {x}", "+x.path='/tmp/(1)/it\\'s {x}'"),
        ("results_dir='/tmp/a[b]'", "results_dir='/tmp/a[b]'"),
        ("report.against=lm_infinite window=16", "report.against='lm_infinite window=16'"),
        ("report.against=pi", "report.against=pi"),
        ("report.against=", "report.against="),
        ("results_dir=/tmp/a b", "results_dir=/tmp/a b"),
        ("method=[pi,yarn", "method=[pi,yarn"),
        ("method=[pi,yarn]", "method=[pi,yarn]"),
        ("cache_dir=${oc.env:HOME}/[x]", "cache_dir=${oc.env:HOME}/[x]"),
        ("--config-dir=/tmp/[x]", "--config-dir=/tmp/[x]"),
        ("+exp=quickstart", "+exp=quickstart"),
    ],
)
def test_a_path_with_brackets_is_read_as_it_is_typed(word, read):
    assert readable(word) == read


def test_every_arm_of_a_grid_is_expanded_with_the_values_of_its_line():
    config = composed("arms=['method=pi,ntk factor=2,4','method=lm_infinite']", *TINY)
    with initialize_config_module("experiments.configs", version_base="1.3"):
        assert len(expand(config, TINY).cells) == 5


def test_a_factor_of_a_checkpoint_is_finite():
    assert math.isfinite(arm_of(*TINY).config["factor"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("method=pi experiment=../../outside", "belongs to the whole experiment"),
        ("method=pi jobs=7", "belongs to the whole experiment"),
        ("method=pi seeds=3", "belongs to the whole experiment"),
        ("method=pi report.against=pi", "belongs to the whole experiment"),
        ("method=pi results_dir=/elsewhere", "belongs to the whole experiment"),
        ("method=pi nonfinite=banana", "nonfinite must be stop or skip"),
        ("method=pi recompute=banana", "recompute must be true or false"),
        ("method=pi checkpoint_seconds=-5", "checkpoint_seconds must be a number above 0"),
        ("method=pi +banana=1", "The configuration has no 'banana'"),
        ("method=pi +data.banana=1", "data has no 'banana'"),
        ("method=pi training.steps=3", "training.steps=3 would change nothing: pi .*is not trained"),
    ],
)
def test_lines_of_arms_are_checked_as_the_command_line_is(line, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        arm_of(*TINY, f"arms=['{line}','method=ntk']", *folders(tmp_path))


@pytest.mark.parametrize(
    "word", ["+banana=1", "+data.banana=1", "+model.banana=1", "+training.banana=1", "+hardware.x=1"]
)
def test_values_that_nothing_reads_are_refused(word, tmp_path):
    part, _, name = word.lstrip("+").partition("=")[0].rpartition(".")
    with pytest.raises(ValueError, match=f"{part or 'The configuration'} has no '{name}'"):
        arm_of(*TINY, word, *folders(tmp_path))


@pytest.mark.parametrize("name", ["max_steps", "gradient_clip_val", "callbacks", "default_root_dir"])
def test_what_the_program_sets_in_the_trainer_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=f"trainer.{name} would change nothing"):
        arm_of(*TINY, f"+trainer.{name}=3", *folders(tmp_path))


@pytest.mark.parametrize(
    ("recipe", "said"), [("null", "no weights of its own"), ("''", "model.recipe must be a mapping")]
)
def test_a_model_without_weights_and_without_pretraining_is_refused(recipe, said, tmp_path):
    line = [word for word in TINY if not word.startswith("model.recipe")]
    with pytest.raises(ValueError, match=said):
        arm_of(*line, f"model.recipe={recipe}", *folders(tmp_path))


@pytest.mark.parametrize("clip", ["-3", "0", "nan", "abc"])
def test_a_norm_that_is_none_is_refused(clip, tmp_path):
    with pytest.raises(ValueError, match=r"clip.* (above 0|finite number)"):
        arm_of(*TRAINED, f"training.clip={clip}", *folders(tmp_path))


def test_arms_that_differ_in_settings_of_one_name_have_names_of_their_own(tmp_path):
    first, second = ("training.optimizer.lr=0.002", "model.recipe.optimizer.lr=0.002")
    arms = built_arms_of(
        *TINY,
        f"arms=['method=pi training=finetune {first}','method=pi training=finetune {second}']",
        *folders(tmp_path),
    )
    assert [built.arm.name for built in arms] == [f"pi {first}", f"pi {second}"]


def test_the_folder_of_an_arm_is_no_longer_than_a_file_system_allows(tmp_path):
    arm = arm_of(*TINY, "arms=['method=pi factor=2','method=pi factor=4']", *folders(tmp_path))
    long = replace(arm, name="pi " + "x" * 400)
    assert len(long.folder.name) < 150
