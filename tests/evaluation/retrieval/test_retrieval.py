"""Retrieval: answers against stock generation and all logits at once, rows, batches, processes and refusals."""

from collections import Counter

import numpy as np
import pytest
import torch
from support.lab import EVALUATION, TINY, folders, run_here, runs
from support.prompts import data_of, evaluation_of
from torch.nn.functional import log_softmax

from lcx_lightning.data.tokenizers import ByteTokens
from lcx_lightning.evaluation.base import run
from lcx_lightning.evaluation.retrieval import retrieval
from lcx_lightning.evaluation.retrieval.answer_likelihood import given_answers
from lcx_lightning.evaluation.retrieval.prompts.random_values import Values
from lcx_lightning.evaluation.retrieval.retrieval import contained
from lcx_lightning.models.generation import continuations
from lcx_lightning.results import records

LENGTH = 64  # tokens, pretraining length of the evaluations
METHODS = ["pretrained", "lm_infinite", "yarn", "dynamic_ntk", "lm_infinite_top_k", "clex"]
PROMPTS = torch.randint(0, 64, (3, 70), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def data():
    return data_of()


@pytest.fixture(scope="module")
def bytewise(extended):
    """A function: method -> a tiny model of bytes that uses it."""
    return lambda method: extended(method, vocab_size=257)


def passkey(**changes):
    settings = {"multiples": [1, 2], "depths": [0, 0.5, 1], "trials": 2, "batch_tokens": 256}
    return evaluation_of("passkey", **settings | changes)


def all_rows(evaluation, data, model, **options):
    work_units = evaluation.work_units(data, LENGTH, None)
    return [row for rows in run(work_units, model, lambda row: False, lambda *_: None, **options) for row in rows]


def numbers(rows):
    return {(row["document"], row["context_length"], row["metric"]): (row["value"], row["n"]) for row in rows}


def trials_of(work_units):
    return [trial for unit in work_units for trial in unit.compute.keywords["trials"]]


def by_hand(model, prompts, answers):
    """Return -log p of the answers, from all logits at once in float64."""
    ids = torch.cat([prompts, answers], dim=1)
    with torch.no_grad():
        logs = log_softmax(model(input_ids=ids, use_cache=False).logits.double(), dim=-1)
    first, count = prompts.shape[1] - 1, answers.shape[1]
    return -logs[:, first : first + count].gather(2, answers[..., None])[..., 0]


def generated(model, prompts, count):
    mask = torch.ones_like(prompts)  # no token is padding, whatever its number
    said = model.generate(prompts, max_new_tokens=count, do_sample=False, pad_token_id=0, attention_mask=mask)
    return said[:, prompts.shape[1] :]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "lm_infinite_top_k"])  # whose passes choose
def test_the_likelihood_of_an_answer_is_that_of_all_logits_at_once(name, extended):
    model, answers = extended(name), PROMPTS[:, 10:16]
    losses, _ = given_answers(model, PROMPTS, answers)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), by_hand(model, PROMPTS, answers), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", METHODS)
def test_an_answer_is_right_if_it_is_what_generation_gives(name, extended):
    model = extended(name)
    said = generated(model, PROMPTS, 6)
    _, right = given_answers(model, PROMPTS, said)
    assert right.all()
    for place in range(6):
        other = said.clone()
        other[1, place] = (other[1, place] + 1) % 64
        _, right = given_answers(model, PROMPTS, other)
        assert right[[0, 2]].all()
        assert right[1, :place].all()
        assert not right[1, place]


def test_a_generation_holds_logits_of_one_token_and_the_keys_of_a_window(extended):
    model, shapes = extended("lm_infinite"), []
    hook = model.get_output_embeddings().register_forward_hook(lambda _, given, __: shapes.append(given[0].shape))
    given_answers(model, PROMPTS, PROMPTS[:, :4])
    hook.remove()
    assert shapes == [(3, 64)] * 4


