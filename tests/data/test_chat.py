"""A chat holds the message whole, is the same every day, or is refused by a sentence."""

from datetime import datetime

import pytest
from support.chat_tokenizers import chat_tokenizer

from lcx_lightning.data.chat import TODAY
from lcx_lightning.data.tokenizers import HubTokens


def tokens_with(template, folder):
    tokenizer = chat_tokenizer("bpe", folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return HubTokens(str(folder), None)


@pytest.mark.parametrize(
    "template",
    [
        "<s>{% for m in messages %}{% for c in m.content %}{{ c.text }}{% endfor %}{% endfor %}",
        "{% for m in messages if m.role == 'assistant' %}{{ m.content }}{% endfor %}",
        "<s>{{ messages[0].content | upper }}",
        "<s>{{ messages[0].content[:4] }}",
    ],
)
@pytest.mark.parametrize("text", ["hello world", "hello </s> world"])
def test_a_template_that_leaves_out_or_changes_the_message_is_refused(template, text, tmp_path):
    with pytest.raises(ValueError, match="leaves out or changes the message"):
        tokens_with(template, tmp_path).chat(text, {})


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('a system message is required') }}", "a system message is required"),
        ("{% for m in messages %}", "end of template"),
        ("{{ tools[0].name }}{{ messages[0].content }}", "None has no element 0"),
        ("{{ 1 + messages[0].content }}", "unsupported operand"),
    ],
)
def test_a_template_that_fails_is_refused_with_what_it_says(template, said, tmp_path):
    with pytest.raises(ValueError, match=f"chat template fails .*{said}"):
        tokens_with(template, tmp_path).chat("hello", {})


@pytest.mark.parametrize("name", ["tokenize", "add_generation_prompt", "messages", "return_dict"])
def test_what_the_evaluation_sets_is_no_argument_of_a_template(name, tmp_path):
    with pytest.raises(ValueError, match=f"chat_arguments .* {name} is set by the evaluation"):
        tokens_with("{{ messages[0].content }}", tmp_path).chat("hello", {name: True})


@pytest.mark.parametrize("form", ["%d %b %Y", "%Y-%m-%d %H:%M:%S.%f", "%A, %B %d", "%-d %B"])
def test_a_template_that_asks_for_the_time_is_told_one_date(form, tmp_path):
    clock = f"{{% set today = strftime_now('{form}') %}}\n  {{{{ today }}}}: {{{{ messages[0].content }}}}"
    given = clock.replace(f"strftime_now('{form}')", "'" + datetime(2024, 7, 26).strftime(form) + "'")
    assert TODAY.isoformat() == "2024-07-26"
    asked = tokens_with(clock, tmp_path / "clock")
    assert asked.chat("hello", {}) == tokens_with(given, tmp_path / "set").chat("hello", {})


def test_a_message_may_lose_the_blanks_around_it(tmp_path):
    tokens = tokens_with("<s>{{ messages[0].content | trim }}", tmp_path)
    assert tokens.chat("  hello \n", {}) == tokens.chat("hello", {})
