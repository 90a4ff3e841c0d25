"""`lcx.load`: the model of a run computes the numbers of its records."""

import json
import shutil

import pytest
import torch
from support.lab import EVALUATION, TINY, TRAINING, folders, run_here, save_checkpoint, save_documents

import lcx_lightning as lcx
from lcx_lightning.results import records
from lcx_lightning.runner.built_arm import load_data

SLOWER = """
from lcx_lightning.scaling import FrequencyScaling

class Slower(FrequencyScaling):
    def inv_freq(self, factor):
        return self.spec.inv_freq().repeat(len(factor), 1) / factor[:, None] ** {power}
"""


def nll_again(model, arm):
    """Return the sums of nats of the last tokens of each window under `last_k`, computed from logits alone."""
    data = load_data(arm.config, {})
    chosen = arm.config["evaluation"]["growing_context"]
    windows = data.evaluation_windows("test", max(arm.lengths), chosen["windows"], chosen["seed"])
    found = {}
    for length in arm.lengths:
        ids = data.window_ids(windows, length)
        with torch.no_grad():
            logits = model(ids).logits[:, :-1].double()
        nats = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        for number, window in enumerate(windows):
            found[length, number, window.document] = float(nats[number, -chosen["last"] :].sum())
    return found


def agrees(model, arm):
    """Return whether a model gives the numbers of an arm's records."""
    rows = [row for row in records.read(arm.folder / "records.jsonl") if row["protocol"] == "last_k"]
    again = nll_again(model, arm)
    assert len(rows) == len(again) == 4
    before = sorted((row["context_length"], row["document"], row["value"]) for row in rows)
    now = sorted((length, document, value) for (length, _, document), value in again.items())
    return all(a[:2] == b[:2] and a[2] == pytest.approx(b[2], rel=1e-5) for a, b in zip(before, now, strict=True))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("load")


KINDS = {
    "zero-shot": ["method=lm_infinite", "method.pattern.window=32"],
    "trained": ["method=pi", "training=finetune", *TRAINING],
    "learned": ["method=clex", "training=finetune", *TRAINING],
    "lora": ["method=yarn", "training=finetune", "training/lora=default", *TRAINING],
}


@pytest.fixture(scope="module", params=KINDS)
def arm(request, place):
    """An arm of a base that is trained here."""
    return run_here(*TINY, *KINDS[request.param], f"experiment={request.param}", *folders(place))


def test_the_loaded_model_gives_the_numbers_of_the_records(arm, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = lcx.load(arm.folder)
    assert agrees(model, arm)
    assert not model.training
    assert model.generate(torch.tensor([[256, 100, 101]]), max_new_tokens=3, do_sample=False).shape == (1, 6)
    moved = tmp_path / "moved"
    shutil.copytree(place / "cache", moved)
    by_name = lcx.load(arm.folder.parent / arm.name, cache_dir=moved)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), by_name.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("training", [[], ["training=finetune", *TRAINING]])
def test_a_model_folder_is_found_from_another_working_directory(training, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "checkpoint")
    line = ["model=hub", "model.source.name=checkpoint", *save_documents(tmp_path / "data"), *EVALUATION]
    arm = run_here(*line, "method=pi", *training, "results_dir=results", "cache_dir=cache")
    folder = arm.folder.absolute()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    model = lcx.load(folder)
    monkeypatch.chdir(tmp_path)
    assert agrees(model, arm)


@pytest.fixture
def finished(place):
    return run_here(*TINY, *KINDS["trained"], "experiment=refused", *folders(place))


def changed(arm, **values):
    """Write other values into run.json."""
    path = arm.folder / "run.json"
    records.write_json(path, records.read_json(path) | values)


def test_what_is_not_there_is_refused_with_near_names(finished):
    with pytest.raises(ValueError, match=r"There is no arm 'pii' in .*refused. Did you mean pi\?"):
        lcx.load(finished.folder.parent / "pii")
    with pytest.raises(ValueError, match=r"There is no run of seed 3 in .* There are the seeds 0"):
        lcx.load(finished.folder, seed=3)
    with pytest.raises(ValueError, match="There is no experiment 'nothing'"):
        lcx.load("nothing")
    with pytest.raises(ValueError, match=r"neither run.json nor experiment.json"):
        lcx.load(finished.folder.parents[2] / "cache")


def test_one_of_several_runs_is_chosen_by_its_seed(finished, tmp_path):
    experiment = tmp_path / "several"
    for seed in (0, 1):
        shutil.copytree(finished.folder, experiment / f"pi-s{seed}")
        path = experiment / f"pi-s{seed}" / "run.json"
        records.write_json(path, records.read_json(path) | {"seed": seed})
    with pytest.raises(ValueError, match="There are several runs of pi: give its seed"):
        lcx.load(experiment / "pi")
    assert agrees(lcx.load(experiment / "pi", seed=0), finished)


@pytest.mark.parametrize(("state", "reason"), [("failed", "OSError: disk"), ("interrupted", None), ("damaged", None)])
def test_a_run_that_has_not_finished_is_refused(state, reason, finished):
    before = (finished.folder / "run.json").read_text()
    changed(finished, state=state, reason=reason)
    if state == "damaged":
        (finished.folder / "run.json").write_text("{")
    with pytest.raises(ValueError, match=f"its state is {state}"):
        lcx.load(finished.folder)
    (finished.folder / "run.json").write_text(before)


def test_a_checkpoint_that_was_cleaned_away_is_named_with_the_command_that_makes_it_again(finished, tmp_path):
    records.write_json(
        finished.folder.parent / "experiment.json", {"name": "refused", "commands": ["lcx run OTHER", "lcx run MINE"]}
    )
    with pytest.raises(ValueError, match=r"no longer in the cache: .*/base/.* lcx clean .* && lcx run MINE"):
        lcx.load(finished.folder, cache_dir=tmp_path)


def test_a_changed_fingerprint_is_refused(finished):
    before = (finished.folder / "run.json").read_text()
    changed(finished, fingerprint="0" * 16)
    with pytest.raises(ValueError, match=r"does something else now than when .* was run"):
        lcx.load(finished.folder)
    (finished.folder / "run.json").write_text(before)


def test_an_own_class_is_loaded_while_it_does_what_it_did(place, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lent").mkdir()
    (tmp_path / "lent" / "slower.py").write_text(SLOWER.format(power=1))
    target = "{_target_: lent.slower.Slower}"
    line = [*TINY, "method=pi", f"method.scaling={target}", "experiment=own", *folders(place)]
    for module in ("expand", "grid"):  # which take classes of --config-dir alone
        monkeypatch.setattr(f"lcx_lightning.runner.{module}.check_targets", lambda *_: None)
    arm = run_here(*line)
    assert agrees(lcx.load(arm.folder), arm)
    module = __import__("lent.slower").slower
    monkeypatch.setattr(module.Slower, "inv_freq", lambda self, factor: self.spec.inv_freq().repeat(len(factor), 1))
    with pytest.raises(ValueError, match="does something else now"):
        lcx.load(arm.folder)


@pytest.mark.parametrize("target", ["subprocess.check_output", "torch.hub.load", "json.loads", "lcx_lightning.x.Y"])
def test_a_run_json_may_not_name_code_that_is_installed(target, finished):
    before = (finished.folder / "run.json").read_text()
    info = json.loads(before)
    info["config"]["method"]["scaling"] = {"_target_": target}
    (finished.folder / "run.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match="is not a public name"):
        lcx.load(finished.folder)
    (finished.folder / "run.json").write_text(before)