def test_rows_have_the_accuracy_and_the_likelihood_of_every_trial(bytewise, data, monkeypatch):
    model, seen = bytewise("yarn"), []
    monkeypatch.setattr(retrieval, "given_answers", lambda *given: seen.append(given[1:]) or given_answers(*given))
    rows = all_rows(passkey(), data, model)
    assert len(rows) == 2 * 3 * 2 * 2
    ids = [row for prompts, answers in seen for row in zip(prompts, answers, strict=True)]
    nll = [row for row in rows if row["metric"] == "nll"]
    hits = [row for row in rows if row["metric"] == "accuracy"]
    for (prompt, answer), row, hit in zip(ids, nll, hits, strict=True):
        assert len(prompt) + len(answer) == row["context_length"] == hit["context_length"]
        assert row["value"] == pytest.approx(float(by_hand(model, prompt[None], answer[None]).sum()), abs=1e-4)
        right = torch.equal(generated(model, prompt[None], 6)[0], answer)  # a blank and five letters
        assert (row["n"], hit["n"], hit["value"]) == (6, 1, float(right))
        text = data.tokens.decode(prompt[1:].tolist())
        needle = f"\n{text[-6:]}{data.tokens.decode(answer.tolist())}\n"
        assert text.index(needle) == round(hit["at"]["depth"] * (hit["context_length"] - 6 - 1 - 7 - 14))
        assert hit["at"] == row["at"]
        depth, trial = hit["at"]["depth"], hit["at"]["trial"]
        assert hit["document"] == row["document"] == f"passkey, depth {depth:g}, trial {trial}"
        assert {hit[k] for k in ("evaluation", "protocol", "dataset")} == {"retrieval", "passkey", "books/test"}
        assert (hit["details"], hit["at"]["task"]) == ({"asks": "5 letters", "scored": "exact"}, "passkey")


def test_a_model_that_knows_the_answer_is_right_and_one_that_does_not_is_wrong(bytewise, data, monkeypatch):
    model = bytewise("pretrained")
    rows = all_rows(passkey(), data, model)
    assert {row["value"] for row in rows if row["metric"] == "accuracy"} == {0.0}
    said = retrieval.Prompt

    def knowing(self, data, trial):
        prompt = asked_prompt(self, data, trial)
        answer = generated(model, torch.from_numpy(prompt.ids)[None], len(prompt.answer))[0]
        return said(prompt.ids, answer.numpy(), prompt.wanted)

    asked_prompt = retrieval.Retrieval._prompt
    monkeypatch.setattr(retrieval.Retrieval, "_prompt", knowing)
    rows = all_rows(passkey(), data, model)
    assert {row["value"] for row in rows if row["metric"] == "accuracy"} == {1.0}


def test_rows_of_generated_answers_have_the_share_of_what_is_wanted(bytewise, data, monkeypatch):
    model = bytewise("lm_infinite")
    tasks = {"niah_multivalue": {"room": 40}}
    evaluation = evaluation_of("ruler", multiples=[10], trials=3, batch_tokens=1300, tasks=tasks)
    evaluation._tasks = {name: evaluation._tasks[name] for name in tasks}
    asked_for = []

    def recorded(model, prompts, most, **options):
        asked_for.append((len(prompts), len(prompts[0]), most))
        return continuations(model, prompts, most, **options)

    monkeypatch.setattr(retrieval, "continuations", recorded)
    rows = all_rows(evaluation, data, model)
    kept = [[*(row[key] for key in ("metric", "value", "n")), row["details"]["scored"]] for row in rows]
    assert kept == [["accuracy", 0, 1, "contains"]] * 3
    assert asked_for == [(2, 640 - 40, 40), (1, 640 - 40, 40)]
    wanted = [evaluation._prompt(data, trial).wanted for trial in trials_of(evaluation.work_units(data, LENGTH, None))]
    says = iter([ByteTokens().encode(f" {', '.join(values[:2])} {values[0]}") for values in wanted])
    monkeypatch.setattr(retrieval, "continuations", lambda _, prompts, *__, **___: [next(says) for _ in prompts])
    assert [row["value"] for row in all_rows(evaluation, data, model)] == [0.5] * 3


def test_prompts_change_with_the_seed_and_with_the_name_of_the_task(data):
    evaluation, other = passkey(), passkey(seed=1)
    trial = trials_of(evaluation.work_units(data, LENGTH, None))[0]
    evaluation._tasks["another"] = evaluation._tasks["passkey"]
    wanted = [
        evaluation._prompt(data, trial).wanted,
        evaluation._prompt(data, trial._replace(task="another")).wanted,
        other._prompt(data, trial).wanted,
    ]
    assert len(set(wanted)) == 3


@pytest.mark.parametrize(
    ("wanted", "text", "share"),
    [
        (["12", "34"], " 12 and 34.", 1),
        (["12", "34"], "3412", 1),
        (["12", "34"], "34 34", 0.5),
        (["ABCDE"], "abcde", 1),
        (["abc"], "ABC", 1),
        (["12345"], "1234", 0),
        (["a", "b", "c", "d"], "", 0),
    ],
)
def test_wanted_strings_are_looked_for_anywhere_in_upper_and_lower_case(wanted, text, share):
    assert contained(wanted, text) == share


