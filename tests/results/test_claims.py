"""Claims of papers: what their files may say, and the verdicts on them from records."""

import math

import pytest
from support.experiment_files import make_row, nats, write_run

from experiments.report import PAPERS
from lcx_lightning.results.claims import UNVERIFIED, Recorded, read_paper, read_papers
from lcx_lightning.results.findings import findings, models_of
from lcx_lightning.results.records import append, joined, read_experiment
from lcx_lightning.results.report.claims_table import claims_tables, verdicts_table
from lcx_lightning.runner.recorded import recorded

RECORDED = Recorded(
    ["pretrained", "pi", "lm_infinite"], {"last_k/nll": [1, 2, 4], "passkey/accuracy": [1, 2]}, ["last_k/nll"]
)
TABLE = """paper,table,model,method,train_length,eval_length,dataset,metric,value,source,verified
PI,Table 1,LLaMA-7B,None,2048,2048,PG19,perplexity,7.20,arXiv,yes
PI,Table 1,LLaMA-7B,None,2048,4096,PG19,perplexity,>1000,arXiv,no
"""
CLAIMS = """
paper: Position Interpolation (arXiv:2306.15595)
numbers: pi.csv
claims:
  explodes:
    claim: Perplexity explodes beyond L.
    source: table 1
    measure: last_k/nll
    numbers: [{eval_length: 2048}, {eval_length: 4096}]
    arm: {method: pretrained, at: [2, 4]}
    against: {method: pretrained, at: [1]}
    expect: {above: 1.05}
"""


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a file of claims, with changes to its text, and reads it."""

    def read(*changes, text=CLAIMS, recorded=RECORDED):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "pi.yaml").write_text(text)
        (tmp_path / "pi.csv").write_text(TABLE)
        return read_paper(tmp_path / "pi.yaml", recorded)

    return read


def found(paper, folder):
    (part,) = models_of(read_experiment(folder))
    return findings(paper.claims, part)


def test_a_claim_has_the_papers_numbers_beside_it_and_says_which_are_not_verified(file):
    (claim,) = file().claims
    assert claim.paper == "LLaMA-7B None: 7.20 at 2048; LLaMA-7B None: >1000 at 4096 (not verified)"
    assert claim.expect.text == "above 1.05"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("last_k/nll", "last_k/nlll"), ["claims.explodes.measure", "'last_k/nlll', which no evaluation records"]),
        (("arm: {method: pretrained", "arm: {method: pretraind"), ["claims.explodes.arm.method", "no such method"]),
        (("[2, 4]", "[2, 64]"), ["claims.explodes.arm.at names 64 L", "there are 1, 2, 4"]),
        (("{above: 1.05}", "{over: 1.05}"), ["claims.explodes.expect has no 'over'"]),
        (("{above: 1.05}", "{}"), ["claims.explodes.expect needs `above`"]),
        (("{above: 1.05}", "{above: 2, below: 1}"), ["claims.explodes.expect needs"]),
        (("{above: 1.05}", "{above: 0}"), ["claims.explodes.expect", "above 0"]),
        (("expect: {above", "compare: difference\n    expect: {above"), ["claims.explodes.compare"]),
        (("at: [1]", "at: [1, 2, 4]"), ["needs one length, or as many"]),
        (("{eval_length: 4096}", "{eval_length: 8192}"), ["claims.explodes.numbers.1 must choose one row", "0"]),
        (("{eval_length: 4096}", "{model: LLaMA-7B}"), ["must choose one row", "chooses 2"]),
        (("source: table 1", "table: 1"), ["claims.explodes"]),
        (("    expect", "    or_at: [64]\n    expect"), ["claims.explodes.or_at names 64 L", "there are 1, 2, 4"]),
        (("numbers: pi.csv", "numbers: no.csv"), ["no.csv"]),
    ],
)
def test_a_file_is_refused_with_its_name_and_the_claims(change, said, file):
    with pytest.raises(ValueError, match=r"pi\.yaml") as error:
        file(change)
    assert all(one in str(error.value) for one in said), error.value


def test_a_claim_is_tested_at_the_length_where_it_is_least_supported(file, tmp_path):
    nats(tmp_path / "x", range(3), {"pretrained": 2.0})
    (finding,) = found(file(), tmp_path / "x")
    assert (finding.verdict, finding.at) == ("reproduced", 2)
    assert finding.estimate.value == pytest.approx(math.exp(0.1))
    assert (finding.estimate.n_seeds, finding.estimate.n_documents) == (3, 3)


@pytest.mark.parametrize(
    ("at", "or_at", "where"),
    [("[4]", "[2]", 4), ("[3]", "[2]", 2), ("[3]", "[2, 4]", 2), ("[3]", "[]", None), ("[3]", "[0.5]", None)],
)
def test_a_claim_is_tested_elsewhere_only_where_its_own_lengths_are_not_measured(at, or_at, where, file, tmp_path):
    nats(tmp_path / "x", range(3), {"pretrained": 2.0})
    lengths = RECORDED.measures | {"last_k/nll": [0.5, 1, 2, 3, 4]}
    text = CLAIMS.replace("at: [2, 4]", f"at: {at}").replace("    expect", f"    or_at: {or_at}\n    expect")
    (finding,) = found(file(text=text, recorded=RECORDED._replace(measures=lengths)), tmp_path / "x")
    assert finding.at == where
    assert finding.verdict == ("reproduced" if where else "not tested")


def test_both_sides_go_to_the_other_lengths_if_they_were_at_the_same(file):
    sides = [("at: [1]", "at: [2, 4]"), ("    expect", "    or_at: [1]\n    expect")]
    claim = file(*sides).claims[0].elsewhere()
    assert (claim.arm.at, claim.against.at, claim.or_at) == ([1], [1], ())
    claim = file(sides[1]).claims[0].elsewhere()
    assert (claim.arm.at, claim.against.at) == ([1], [1])
    with pytest.raises(ValueError, match="or_at needs the lengths"):
        file(("at: [1]", "at: [1, 2]"), sides[1])


@pytest.mark.parametrize(
    ("expect", "verdict"),
    [
        ("{above: 1.2}", "not reproduced"),
        ("{below: 1.3}", "reproduced"),
        ("{within: 0.05}", "not reproduced"),
        ("{within: 0.3}", "reproduced"),
        ("{above: 1.1, below: 1.23}", "reproduced"),
    ],
)
def test_verdicts_follow_the_bounds(expect, verdict, file, tmp_path):
    nats(tmp_path / "x", range(3), {"pretrained": 2.0})
    (finding,) = found(file(("{above: 1.05}", expect)), tmp_path / "x")
    assert finding.verdict == verdict


def test_what_the_interval_does_not_settle_is_not_distinguishable(file, tmp_path):
    for seed, nll in enumerate([2.0, 2.3, 1.9]):
        write_run(tmp_path / "x", "pretrained", seed, nll=2.0, method="pretrained")
        write_run(tmp_path / "x", "pi", seed, nll=nll, method="pi", train_length=256)
    compared = (
        ("arm: {method: pretrained, at: [2, 4]}", "arm: {method: pi, trained_at: 2, at: [2]}"),
        ("at: [1]", "at: [2]"),
    )
    (finding,) = found(file(*compared, ("{above: 1.05}", "{above: 1.0}")), tmp_path / "x")
    assert finding.verdict == "not distinguishable"
    assert finding.estimate.low < 1 < finding.estimate.high


def test_what_has_no_records_is_not_tested_and_says_of_what(file, tmp_path):
    nats(tmp_path / "x", range(2), {"pretrained": 2.0})
    (finding,) = found(file(("arm: {method: pretrained", "arm: {method: pi, trained_at: 2")), tmp_path / "x")
    assert (finding.verdict, finding.reason) == ("not tested", "no records of pi (trained at 2L) at 2L, 4L")


def test_an_arm_that_was_trained_is_not_the_zero_shot_one(file, tmp_path):
    write_run(tmp_path / "x", "pretrained", method="pretrained", train_length=256)
    (finding,) = found(file(), tmp_path / "x")
    assert finding.verdict == "not tested"


def test_a_claim_about_several_arms_is_not_tested_until_settings_tell_them_apart(file, tmp_path):
    for place, tokens in (("a", 0), ("b", 10)):
        config = {"method": {"pattern": {"sink_tokens": tokens, "window": 128}}}
        write_run(
            tmp_path / "x", "lm_infinite", place=place, method="lm_infinite", config=config, nll=1.0 + tokens / 100
        )
    change = ("method: pretrained, at: [2, 4]", "method: lm_infinite, at: [2, 4]")
    (finding,) = found(file(change), tmp_path / "x")
    assert finding.verdict == "not tested"
    assert "several arms could be meant: " in finding.reason
    assert all(f"sink_tokens={tokens}" in finding.reason for tokens in (0, 10))
    write_run(tmp_path / "x", "pretrained", method="pretrained")
    assert found(file(change), tmp_path / "x")[0] == finding
    settings = "settings: {method.pattern.sink_tokens: 10, method.pattern.window: 1L}"
    one = ("method: pretrained, at: [2, 4]", f"method: lm_infinite, {settings}, at: [2, 4]")
    other = ("method: pretrained, at: [1]", f"method: lm_infinite, {settings.replace('10', '0')}, at: [1]")
    (finding,) = found(file(one, other), tmp_path / "x")
    assert finding.estimate.value == pytest.approx(math.exp(0.1 + 0.1))


def test_runs_that_have_not_finished_are_no_evidence(file, tmp_path):
    write_run(tmp_path / "x", "pretrained", method="pretrained", state="running")
    assert found(file(), tmp_path / "x")[0].verdict == "not tested"


def test_claims_of_one_model_are_corrected_together(file, tmp_path):
    for seed, more in enumerate([0.08, 0.12, 0.10]):  # t = 8.7, one-sided p = 0.0065
        write_run(tmp_path / "x", "pretrained", seed, nll=2, method="pretrained")
        write_run(tmp_path / "x", "pi", seed, nll=2 + more, method="pi", train_length=256)
    head, body = CLAIMS.split("claims:\n")
    body = body.replace("arm: {method: pretrained, at: [2, 4]}", "arm: {method: pi, trained_at: 2, at: [1]}")
    body = body.replace("above: 1.05", "above: 1.0")
    alone = file(text=f"{head}claims:\n{body}")
    many = file(text=f"{head}claims:\n" + "".join(body.replace("explodes", f"claim_{i}") for i in range(20)))
    assert found(alone, tmp_path / "x")[0].verdict == "reproduced"
    assert {finding.verdict for finding in found(many, tmp_path / "x")} == {"not distinguishable"}


def test_numbers_that_are_no_perplexities_are_compared_by_their_ratio_where_a_claim_says_so(file, tmp_path):
    for method, share in (("pretrained", 0.5), ("pi", 0.75)):
        for seed in range(3):
            write_run(tmp_path / "x", method, seed, method=method, rows=False)
            rows = [
                make_row(
                    arm=method,
                    seed=seed,
                    protocol="passkey",
                    metric="accuracy",
                    value=share + seed / 100,
                    n=1,
                    document=d,
                )
                for d in ("a", "b")
            ]
            append(tmp_path / "x" / f"{method}-{seed}" / "records.jsonl", rows)
    sides = [
        ("arm: {method: pretrained, at: [2, 4]}", "arm: {method: pi, at: [1]}"),
        ("last_k/nll", "passkey/accuracy"),
    ]
    points = file(*sides, ("{above: 1.05}", "{above: 24, below: 26}"))
    ratio = file(*sides, ("expect: {above: 1.05}", "compare: ratio\n    expect: {above: 1.4, below: 1.55}"))
    assert [found(paper, tmp_path / "x")[0].verdict for paper in (points, ratio)] == ["reproduced"] * 2
    assert found(points, tmp_path / "x")[0].estimate.value == pytest.approx(25)
    expected = (0.75 / 0.5 * 0.76 / 0.51 * 0.77 / 0.52) ** (1 / 3)
    assert found(ratio, tmp_path / "x")[0].estimate.value == pytest.approx(expected)
    said = [claims_tables([paper], read_experiment(tmp_path / "x"))[0].rows[0][3].text for paper in (points, ratio)]
    assert [text.split()[1] for text in said] == ["+25.0", f"{expected:.2f}"]


def test_sides_that_cannot_be_compared_are_named_with_their_parts(file, tmp_path):
    for method, windows in (("pretrained", 12), ("pi", 24)):
        evaluation = {"growing_context": {"_target_": "lcx_lightning.evaluation.GrowingContext", "windows": windows}}
        write_run(tmp_path / "x", method, method=method, config={"evaluation": evaluation})
    change = ("arm: {method: pretrained, at: [2, 4]}", "arm: {method: pi, at: [1]}")
    (finding,) = found(file(change), tmp_path / "x")
    assert finding.verdict == "not tested"
    assert finding.reason == "its two sides are in parts that cannot be compared: windows=24 | windows=12"


def test_the_files_of_the_package_are_read_and_name_what_is_recorded():
    papers = read_papers(PAPERS, recorded())
    assert [len(paper.claims) > 3 for paper in papers] == [True] * 3
    assert not any(
        UNVERIFIED in claim.paper for paper in papers for claim in paper.claims if claim.name != "as_fast_as_rope"
    )


def test_the_short_table_has_a_verdict_with_its_number_or_a_dash(file, tmp_path):
    nats(tmp_path / "x", range(3), {"pretrained": 2.0})
    other = file(("arm: {method: pretrained", "arm: {method: pi, trained_at: 2"))
    table = verdicts_table([file(), other], read_experiment(tmp_path / "x"))
    assert [[cell.text for cell in row] for row in table.rows] == [
        [
            "Position Interpolation",
            "Perplexity explodes beyond L.",
            "reproduced: 1.11 [1.11, 1.11] at 2L, the weakest of 2L to 4L",
        ],
        ["Position Interpolation", "Perplexity explodes beyond L.", "\N{EN DASH}"],
    ]


def test_a_run_that_several_folders_have_counts_once_where_it_is_most_complete(tmp_path):
    nats(tmp_path / "x", range(2), {"pretrained": 2.0})
    nats(tmp_path / "y", range(3), {"lm_infinite": 2.0, "pretrained": 2.0})
    write_run(tmp_path / "z", "pretrained", method="pretrained", state="running", rows=False)
    whole = joined([read_experiment(tmp_path / name) for name in "zxy"])
    assert [(run.arm, run.info["seed"]) for run in whole.runs].count(("pretrained", 0)) == 1
    assert len(whole.runs) == 6
    assert all(run.finished for run in whole.runs)


def test_an_arm_that_has_no_records_of_the_measure_is_not_meant(file, tmp_path):
    nats(tmp_path / "x", range(3), {"pretrained": 1.0})
    for seed in range(3):
        other = {"arm": "pretrained evaluation=cost", "method": "pretrained", "seed": seed}
        write_run(tmp_path / "x", rows=False, place=f"other-{seed}", **other)
        append(
            tmp_path / "x" / f"other-{seed}" / "records.jsonl", [make_row(protocol="cost", metric="seconds", **other)]
        )
    (said,) = found(file(), tmp_path / "x")
    assert said.verdict == "reproduced"
