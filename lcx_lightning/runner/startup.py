"""A quick start and a quick end: libraries are imported without looking for garbage among what they define."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect no garbage inside this context: importing torch and transformers takes a sixth less time so.

    Nor is it collected when the process ends, which took a second: the system takes all of its memory back.
    """
    gc.disable()
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.enable()
