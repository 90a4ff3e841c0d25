"""Tasks of the lm-evaluation-harness on a model with a method: against its own wrapper, and against all logits."""

import json
import shutil
from functools import partial

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from support.lab import save_checkpoint
from support.prefixed import PREFIX, Prefixed
from support.refusals import COUNT, refusal
from support.text_corpora import CORPUS_ONLY, Books
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens, HubTokens
from lcx_lightning.evaluation.base import run
from lcx_lightning.evaluation.tasks.lm_eval_model import LMEvalModel
from lcx_lightning.evaluation.tasks.lm_eval_tasks import LMEvalTasks
from lcx_lightning.models.attach import attach
from lcx_lightning.models.generation import continuations
from lcx_lightning.models.rope_spec import rope_spec

LENGTH = 32  # tokens, pretraining length
CHOICE = """
task: choice
dataset_path: json
dataset_kwargs: {{data_files: {file}}}
test_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
WRITING = """
task: writing
dataset_path: json
dataset_kwargs: {{data_files: {file}}}
test_split: train
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[0]}}}}"
generation_kwargs: {{until: ["7"], max_gen_toks: 6, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two tasks and their examples, of numbers as words."""
    folder = tmp_path_factory.mktemp("tasks")
    words = [" ".join(str((7 * d + 3 * i * i) % 60) for i in range(3 + 5 * d)) for d in range(6)]
    rows = [
        {"question": w, "choices": [f"{i} 1", "20 30 40", f"{9 * i} 5"], "label": i % 3} for i, w in enumerate(words)
    ]
    file = folder / "examples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "choice.yaml").write_text(CHOICE.format(file=file))
    (folder / "writing.yaml").write_text(WRITING.format(file=file))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny model of words whose tokenizer puts BOS before a text when it is asked to."""
    folder = save_checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=LENGTH, initializer_range=0.5)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bos = ("<s>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[bos])
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(checkpoint, build):
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    return attach(model, build("yarn", rope_spec(model.config))).eval()


def harness(folder, **changes):
    settings = {"tasks": ["choice", "writing"], "folder": str(folder), "examples": None, "shots": 0, "multiple": 4}
    return LMEvalTasks(**settings | {"seed": 0, "batch_tokens": 150, "chunk": 50} | changes)


def asked(*pairs):
    return [Instance("loglikelihood", {}, pair, 0) for pair in pairs]


def test_scores_are_those_of_the_harness_with_its_own_wrapper_of_the_model(folder, checkpoint, model):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    wrapper = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, add_bos_token=True, max_length=4 * LENGTH)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    theirs = simple_evaluate(wrapper, tasks=["choice"], task_manager=manager, bootstrap_iters=0)["samples"]["choice"]
    data = LongContextData(Books(), HubTokens(str(checkpoint), None), CORPUS_ONLY)
    work_units = harness(folder).work_units(data, LENGTH, None)
    rows = [row for rows in run(work_units, model, lambda row: False, lambda done, total: None) for row in rows]
    known = [row for unit in work_units for row in unit.rows]
    assert [{k: v for k, v in row.items() if k != "value"} for row in rows] == known
    assert [unit.reads for unit in work_units] == [[(6, 128, 1, None)]] * 2
    ours = {(row["document"], row["metric"]): row["value"] for row in rows if row["at"]["task"] == "choice"}
    names = {"acc": "accuracy", "acc_norm": "accuracy_by_length"}
    assert ours == {(f"choice {s['doc_id']}", names[name]): s[name] for s in theirs for name in names}
    assert 0 < sum(ours.values()) < len(ours) == 2 * 6
    assert {row["dataset"] for row in rows} == {"harness/choice", "harness/writing"}
    requests = asked(("1 2 3", " 4 5"), ("", "6 7 8"), ("9", " 10"))
    for (nats, greedy), (their_nats, their_greedy) in zip(
        LMEvalModel(model, data.tokens, length=64, batch_tokens=1, chunk=50).loglikelihood(requests),
        wrapper.loglikelihood(requests, disable_tqdm=True),
        strict=True,
    ):
        assert (nats, greedy) == (pytest.approx(their_nats, abs=1e-4), their_greedy)


@pytest.mark.parametrize("batch_tokens", [1, 10_000])
def test_likelihoods_are_those_of_all_logits_of_the_last_tokens_that_fit(extended, batch_tokens):
    model, tokens = extended("dynamic_ntk", vocab_size=257), ByteTokens()
    pairs = [("one context", " of it"), ("", "alone"), ("a much longer context" * 4, " cut"), ("x", "y" * 80)]
    found = LMEvalModel(model, tokens, length=60, batch_tokens=batch_tokens, chunk=50).loglikelihood(asked(*pairs))
    for (context, continuation), (nats, greedy) in zip(pairs, found, strict=True):
        ids = torch.tensor([[256, *tokens.encode(context + continuation)[-59:]]])
        scored = min(len(continuation), 59)
        with torch.no_grad():
            logs = model(ids, use_cache=False).logits[0, :-1].double().log_softmax(-1)
        wanted = logs.gather(1, ids[0, 1:, None])[-scored:].sum()
        assert nats == pytest.approx(float(wanted), abs=1e-3)
        assert greedy == bool((logs.argmax(-1) == ids[0, 1:])[-scored:].all())


def test_the_likelihood_of_a_text_is_that_of_each_of_its_tokens_once(extended):
    model, tokens = extended("yarn", vocab_size=257), ByteTokens()
    attached = LMEvalModel(model, tokens, length=40, batch_tokens=200, chunk=50)
    (found,) = attached.loglikelihood_rolling(asked(("0123456789" * 3,)))
    (whole,) = attached.loglikelihood(asked(("", "0123456789" * 3)))
    assert found == pytest.approx(whole[0], abs=1e-3)
    counted = [len(continuation) for _, _, continuation in attached._windows("0123456789" * 13)]
    assert sum(counted) == 130


def test_what_is_written_ends_where_the_task_says(extended):
    model, tokens = extended("yarn", vocab_size=257), ByteTokens()
    attached = LMEvalModel(model, tokens, length=100, batch_tokens=200, chunk=50)
    (ids,) = continuations(model, [[256, *b"so:"]], 12, chunk=50)
    text = tokens.decode([token for token in ids if token != 256])
    end = text[5]
    requests = [
        Instance("generate_until", {}, ("so:", {"until": until, "max_gen_toks": 12}), 0) for until in ([], [end], end)
    ]
    assert attached.generate_until(requests) == [text, text.split(end)[0], text.split(end)[0]]
    with pytest.raises(ValueError, match="most probable tokens, this one asks for"):
        attached.generate_until([Instance("generate_until", {}, ("so:", {"do_sample": True}), 0)])


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"tasks": []}, "a list, not empty, of texts"),
        ({"examples": 0}, f"{COUNT} or null"),
        ({"multiple": 0}, "a number above 0"),
        ({"chunk": 0}, COUNT),
    ],
)
def test_settings_that_score_nothing_are_refused(folder, changes, allowed):
    with pytest.raises(ValueError, match=refusal(changes, allowed)):
        harness(folder, **changes)


