"""The Hugging Face hub, asked once whether it answers, so that nothing waits for it file by file, with five retries."""

import os
from functools import cache
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session

PATIENCE = 5.0  # seconds to connect, and for an answer
UNREACHABLE: Any = HfHubHTTPError.__bases__  # of the client of HTTP that the hub's library uses


@cache
def look_for_hub() -> bool:
    """Return whether the hub answers; if not, this process and those it starts read what they have of the hub before.

    That is the offline mode of its libraries (HF_HUB_OFFLINE): what was downloaded is found, and all else is refused at
    once.
    """
    if constants.HF_HUB_OFFLINE:  # as the user says
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except UNREACHABLE:
        os.environ["HF_HUB_OFFLINE"] = "1"  # of processes to come
        constants.HF_HUB_OFFLINE = True
        from datasets import config  # which keeps a copy, and is slow to import where the hub answers

        config.HF_HUB_OFFLINE = True
        return False
    return True


def why_missing(name: str, error: Exception) -> str:
    """Return why something cannot be read from the hub: what was said, unless it is that the hub does not answer."""
    if look_for_hub():
        return str(error).strip().rstrip(".")
    return f"{name} is not on this machine, and the hub ({constants.ENDPOINT}) does not answer"
