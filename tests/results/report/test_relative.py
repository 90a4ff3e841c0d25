"""The paired table, checked against ratios, differences and intervals made by hand and with scipy."""

import math
from io import StringIO

import numpy as np
import pytest
import scipy.stats
from rich.console import Console
from support.experiment_files import make_row, write_run

from experiments.report import main
from lcx_lightning.results import records
from lcx_lightning.results.metrics import Measure
from lcx_lightning.results.report.command import report
from lcx_lightning.results.report.relative import check_against, reference_of, relative_table

LAST_K, PASSKEY = Measure("last_k"), Measure("passkey", "accuracy")


def texts(table):
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_over_several_seeds_it_is_the_ratio_of_perplexities_with_a_t_interval(tmp_path):
    change = [0.1, 0.25, 0.3]  # in nats per token, of each seed
    for seed, more in enumerate(change):
        write_run(tmp_path, "pretrained", seed, nll=1.0 + 0.5 * seed)
        write_run(tmp_path, "pi", seed, nll=1.0 + 0.5 * seed + more, order=1)
    found = relative_table(records.read_experiment(tmp_path), LAST_K, "pretrained")
    low, high = scipy.stats.t.interval(0.95, 2, loc=np.mean(change), scale=scipy.stats.sem(change))
    expected = [f"{math.exp(x):.2f}" for x in (np.mean(change), low, high)]
    assert texts(found) == {"pi": ["{} [{}, {}]".format(*expected)] * 3}
    assert found.title.endswith("relative to pretrained [95%]")
    (note,) = found.notes
    assert "below 1 is better" in note
    assert "t over the seeds that both have (n = 3)" in note
    assert "bootstrap" not in note


