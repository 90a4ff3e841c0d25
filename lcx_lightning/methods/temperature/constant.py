"""Constant temperature: attention logits as in pretraining (RoFormer, arXiv:2104.09864)."""

from lcx_lightning.methods.temperature.base import Temperature


class Constant(Temperature):
    """Scale nothing."""
