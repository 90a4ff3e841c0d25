"""The Hugging Face side: a model learns a method, and stays itself."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
