"""What a method is: scaling, positions, temperature and pattern. Torch only: no model, no execution."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
