"""The Hugging Face side: attach a method to a model of transformers, load models, generate with caches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
