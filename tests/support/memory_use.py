"""Calls whose peak of memory is known, in a file that other processes can import."""

import torch


def holding(megabytes):
    """Return a call that holds so many megabytes for a moment, after having held twice as many."""
    torch.ones(2 * megabytes * 2**18).sum()
    return lambda: torch.ones(megabytes * 2**18).sum()


def freeing(megabytes):
    """Return a call that frees so many megabytes, in pieces below one that stays, and then holds as many."""

    def call():
        pieces = [torch.ones(25 * 2**10) for _ in range(10 * megabytes)]  # of 0.1 MB, as many heaps keep them
        last = pieces[-1]
        del pieces
        return torch.ones(megabytes * 2**18).sum() + last.sum()

    return call


def broken():
    raise ValueError("out of luck")
