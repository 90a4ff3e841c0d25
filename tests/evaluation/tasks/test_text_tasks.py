"""Tasks of text: prompts that fit, rows against answers by hand, and bad input."""

from dataclasses import replace

import pytest
from support.chat_tokenizers import chat_tokenizer
from support.refusals import COUNT, MULTIPLES, refusal
from support.text_corpora import CORPUS_ONLY, Books

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens, HubTokens
from lcx_lightning.evaluation.base import run
from lcx_lightning.evaluation.tasks.datasets.base import Example, ExampleSource
from lcx_lightning.evaluation.tasks.task import TextTask
from lcx_lightning.evaluation.tasks.text_tasks import TextTasks
from lcx_lightning.models.generation import continuations
from lcx_lightning.results.records import identity

LENGTH = 32  # tokens, pretraining length
BOS = 256
SHARED = {
    "cut": "middle",
    "chat": False,
    "chat_arguments": {"enable_thinking": False},
    "one_line": False,
    "first_line": False,
    "tag": None,
    "group": None,
}
TASKS = {
    "short": {"prompt": "Say: {input}", "answer_tokens": 5, "metrics": {"f1": "qa_f1"}},
    "long": {
        "prompt": "Read {context}, {input}",
        "answer_tokens": 100,
        "metrics": {"rouge_1": "rouge_1", "rouge_l": "rouge_l"},
        "first_line": True,
        "group": "long ones",
    },
}
FIELDS = [{"context": f"{i} " + "lorem ipsum " * 30, "input": "ab" * i} for i in range(5)]


class Fixed(ExampleSource):
    """Five examples of each task."""

    name = "fixed"

    def read(self, task):
        return [Example(f"{task}{i}", fields, (f"ans{i} wer", "other")) for i, fields in enumerate(FIELDS)]


def answering(**changes):
    settings = {"name": "fixed", "source": Fixed(), "tasks": TASKS, "every_task": SHARED, "chosen": None}
    settings |= {"examples": 4, "multiples": [1, 3], "sampling": None, "batch_tokens": 192, "chunk": 1000}
    return TextTasks(**settings | changes)


def task(**changes):
    return TextTask(**{**SHARED, **TASKS["long"], **changes})


@pytest.fixture(scope="module")
def data():
    return LongContextData(Books(), ByteTokens(), CORPUS_ONLY)


@pytest.fixture(scope="module")
def model(extended):
    """A model of bytes, with a method whose factor goes by length."""
    return extended("dynamic_ntk", vocab_size=257)


def all_rows(work_units, model, done=lambda row: False, share=(0, 1)):
    return [row for rows in run(work_units, model, done, lambda done, total: None, share) for row in rows]


# Prompts


@pytest.mark.parametrize("length", [40, 41, 400, 10_000])
@pytest.mark.parametrize("context", ["é" * 100, "x" * 100, "", "y" * 3000])
def test_a_prompt_and_its_answer_fit_the_context_and_only_what_is_too_long_is_cut(length, context):
    asked, tokens = task(), ByteTokens()
    ids = asked.ids(Example("one", {"context": context, "input": "why?"}, ()), tokens, length)
    room = length - asked.answer_tokens(length)
    whole = [BOS, *f"Read {context}, why?".encode()]
    assert len(ids) <= room
    assert ids[0] == BOS
    if len(whole) <= room:
        assert ids == whole
    else:
        assert len(ids) >= room - 6  # an odd one, and characters cut in two
        half = (room - 7) // 2
        assert ids[: half - 2] == whole[: half - 2]
        assert ids[2 - half :] == whole[2 - half :]


def test_a_prompt_cut_at_the_end_of_its_context_keeps_its_instructions():
    asked, tokens = task(cut="end_of_context"), ByteTokens()
    ids = asked.ids(Example("one", {"context": "0123456789" * 9, "input": "why?"}, ()), tokens, 80)
    assert tokens.decode(ids) == "Read " + ("0123456789" * 9)[: 80 - 20 - 1 - len("Read , why?")] + ", why?"
    with pytest.raises(ValueError, match=r"that of one has 12 tokens without what may be cut.*12 has room for 9"):
        asked.ids(Example("one", {"context": "0123456789", "input": "why?"}, ()), tokens, 12)


