"""Whether W&B is logged to online: only with a key, and with a server that answers within seconds."""

import contextlib
import netrc
import os
import ssl
import warnings
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")
PATIENCE = 5.0  # seconds for the server to answer
NOT_THERE = 404  # and all of 500 and more: what answers is not W&B, or is out of order


def choose_mode(mode: str) -> str:
    """Return online, offline, or what WANDB_MODE says. Without a key W&B would ask for one, and wait for the answer.

    Raises:
        ValueError: If the mode is unknown.
    """
    if mode not in ("auto", "online", "offline"):
        raise ValueError(f"The W&B mode is auto, online or offline, got {mode!r}.")
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE", "auto")
    if mode != "auto":
        return mode
    if not _has_key():
        return "offline"
    silence = _silence()
    if silence is None:
        return "online"
    warnings.warn(f"{silence}: logging offline.", stacklevel=2)
    return "offline"


def why_out_of_reach() -> str | None:
    """Return why W&B can be asked for nothing, and what to do; None if it answers."""
    if not _has_key():
        return "There is no key for W&B: run `wandb login`, or set WANDB_API_KEY"
    return _silence()


def _silence() -> str | None:
    """Return a sentence without its full stop if the server does not answer, None if it does."""
    base = os.environ.get("WANDB_BASE_URL", f"https://{HOSTS[0]}").rstrip("/")
    problem = _problem_of(f"{base}/graphql")
    return problem and f"W&B at {urlparse(base).hostname} does not answer ({problem})"


def _problem_of(address: str) -> str | None:
    """Return why a server cannot be logged to; None if it answers, though it may refuse the question."""
    try:
        question = Request(address, b'{"query":"query Ping{__typename}"}', {"Content-Type": "application/json"})
        urlopen(question, timeout=PATIENCE).close()
    except HTTPError as error:
        error.close()
        return f"HTTP {error.code}" if error.code == NOT_THERE or error.code >= 500 else None
    except URLError as error:  # certificates of a company may be known to W&B and not to Python
        return None if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except (OSError, HTTPException, ValueError) as error:  # ValueError: it is no address
        return str(error) or type(error).__name__
    return None


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "")).hostname
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        known = netrc.netrc(os.environ.get("NETRC")).hosts
        return any(name in known for name in ([host] if host else HOSTS))
    return False
