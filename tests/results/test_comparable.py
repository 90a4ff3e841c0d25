"""What may stand in one table: other bases, corpora and lengths are apart, other methods and training are not."""

import re

import pytest
from support.experiment_files import changed, make_row, write_run

from lcx_lightning.results import records
from lcx_lightning.results.comparable import groups_of, parts_of
from lcx_lightning.results.metrics import Measure

LAST_K = Measure("last_k")
CONFIG = {
    "factor": 8, "seed": 0, "trainer": {"accelerator": "cpu", "precision": "32-true"},
    "model": {"source": {"_target_": "lcx.EmbeddedModel", "token": None}, "recipe": {"steps": 800}},
    "data": {"corpus": {"_target_": "lcx.HubCorpus", "load": {"path": "books"}}, "mixture": {"copy": 0.1}},
    "method": {"pattern": {"_target_": "lcx.Causal"}},
    "training": None,
    "evaluation": {
        "growing_context": {"_target_": "lcx.GrowingContext", "multiples": [1, 2], "last": 64, "windows": 12},
    },
}  # fmt: skip


def experiment(folder, *changes):
    """An arm for each change of the configuration, or of run.json where the key is that of another value in it."""
    for number, change in enumerate(changes):
        of_run = {key: value for key, value in change.items() if key in ("corpus", "pretrain_length", "model", "seed")}
        own = changed(CONFIG, {key: value for key, value in change.items() if key not in of_run})
        seed = of_run.pop("seed", 0)
        write_run(folder, f"arm{number}", seed, order=number, **{"corpus": "c", "config": own} | of_run)
    return records.read_experiment(folder)


HUB = {"model.source": {"_target_": "lcx.HubModel", "name": "hub/SmolLM2"}, "model.recipe": None}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (HUB, r"Split by model \(model=embedded \| model=SmolLM2\): two models differ in vocabulary"),
        ({"model.recipe.steps": 4}, r"Split by model \(steps=800 \| steps=4\)"),
        ({"model": "abcdef123"}, r"Split by model \(part 1 \| files=abcdef\)"),
        ({"data.mixture.copy": 0.5}, r"Split by training of the base \(copy=0\.1 \| copy=0\.5\): other base models"),
        ({"trainer.precision": "bf16"}, r"Split by training of the base \(precision=32-true \| precision=bf16\)"),
        ({"pretrain_length": 64}, r"Split by pretraining length \(pretrain_length=128 \| pretrain_length=64\)"),
        ({"corpus": "123456789"}, r"Split by corpus \(corpus=c \| corpus=123456\): other texts are read"),
        (
            {"corpus": "1", "data.corpus.load.path": "web"},
            r"Split by corpus(, training of the base)? \(path=books \| path=web\)",
        ),
    ],
)
def test_what_cannot_be_compared_is_in_parts_with_a_sentence(tmp_path, change, sentence):
    found = parts_of(experiment(tmp_path, {}, change, {}))
    assert [part.arms() for part in found.parts] == [["arm0", "arm2"], ["arm1"]]
    assert re.match(sentence, said := f"Split {found.words}: {found.why}"), said


@pytest.mark.parametrize(
    "change",
    [
        {"method": {"pattern": {"_target_": "lcx.Lambda"}}},
        {"training": {"steps": 9}},
        {"factor": 2},
        {"seed": 1},
        {"trainer.accelerator": "gpu"},
        {"model.source.token": "secret"},
        {"data.corpus.load.path": "moved/books"},  # the same texts
        {"evaluation.growing_context.last": 3},
    ],
)
def test_other_methods_training_seeds_and_readers_are_one_part(tmp_path, change):
    found = parts_of(experiment(tmp_path, {}, change))
    assert (len(found.parts), found.words, found.why) == (1, "", "")


