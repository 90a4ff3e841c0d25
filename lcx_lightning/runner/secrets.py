"""Secrets in a configuration, such as a token of the hub: known by their names, and never written anywhere."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

MASK = "***"
KIND = r"token|password|passwd|passphrase|secret|credentials?|authorization|storage_options|(?:api|access|secret)_?key"
SECRET = re.compile(rf"(?:.*[_-])?(?:{KIND})", re.IGNORECASE)  # the name of a setting
AS_TYPED = re.compile(r"\$\{oc\.env:[^{}]*\}")  # the name of an environment variable tells nothing
PLAIN = ("null", "true", "false", "none", "")  # values that tell nothing either
IN_WORD = re.compile(  # of a command line: data.load.token=x, or inside of a value: {path: y, "token": x}
    rf"(?P<name>(?<![A-Za-z0-9])(?:{KIND})['\"]?\s*[:=]\s*)"
    r"(?P<value>\{[^{}]*\}|\$\{[^{}]*\}|'[^']*'|\"[^\"]*\"|[^\s,{}\[\]'\"]*)",
    re.IGNORECASE,
)
URL = re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]*(?=@)")  # user and password ahead of the host


def is_secret(name: object) -> bool:
    """Return whether a setting of this name holds a secret: token, hf_token, api_key, password ..."""
    return bool(SECRET.fullmatch(str(name)))


def masked(node: Any, secret: bool = False) -> Any:
    """Return a configuration in which every secret is a mask; an environment variable stays as it is typed."""
    if isinstance(node, dict):
        return {name: masked(value, secret or is_secret(name)) for name, value in node.items()}
    if isinstance(node, list):
        return [masked(value, secret) for value in node]
    if secret and node is not None and not isinstance(node, bool) and not AS_TYPED.fullmatch(str(node)):
        return MASK
    return URL.sub(MASK, node) if isinstance(node, str) else node


def masked_words(words: Iterable[str]) -> list[str]:
    """Return the words of a command line with every secret in them masked."""
    return [URL.sub(MASK, IN_WORD.sub(_masked_match, word)) for word in words]


def _masked_match(found: re.Match[str]) -> str:
    value = found["value"].strip("'\"")
    shown = value.lower() in PLAIN or AS_TYPED.fullmatch(value)
    return found[0] if shown else f"{found['name']}{MASK}"


def secrets_in(node: Any, secret: bool = False) -> Iterator[str]:
    """Yield the secrets themselves, to be masked in texts such as error messages."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from secrets_in(value, secret or is_secret(name))
    elif isinstance(node, list):
        for value in node:
            yield from secrets_in(value, secret)
    elif secret and masked(node, secret) == MASK:
        yield str(node)


def without_secrets(text: str | None, config: Any) -> str | None:
    """Return a text in which the secrets of a configuration are masked."""
    for secret in secrets_in(config) if text else ():
        text = text.replace(secret, MASK) if text else text
    return text


def as_typed(resolved: Any, typed: Any, secret: bool = False) -> Any:
    """Return a resolved configuration in which secrets from environment variables stay as they are typed."""
    if isinstance(resolved, dict) and isinstance(typed, dict):
        return {name: as_typed(value, typed.get(name), secret or is_secret(name)) for name, value in resolved.items()}
    return typed if secret and isinstance(typed, str) and AS_TYPED.fullmatch(typed) else resolved
