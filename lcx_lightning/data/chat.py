"""A message in the chat template of a tokenizer of transformers, as text that is the same every day."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from jinja2 import TemplateError

TODAY = date(2024, 7, 26)  # what the template of Llama 3.2 takes where there is no clock
DIRECTIVES = "aAbBcdHIjmMpSUwWxXyYZ"  # of strftime
NOT_OF_TEMPLATE = {
    "conversation", "messages", "tokenize", "add_generation_prompt", "continue_final_message", "return_dict",
    "sanitize_control_tokens", "padding", "truncation", "max_length", "return_tensors", "tokenizer_kwargs",
    "return_assistant_tokens_mask",
}  # fmt: skip


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise a ValueError if arguments of a chat template set what the evaluation itself sets."""
    if taken := sorted(NOT_OF_TEMPLATE & set(arguments)):
        raise ValueError(
            f"chat_arguments are for the chat template, such as enable_thinking, and {taken[0]} is set by the "
            "evaluation: remove it."
        )


def rendered(tokenizer: Any, text: str, arguments: Mapping[str, Any]) -> str:
    """Return the chat with the user's message `text`, up to the answer.

    A template that asks for the time (`strftime_now`) is told midnight of TODAY.

    Raises:
        ValueError: If the template fails or leaves out or changes the message, or the arguments are not for templates.
    """
    check_arguments(arguments)
    template = tokenizer.get_chat_template(arguments.get("chat_template"))
    given = {**arguments, "chat_template": _without_clock(template)}
    messages = [{"role": "user", "content": text}]
    try:
        chat = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **given)
    except (TemplateError, TypeError) as error:
        raise ValueError(
            f"The tokenizer's chat template fails on a message of the user: {error}. Correct the template or "
            "chat_arguments, or set chat=false for the tasks."
        ) from error
    if text.strip() not in chat:
        raise ValueError(
            "The tokenizer's chat template leaves out or changes the message, as those do that expect lists of parts: "
            f"it makes {chat[:60]!r} of {text[:60]!r}. Correct the template, or set chat=false for the tasks."
        )
    return chat


def _without_clock(template: str) -> str:
    """Return a template with a macro in place of `strftime_now`, which writes TODAY in the same format."""
    if "strftime_now" not in template:
        return template
    values = {f"%{letter}": TODAY.strftime(f"%{letter}") for letter in DIRECTIVES}
    values |= {"%-d": str(TODAY.day), "%-m": str(TODAY.month), "%f": "000000"}
    written = "".join(f"|replace('{name}', '{value}')" for name, value in values.items())
    return f"{{% macro strftime_now(format) %}}{{{{ format{written} }}}}{{% endmacro %}}\n{template}"
