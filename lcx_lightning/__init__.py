"""LCX Lightning: context-window extension of RoPE language models, compared truly.

import lcx_lightning as lcx

lcx.methods()  # the names there are
lcx.attach(model, "lm_infinite", window=4096)  # any supported Hugging Face model, which now uses the method
lcx.detach(model)  # the stock model again

Public classes are `lcx.scaling.YaRN`, `lcx.patterns.Lambda`, `lcx.evaluation.Sliding` ...: the names that configuration
files use. Nothing is imported before it is asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
