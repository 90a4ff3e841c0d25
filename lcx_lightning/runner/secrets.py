"""Secrets in a configuration, such as a token of the hub: known by their names, and never written anywhere."""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

MASK = "***"
SECRETS = (
    "token",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "secrets",
    "credential",
    "credentials",
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "cookies",
    "pat",
    "sas",
    "signature",
    "apikey",
    "api_key",
    "access_key",
    "private_key",
    "account_key",
    "secret_key",
    "connection_string",
    "storage_options",
)
ALONE = ("pat", "sas", "signature")  # words of other settings too: secrets only if they are the whole name
SPECIAL = re.compile(r"(bos|eos|pad|unk|sep|cls|mask|image|audio|video)_token(_id)?s?|.*token_ids?|.*_tokens|tokens")
READERS = ("token", "hf_token", "use_auth_token", "password", "api_key", "storage_options")  # tell who reads, not what
AS_TYPED = re.compile(r"\$\{oc\.env:[^{},]*\}")  # the name of an environment variable tells nothing
PLAIN = ("null", "true", "false", "none", "")  # values that tell nothing either
USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")  # user and password, or a token, ahead of a host
IN_TEXT = re.compile(r"(?P<name>[\w.-]+)(?P<sign>['\"]?\s*[=:]\s*)(?P<value>\$\{[^{}]*\}|[^\s,;&{}\[\]]+)")


def is_secret(name: object) -> bool:
    """Return whether a setting of this name holds a secret: token, hf_token, apiKey, token_1, password ..."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name)).lower().replace("-", "_")
    if SPECIAL.fullmatch(spaced):
        return False
    padded = f"_{spaced}_"
    return any(f"_{word}_" in padded if word not in ALONE else word == spaced for word in SECRETS)


def masked(node: Any, secret: bool = False) -> Any:
    """Return a configuration in which every secret is a mask; an environment variable stays as it is typed."""
    if isinstance(node, dict):
        return {name: masked(value, secret or is_secret(name)) for name, value in node.items()}
    if isinstance(node, list):
        return [masked(value, secret) for value in node]
    if secret and node is not None and not isinstance(node, bool) and not AS_TYPED.fullmatch(str(node)):
        return MASK
    return masked_text(node) if isinstance(node, str) else node


def without_readers(node: Any) -> Any:
    """Return a configuration without the values that tell who reads a file, and change nothing in what is read."""
    if isinstance(node, dict):
        return {name: without_readers(value) for name, value in node.items() if name not in READERS}
    return [without_readers(value) for value in node] if isinstance(node, list) else node


def masked_text(text: str) -> str:
    """Return a text in which the values of secrets are masked: `token=x`, `token: x`, `?token=x`, `https://x@host`."""
    return IN_TEXT.sub(_masked_match, USER.sub(MASK, text))


def _masked_match(found: re.Match[str]) -> str:
    value = found["value"].strip("'\"")
    if not is_secret(found["name"].split(".")[-1]):  # the value may itself be one with a name: `ValueError: token=x`
        return f"{found['name']}{found['sign']}{IN_TEXT.sub(_masked_match, found['value'])}"
    if value.lower() in PLAIN or AS_TYPED.fullmatch(value):
        return found[0]
    return f"{found['name']}{found['sign']}{MASK}"


def masked_words(words: Iterable[str]) -> list[str]:
    """Return the words of a command line; a value that is a secret, or holds one anywhere, is masked as a whole."""
    return [_masked_word(word) for word in words]


def _masked_word(word: str) -> str:
    name, equals, value = word.partition("=")
    if not equals or value.strip("'\"").lower() in PLAIN or AS_TYPED.fullmatch(value.strip("'\"")):
        return word
    if is_secret(name.split("@")[0].split(".")[-1]):
        return f"{name}={MASK}"
    bare = AS_TYPED.sub("null", value)  # variables tell nothing
    inside = [found for found in re.findall(r"([\w-]+)\\?['\"]?\s*[:=]\s*\\?['\"]?(\w*)", bare) if is_secret(found[0])]
    if any(said.lower() not in PLAIN or not said for _, said in inside):
        return f"{name}={MASK}"
    return f"{name}={masked_text(value)}"


def secrets_in(node: Any, secret: bool = False) -> Iterator[str]:
    """Yield the secrets themselves, those of the environment too, to be masked in texts such as error messages."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from secrets_in(value, secret or is_secret(name))
    elif isinstance(node, list):
        for value in node:
            yield from secrets_in(value, secret)
    elif secret and isinstance(node, str) and AS_TYPED.fullmatch(node):
        yield os.environ.get(node[len("${oc.env:") : -1], "")
    elif secret and masked(node, secret) == MASK:
        yield str(node)


def without_secrets(text: str | None, config: Any) -> str | None:
    """Return a text in which the secrets of a configuration are masked."""
    if text:
        for secret in filter(None, secrets_in(config)):
            text = text.replace(secret, MASK)
    return text


def as_typed(resolved: Any, typed: Any, secret: bool = False) -> Any:
    """Return a resolved configuration in which secrets from environment variables stay as they are typed."""
    if isinstance(resolved, dict) and isinstance(typed, dict):
        return {name: as_typed(value, typed.get(name), secret or is_secret(name)) for name, value in resolved.items()}
    return typed if secret and isinstance(typed, str) and AS_TYPED.fullmatch(typed) else resolved
