"""What the method folder offers of each part, each choice once."""

from omegaconf import OmegaConf

from lcx_lightning.methods.library import methods, read_method


def offered(part):
    """Return one method for each different choice of a part, the first that has it."""
    different = {}
    for name in methods():
        different.setdefault(OmegaConf.to_yaml(read_method(name)[part]), name)
    return list(different.values())