def test_an_answer_takes_a_quarter_of_the_context_at_most():
    assert [task().answer_tokens(n) for n in (32, 400, 4096)] == [8, 100, 100]


class Chatting(ByteTokens):
    """Bytes whose chats begin with BOS."""

    def chat(self, text, arguments):
        return [BOS, *self.encode(f"[{text}]" if arguments else f"({text})")]


def test_a_chat_template_wraps_the_prompt_and_an_open_tag_follows_it():
    example, tokens = Example("one", {"context": "x" * 90, "input": "why?"}, ()), Chatting()
    ids = task(chat=True, tag="A").ids(example, tokens, 80)
    assert len(ids) <= 60
    assert ids.count(BOS) == 1
    text = tokens.decode(ids)
    assert text.startswith("[Read xxx")
    assert text.endswith("x, why?]<A>")
    assert tokens.decode(task(chat=False).ids(example, tokens, 80)).startswith("Read")
    assert tokens.decode(task(chat=True).ids(example, ByteTokens(), 80)).startswith("Read")


def test_arguments_of_a_chat_template_reach_it_and_are_two_numbers(tmp_path, data):
    """Qwen3's template thinks unless it is told not to, and an answer after thinking is another number."""
    tokenizer = chat_tokenizer("bpe", tmp_path)
    example, tokens = Example("one", {"context": "hello", "input": "the end"}, ()), HubTokens(str(tmp_path), None)
    chat = [{"role": "user", "content": "Read hello, the end"}]
    identities = []
    for thinking in (False, True):
        shared = SHARED | {"chat": True, "chat_arguments": {"enable_thinking": thinking}}
        ids = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_dict=False, enable_thinking=thinking
        )
        assert task(**shared).ids(example, tokens, 400)[-len(ids) :] == ids
        assert (tokenizer.convert_tokens_to_ids("<think>") in ids) == (not thinking)
        (unit, *_) = answering(every_task=shared).work_units(data, LENGTH, None)
        assert unit.rows[0]["details"]["chat_arguments"] == {"enable_thinking": thinking}
        assert f"{unit.rows[0]['protocol']}/{unit.rows[0]['metric']}" in answering(every_task=shared).metrics()
        identities.append(identity(unit.rows[0]))
    assert identities[0] != identities[1]
    assert dict(identities[0])["protocol"] == "fixed"
    assert dict(identities[1])["protocol"] == "fixed_enable_thinking_true"


@pytest.mark.parametrize(
    ("changes", "said", "prediction"),
    [
        ({}, "\n\n a \nb", " a "),
        ({"first_line": False}, "\na\nb", "\na\nb"),
        ({"tag": "A"}, " b </A> c", "b"),
        ({"tag": "A"}, "so: <A>b\n</A>", "b"),
    ],
)
def test_an_answer_is_cut_out_of_what_was_written(changes, said, prediction):
    assert task(**changes).prediction(said) == prediction


# Rows


