"""A key-value cache that holds every key rotated: a token costs as much as in the original model."""

from lcx_lightning.models.cache.base import MethodCache


class RotatedCache(MethodCache):
    """A cache of every key, rotated to its position by the frequencies of the pass that added it.

    It is for plain causal attention and for frequencies that rarely change: when they do, all keys are rotated again.
    """
