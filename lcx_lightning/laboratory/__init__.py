"""The laboratory: the small bases that come with the package, their tokenizer, and how both are made."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