def by_hand(model, prompt, length, most):
    """Return what the model writes alone, as text, and the tokens of its prompt: BOS and both ends of it."""
    tokens, answer = ByteTokens(), min(most, length // 4)
    ids, room = prompt.encode(), length - answer - 1
    if len(ids) > room:
        ids = ids[: room // 2] + ids[len(ids) - room // 2 :]
    (found,) = continuations(model, [[BOS, *ids]], answer, chunk=1000)
    return tokens.decode([i for i in found if i != BOS]), len(ids) + 1


def test_rows_score_what_the_model_writes_after_each_prompt_cut_to_each_length(model, data, monkeypatch):
    # no random model hits an answer: score something that every text has
    monkeypatch.setattr("lcx_lightning.evaluation.tasks.task.score", lambda name, text, *_: len(text) + len(name))
    rows = all_rows(answering(examples=2).work_units(data, LENGTH, None), model)
    assert len(rows) == 2 * 2 * (1 + 2)
    for row in rows:
        fields = FIELDS[int(row["document"][-1])]
        spec = TASKS[row["at"]["task"]]
        said, prompt_tokens = by_hand(
            model, spec["prompt"].format(**fields), row["context_length"], spec["answer_tokens"]
        )
        said = said.lstrip("\n").split("\n")[0] if spec.get("first_line") else said
        assert row["details"]["prediction"] == said
        assert row["details"]["prompt_tokens"] == prompt_tokens
        assert row["value"] == len(said) + len(spec["metrics"][row["metric"]])
        assert row["n"] == 1
        assert row["dataset"] == f"fixed/{row['at']['task']}"
        assert row["at"].get("group") == spec.get("group")
    assert len({identity(row) for row in rows}) == len(rows)


@pytest.mark.parametrize("sampling", [None, {"temperature": 0.5, "top_p": 0.95, "seed": 0}])
def test_batches_processes_and_interruptions_change_no_row(model, data, sampling):
    def rows(share=(0, 1), done=lambda row: False, **changes):
        tasks = {name: spec | {"answer_tokens": 4} for name, spec in TASKS.items()}
        evaluation = answering(sampling=sampling, examples=3, tasks=tasks, **{"batch_tokens": 130} | changes)
        found = all_rows(evaluation.work_units(data, LENGTH, None), model, done, share)
        return {identity(row): row for row in found}

    whole = rows()
    assert rows(batch_tokens=10_000, chunk=20) == rows((0, 2), batch_tokens=1) | rows((1, 2), batch_tokens=1) == whole
    half = dict(list(whole.items())[: len(whole) // 2 - 1])
    assert half | rows(done=lambda row: identity(row) in half) == whole


def test_a_prompt_that_two_lengths_share_is_answered_once(model, data, monkeypatch):
    asked, where = [], "lcx_lightning.evaluation.tasks.text_tasks.continuations"
    monkeypatch.setattr(where, lambda m, prompts, new, **k: asked.extend(prompts) or [[65]] * len(prompts))
    all_rows(answering(chosen=["short"]).work_units(data, LENGTH, None), model)
    assert len(asked) == len({(tuple(prompt)) for prompt in asked}) == 4


def test_what_is_told_before_is_what_is_computed_in_lengths_that_a_method_reaches(model, data):
    work_units = answering().work_units(data, LENGTH, 40)
    told = [identity(row) for unit in work_units for row in unit.rows]
    rows = all_rows(work_units, model)
    assert [identity(row) for row in rows] == told
    assert {row["context_length"] for row in rows} == {32}
    assert answering().work_units(data, LENGTH, 20) == []
    assert [unit.reads for unit in work_units] == [[(4, 32, 4, 1000)]] * 2


# Settings


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"chosen": ["short", "nothing"]}, r"fixed\.chosen has nothing; choose from short, long"),
        ({"chosen": []}, "chosen has none at all"),
        ({"multiples": []}, refusal({"multiples": []}, MULTIPLES)),
        ({"examples": 0}, refusal({"examples": 0}, f"{COUNT} or null")),
        ({"chunk": 0}, refusal({"chunk": 0}, COUNT)),
        ({"sampling": {"temperature": 0, "top_p": 1, "seed": 0}}, r"^sampling\.temperature must be a number above 0"),
        ({"sampling": {"temperature": 1, "top_p": 1.1, "seed": 0}}, r"^sampling\.top_p must be .* up to 1, got 1\.1"),
        ({"sampling": {"temperature": 1, "seed": 0}}, r"A value is needed: sampling\.top_p"),
        ({"every_task": {**SHARED, "group": None}, "tasks": {"a": {**TASKS["short"], "metrics": {"x": "y"}}}}, "qa_f1"),
    ],
)
def test_settings_that_answer_nothing_are_refused(changes, needed):
    with pytest.raises(ValueError, match=needed):
        answering(**changes)


# Configurations


@pytest.mark.parametrize(
    "change", [{"fields": {"context": "c", "input": "other"}}, {"answers": ("x",)}, {"classes": ("y",)}]
)
def test_the_identity_of_examples_goes_by_their_contents(change):
    """So that a dataset of the hub that has moved on under the same names is another evaluation."""

    class Moved(Fixed):
        def read(self, task):
            first, *rest = super().read(task)
            return [replace(first, **change), *rest]

    known = answering().examples_identity()
    assert answering().examples_identity() == known
    assert answering(multiples=[1], batch_tokens=96).examples_identity() == known
    assert answering(source=Moved()).examples_identity() != known