def test_a_task_that_the_harness_has_not_is_refused_by_name(folder, monkeypatch):
    none_of_its_own = partial(TaskManager, include_defaults=False)  # to look through them all takes seconds
    monkeypatch.setattr("lcx_lightning.evaluation.tasks.lm_eval_tasks.TaskManager", none_of_its_own)
    with pytest.raises(ValueError, match="no task nothing_such: `lm-eval ls tasks`"):
        harness(folder, tasks=["choice", "nothing_such"]).work_units(None, LENGTH, None)
    assert harness(folder).work_units(None, LENGTH, 100) == []


def test_the_identity_of_examples_goes_by_their_contents_and_by_the_tasks(folder, tmp_path):
    """So that a dataset of the hub that has moved on, or an edited task, is another evaluation."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    known = harness(folder).examples_identity()
    assert harness(folder).examples_identity() == known
    assert harness(folder, examples=2).examples_identity() != known
    for name in ("choice.yaml", "writing.yaml"):
        text = (copy / name).read_text().replace(str(folder), str(copy))
        (copy / name).write_text(text)
    (copy / "examples.jsonl").write_text((copy / "examples.jsonl").read_text().replace("20 30 40", "20 30 41"))
    assert harness(copy).examples_identity() != known


def test_a_prefix_of_several_tokens_is_ahead_of_every_text_and_fits(extended):
    model = extended("yarn", vocab_size=259)
    asked = LMEvalModel(model, Prefixed(), length=20, batch_tokens=100, chunk=100)
    (text, answer), long = ("ab", "cde"), "abcdefghij" * 4
    assert asked._ids([], [1, 2]) == asked._ids([PREFIX[-1]], [1, 2]) == ([*PREFIX, 1, 2], 2)
    assert asked._ids(list(range(30)), [40, 41]) == ([*PREFIX, *range(15, 30), 40, 41], 2)
    ids = torch.tensor([[*PREFIX, *(text + answer).encode()]])
    with torch.no_grad():
        logs = model(ids, use_cache=False).logits.log_softmax(-1)
    nats = sum(float(logs[0, i - 1, ids[0, i]]) for i in range(5, 8))
    (found,) = asked.loglikelihood([Instance("loglikelihood", {}, (text, answer), 0)])
    assert found[0] == pytest.approx(nats, abs=1e-4)
    windows = [asked._ids(*pair[1:]) for pair in asked._windows(long)]
    assert sum(scored for _, scored in windows) == 40
    assert all(tuple(ids[:3]) == PREFIX and len(ids) <= 20 for ids, _ in windows)
