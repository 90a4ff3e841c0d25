"""LCX Lightning: context-window extension of RoPE language models, compared truly.

import lcx_lightning as lcx

lcx.methods()  # the names there are
lcx.attach(model, "lm_infinite", window=4096)  # any supported Hugging Face model, which now uses the method
lcx.detach(model)  # the stock model again
lcx.load("results/quickstart/clex")  # the model of a finished run, with its method attached

Public classes are `lcx.scaling.YaRN`, `lcx.patterns.Lambda`, `lcx.evaluation.Sliding` ...: the names that configuration
files use. Nothing is imported before it is asked for.
"""

import sys

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Package(type(sys.modules[__name__])):
    """A package whose functions, which need torch, are not imported by a shell that completes their names.

    Shells ask for every attribute whether it can be called, but not if it is a property of the class.
    """

    attach = property(lambda _: __getattr__("attach"))
    detach = property(lambda _: __getattr__("detach"))
    load = property(lambda _: __getattr__("load"))


sys.modules[__name__].__class__ = _Package
