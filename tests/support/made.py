"""Objects that a configuration describes."""

from lcx_lightning.schema.build import build


def made(node, key="config"):
    """Return the object that a node with `_target_` describes, as the program makes it."""
    return build(node, key)
