"""What a method is: scaling, positions, temperature and pattern. Depends on torch, and on no model or backend."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
