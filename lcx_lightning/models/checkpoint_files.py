"""The files of a checkpoint beside config.json and the weights: what they must hold, before transformers reads them."""

import os
from pathlib import Path
from typing import Annotated, Any

from huggingface_hub.errors import StrictDataclassError
from pydantic import Field
from transformers.utils.hub import cached_file
from typing_extensions import TypedDict  # that of typing serves pydantic from Python 3.12

from lcx_lightning.models.config_checks import ADVICE, Flag, Size, Token, Tokens
from lcx_lightning.schema.files import check_values, read_json

UNBUILDABLE = (StrictDataclassError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
Special = str | dict[str, Any] | None  # a token, or a token with its options
Number = Annotated[float, Field(strict=True, ge=0)] | None


class Generation(TypedDict, total=False):
    """What is used of generation_config.json."""

    bos_token_id: Tokens
    eos_token_id: Tokens
    pad_token_id: Token | None
    do_sample: Flag
    num_beams: Size
    temperature: Number
    top_p: Number


class Tokenizer(TypedDict, total=False):
    """What is used of tokenizer_config.json."""

    tokenizer_class: str | None
    bos_token: Special
    eos_token: Special
    unk_token: Special
    pad_token: Special
    add_bos_token: Flag
    add_eos_token: Flag
    chat_template: str | list[dict[str, str]] | dict[str, str] | None


def check_generation(name: str, revision: str) -> None:
    """Raise a ValueError if generation_config.json is damaged: transformers would generate without it.

    Args:
        name: Name of the checkpoint on the hub, or a folder.
        revision: Branch, tag or commit.
    """
    _check(name, revision, "generation_config.json", Generation)


def check_tokenizer(name: str, revision: str) -> None:
    """Raise a ValueError if tokenizer_config.json is damaged, or has a value of another type."""
    _check(name, revision, "tokenizer_config.json", Tokenizer)


def why_no_tokenizer(name: str, revision: str, error: BaseException | None) -> str:
    """Return what is wrong with the tokenizer of a checkpoint that transformers could not build.

    Raises:
        ValueError: If one of its files is no JSON.
        OSError: If one of them cannot be read.
    """
    found = [file for file in TOKENIZER if _held(name, revision, file) is not None]
    files = " or ".join(f"{name}/{file}" for file in found) or f"no tokenizer.json in {name}"
    return f"No tokenizer can be built: {files} makes no sense to transformers: {last_line(error)}. {ADVICE}"


def last_line(error: BaseException | None) -> str:
    """Return the last line of an error of transformers, which says what is wrong."""
    return str(error).strip().splitlines()[-1].strip().rstrip(".") if str(error).strip() else type(error).__name__


def _check(name: str, revision: str, file: str, kind: Any) -> None:
    held = _held(name, revision, file)
    if held is not None:
        check_values(kind, held, f"{name}/{file}", ADVICE)


def _held(name: str, revision: str, file: str) -> dict[str, Any] | None:
    """Return the content of a JSON file of a checkpoint, None if it has no such file."""
    path = Path(name, file)
    if os.path.lexists(path):  # also a link that leads nowhere
        return read_json(path, ADVICE)
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    found = None if Path(name).is_dir() else cached_file(name, file, revision=revision, **quiet)
    return None if found is None else read_json(str(found), ADVICE)
