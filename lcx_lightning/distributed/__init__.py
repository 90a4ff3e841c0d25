"""Several processes: collectives, sharded parameters and states, and texts that ranks share."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