@pytest.mark.parametrize("kind", ["letters", "words"])
def test_neither_the_size_of_a_batch_nor_answers_of_other_lengths_beside_one_change_a_number(kind, bytewise, data):
    model, results = bytewise("dynamic_ntk"), []
    for batch in (1, 256, 10_000):
        evaluation = passkey(batch_tokens=batch)
        if kind == "words":  # of 4 or 6 bytes: prompts are as many shorter
            evaluation._tasks["passkey"]._value = Values({"words": 1})
        results.append(numbers(all_rows(evaluation, data, model)))
    assert len({n for _, n in results[0].values()}) == {"letters": 2, "words": 3}[kind]
    for other in results[1:]:
        assert list(other) == list(results[0])
        for key, (value, n) in results[0].items():
            assert other[key] == (pytest.approx(value, rel=1e-5), n)


def test_evaluation_on_two_processes_equals_one(bytewise, data):
    model = bytewise("lm_infinite")
    whole = all_rows(passkey(), data, model)
    shares = [numbers(all_rows(passkey(), data, model, share=(rank, 2))) for rank in (0, 1)]
    assert not set(shares[0]) & set(shares[1])
    assert shares[0] | shares[1] == numbers(whole)


def test_rows_that_are_done_are_not_asked_again_and_all_can_be_told_apart(bytewise, data):
    model, evaluation = bytewise("lm_infinite"), passkey()
    rows = all_rows(evaluation, data, model)
    done = {records.identity(row) for row in rows[:-2]}
    assert len(done) == len(rows) - 2
    work_units = evaluation.work_units(data, LENGTH, None)
    assert [row for unit in work_units for row in unit.rows] == [
        {k: v for k, v in row.items() if k not in ("value", "n")} for row in rows
    ]
    left = run(work_units, model, lambda row: records.identity(row) in done, lambda *_: None)
    assert [row for some in left for row in some] == rows[-2:]


def test_every_arm_is_asked_the_same_whatever_it_reaches_and_whatever_was_drawn_before(data):
    def prompts(max_context):
        np.random.seed(max_context)
        torch.manual_seed(max_context)
        evaluation = passkey()
        trials = trials_of(evaluation.work_units(data, LENGTH, max_context))
        return {trial: evaluation._prompt(data, trial).ids.tobytes() for trial in trials}

    short, whole = prompts(127), prompts(128)
    assert short == {trial: ids for trial, ids in whole.items() if trial.length == 64}
    assert len(set(whole.values())) == len(whole) == 2 * 3 * 2
    assert passkey().work_units(data, LENGTH, 63) == []
    trials = trials_of(passkey().work_units(data, LENGTH, None))
    assert len({passkey()._prompt(data, trial).wanted for trial in trials}) == len(trials)  # at every place another


@pytest.mark.parametrize("name", ["passkey", "passkey_pi", "ruler"])
def test_a_work_unit_reads_the_prompts_of_its_trials(name, data):
    evaluation = evaluation_of(name, multiples=[8, 12], trials=3)
    work_units = evaluation.work_units(data, 1024, None)
    for unit in work_units:
        trials, length = len(unit.compute.keywords["trials"]), unit.rows[0]["context_length"]
        assert unit.reads == [(trials, length, trials, length)]
    assert len(trials_of(work_units)) == len(set(trials_of(work_units)))
    assert evaluation.work_units(data, 1024, 100) == []


def test_distances_are_those_of_the_paper(data):
    evaluation = evaluation_of("passkey_pi")
    assert evaluation.lengths(4096) == [4096, 8192, 16384, 32768]
    assert [place.distance for place in evaluation._places(8192)] == list(range(256, 8193, 256))
    assert len(trials_of(evaluation.work_units(data, 4096, 4096))) == 32 * 10


def test_the_grid_of_the_passkey_has_ten_lengths_ten_depths_and_ten_trials(data):
    lengths = [trial.length for trial in trials_of(evaluation_of("passkey").work_units(data, 128, None))]
    assert list(Counter(lengths).values()) == [100] * 10
    assert (min(lengths), max(lengths)) == (128, 32 * 128)


def test_retrieval_runs_through_all_stages_of_an_arm(tmp_path):
    line = ["evaluation=[passkey,needle]", *TINY[: -len(EVALUATION)], *folders(tmp_path), "experiment=asked"]
    for name in ("passkey", "needle"):
        line += [f"evaluation.{name}.{key}" for key in ("multiples=[2,3]", "depths=[0,1]", "trials=2")]
    run_here("method=lm_infinite", *line)
    (finished,) = runs(tmp_path / "results" / "asked").values()
    assert len(finished.rows) == 2 * 2 * 2 * 2 * 2
    assert {row["protocol"] for row in finished.rows} == {"passkey", "needle"}
    assert all(np.isfinite(row["value"]) for row in finished.rows)
