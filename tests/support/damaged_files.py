"""Ways in which files are damaged: bytes flipped, the end cut off, a disk that is full."""

import resource
from contextlib import contextmanager


@contextmanager
def full_disk(size):
    """Let no file grow beyond `size` bytes, as where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def flipped(path):
    """Change one bit of the numbers in a file."""
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])
