"""A key-value cache that holds every key, rotated once: a token costs what it costs the stock model."""

from lcx_lightning.models.cache.base import MethodCache


class RotatedCache(MethodCache):
    """Hold every key, rotated to its position by the frequencies of the pass that added it.

    For plain causal attention, and for frequencies that seldom change: where they do, all keys are turned again.
    """