def test_a_mixture_of_training_rows_is_no_part_of_a_checkpoint_that_comes_trained(tmp_path):
    assert len(parts_of(experiment(tmp_path, HUB, HUB | {"data.mixture.copy": 0.9})).parts) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"evaluation.growing_context.last": 32}, ["last=64", "last=32"]),
        ({"evaluation.growing_context.windows": 2}, ["windows=12", "windows=2"]),
    ],
)
def test_one_protocol_under_other_settings_is_in_tables_of_its_own(tmp_path, change, words):
    found = groups_of(experiment(tmp_path, {}, change), LAST_K)
    assert [part.part for part in found.parts] == words
    assert found.words == f"({' | '.join(words)})"
    assert "other settings or on other documents" in found.why


def test_evaluations_that_differ_in_their_lengths_share_a_table_only_on_the_same_windows(tmp_path):
    longer = {"evaluation.growing_context.multiples": [1, 2, 4, 8]}
    found = experiment(tmp_path, {}, longer, longer)
    assert len(groups_of(found, LAST_K).parts) == 1
    path = tmp_path / "arm1-0" / "records.jsonl"
    rows = [row | {"at": {"window": 9}} if row["context_length"] == 256 else row for row in records.read(path)]
    path.unlink()
    records.append(path, rows)
    split = groups_of(records.read_experiment(tmp_path), LAST_K)
    assert [part.arms() for part in split.parts] == [["arm0", "arm2"], ["arm1"]]
    assert [part.part for part in split.parts] == ["multiples=[1,2]", "multiples=[1,2,4,8]"]


def test_an_unfinished_run_that_has_read_a_part_of_the_documents_stays_with_the_others(tmp_path):
    experiment(tmp_path, {}, {})
    path = tmp_path / "arm1-0"
    records.write_json(path / "run.json", records.read_json(path / "run.json") | {"state": "interrupted"})
    rows = records.read(path / "records.jsonl")
    (path / "records.jsonl").unlink()
    records.append(path / "records.jsonl", rows[:2])
    assert len(groups_of(records.read_experiment(tmp_path), LAST_K).parts) == 1


def test_arms_that_were_to_have_no_number_of_a_measure_are_not_in_its_table(tmp_path):
    """A second command with other evaluations adds tables, and no rows of dashes; names are as short as before."""
    passkey = {"evaluation": {"passkey": {"_target_": "lcx.Retrieval", "protocol": "passkey"}}}
    for place, own, row in (("a", {}, {}), ("b", passkey, {"protocol": "passkey", "metric": "accuracy", "n": 1})):
        key = f"{row.get('protocol', 'last_k')}/{row.get('metric', 'nll')}"
        metrics = {key: {"title": "t", "axis": {"key": "context_length", "title": "t"}}}
        write_run(tmp_path, "pi", place=place, rows=False, config=changed(CONFIG, own), metrics=metrics)
        records.append(tmp_path / place / "records.jsonl", [make_row(value=1.0, **row)])
    found = records.read_experiment(tmp_path)
    assert found.arms() == ["pi evaluation=growing_context", "pi evaluation=passkey"]
    for measure, place in ((LAST_K, "a"), (Measure("passkey", "accuracy"), "b")):
        (part,) = groups_of(found, measure).parts
        assert [(run.arm, run.folder.name) for run in part.runs] == [("pi", place)]


def test_two_evaluations_of_one_kind_are_told_apart_by_their_protocol(tmp_path):
    """Where one run has both, and the other one of them, what they share is compared."""
    one = {"_target_": "lcx.Documents", "chunk": 1}
    both = {"documents": one, "documents_one_pass": one | {"chunk": None}}
    row = make_row(evaluation="documents", protocol="documents_128")
    for place, chosen in (("a", both), ("b", {"documents": one}), ("c", {"documents": one | {"chunk": 2}})):
        write_run(tmp_path, place, place=place, rows=False, config=changed(CONFIG, {"evaluation": chosen}))
        records.append(tmp_path / place / "records.jsonl", [row])
    found = groups_of(records.read_experiment(tmp_path), Measure("documents_128"))
    assert [part.arms() for part in found.parts] == [["a", "b"], ["c"]]
