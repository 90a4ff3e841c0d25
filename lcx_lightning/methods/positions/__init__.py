"""The position schemes: tokens -> scale factor and position of each token, one scheme in each file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