def test_with_one_seed_it_is_a_bootstrap_over_the_documents_that_both_have(tmp_path):
    generator = np.random.default_rng(0)
    of_documents = {arm: generator.normal(nll, 0.3, size=60) for arm, nll in (("pretrained", 1.0), ("pi", 1.1))}
    for order, (arm, values) in enumerate(of_documents.items()):
        write_run(tmp_path, arm, rows=False, order=order)
        rows = [make_row(document=f"d{i}", value=20 * value, n=20) for i, value in enumerate(values)]
        records.append(tmp_path / f"{arm}-0" / "records.jsonl", rows[: 60 - 10 * order])  # pi has read 50 of them
    found = relative_table(records.read_experiment(tmp_path), LAST_K, "pretrained")
    difference = (of_documents["pi"] - of_documents["pretrained"])[:50]
    oracle = scipy.stats.bootstrap(
        (difference,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    value, low, high = (float(part.strip("[,]")) for part in texts(found)["pi"][0].split())
    assert value == pytest.approx(math.exp(difference.mean()), abs=0.006)
    assert math.log(low) == pytest.approx(oracle.low, abs=0.02)
    assert math.log(high) == pytest.approx(oracle.high, abs=0.02)
    assert "bootstrap over the documents that both have (n = 50), of one seed" in found.notes[0]


def test_of_scores_it_is_the_difference_with_a_sign(tmp_path):
    for order, (arm, hits) in enumerate({"pretrained": 2, "pi": 6, "ntk": 1}.items()):
        write_run(tmp_path, arm, rows=False, order=order)
        trial = {"protocol": "passkey", "metric": "accuracy", "n": 1}
        rows = [make_row(document=f"t{i}", value=float(i < hits), **trial) for i in range(10)]
        records.append(tmp_path / f"{arm}-0" / "records.jsonl", rows)
    found = texts(relative_table(records.read_experiment(tmp_path), PASSKEY, "pretrained"))
    assert found["pi"][0].startswith("+40.0 [+")
    assert found["ntk"][0].startswith("-10.0 [-")


def test_equal_arms_have_no_interval_and_the_reference_is_left_out(tmp_path):
    write_run(tmp_path, "pretrained")
    write_run(tmp_path, "lm_infinite", order=1)
    write_run(tmp_path, "tiny", order=2, nll=-2.0)
    found = texts(relative_table(records.read_experiment(tmp_path), LAST_K, "pretrained"))
    assert found["lm_infinite"] == ["1.00"] * 3
    assert found["tiny"] == ["0.050"] * 3  # e^-3, with two figures
    assert "pretrained" not in found


def test_numbers_of_an_unfinished_arm_are_in_parentheses_and_those_without_a_pair_are_not_there(tmp_path):
    write_run(tmp_path, "pretrained", not_evaluated={"512": "no memory"})
    write_run(tmp_path, "pi", order=1, state="failed", reason="stopped")
    write_run(tmp_path, "ntk", 1, order=2)
    found = relative_table(records.read_experiment(tmp_path), LAST_K, "pretrained")
    assert found.header == ["arm", "128 (1L)", "256 (2L)"]
    assert texts(found) == {"pi (failed)": ["(1.00)", "(1.00)"]}


def test_there_is_no_table_without_a_reference_or_of_what_neither_way_is_better(tmp_path):
    write_run(tmp_path, "pi")
    write_run(tmp_path, "pretrained", place="trained", train_length=256)  # fine-tuned: not the untouched model
    experiment = records.read_experiment(tmp_path)
    assert reference_of(experiment, experiment) is None
    write_run(tmp_path, "pretrained")
    for name in ("trained", "pretrained-0"):
        row = make_row(protocol="attention_logits", metric="largest_logit", at={"distance": 1})
        records.append(tmp_path / name / "records.jsonl", [row])
    measure = Measure("attention_logits", "largest_logit")
    assert relative_table(records.read_experiment(tmp_path), measure, "pretrained run=pretra") is None


def test_an_arm_without_a_seed_of_the_reference_is_said_to_be_left_out_and_seeds_that_differ_are_named(tmp_path):
    for arm, seed in (("pretrained", 0), ("pi", 0), ("yarn", 1)):
        write_run(tmp_path, arm, seed)
    said = printed(tmp_path)[0]
    assert "yarn is not compared: its seeds are 1, and those of pretrained are 0. Run both with the same." in said
    assert "compare arms on the seeds that they share. pi, pretrained: 0; yarn: 1." in said


def test_a_report_without_the_untouched_model_says_that_nothing_is_compared(tmp_path):
    write_run(tmp_path, "pi")
    assert "Nothing is compared with pretrained, which is not among these arms." in printed(tmp_path)[0]


def test_an_unknown_arm_is_refused_with_near_names():
    check_against("pi", ["pretrained", "pi"])
    with pytest.raises(ValueError, match=r"there is no 'pretraind'\. Did you mean 'pretrained'\? The arms are: pret"):
        check_against("pretraind", ["pretrained", "pi"])


def printed(folder, **options):
    console = Console(file=StringIO(), width=120)
    page = report(folder, console, **options)[-1].read_text()
    return " ".join(console.file.getvalue().split()), page


def test_every_report_compares_with_pretrained_or_with_the_arm_that_was_asked_for(folder, capsys):
    for text in (*printed(folder), capsys.readouterr().out):
        assert "relative to pi" not in text
    for text in printed(folder):
        assert "relative to pretrained [95%]" in text
    for text in printed(folder, against="pi"):
        assert "relative to pi [95%]" in text
        assert "relative to pretrained" not in text
    assert "relative to pretrained" in printed(folder)[0], "which is of that one report"
    records.write_json(folder / "experiment.json", records.read_json(folder / "experiment.json") | {"against": "pi"})
    for text in printed(folder):
        assert "relative to pi [95%]" in text
    assert main([str(folder), "--markdown", "--against", "clex_blocks"]) == 0
    assert "relative to clex_blocks" in capsys.readouterr().out.replace("\\", "")
    assert main([str(folder), "--against", "clex_block"]) == 2
    assert "Did you mean 'clex_blocks'?" in capsys.readouterr().err


def test_an_arm_that_was_asked_for_and_is_gone_is_said_to_be(folder):
    records.write_json(folder / "experiment.json", {"against": "yarn"})
    text, _ = printed(folder)
    assert "Nothing is compared with yarn, which is not among these arms." in text
    assert "relative to" not in text
