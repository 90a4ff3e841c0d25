"""Choose the cache that takes the least memory and time under a method."""

from typing import TYPE_CHECKING

from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicSlidingWindowLayer

from lcx_lightning.attention.backends.dense import is_dense
from lcx_lightning.models.attached import attached, method_of
from lcx_lightning.models.cache.rotated import RotatedCache
from lcx_lightning.models.cache.rotation import Rotation
from lcx_lightning.models.cache.window import WindowCache, visible_bands
from lcx_lightning.models.families import family_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def smallest_cache(model: "PreTrainedModel", *, fixed_factor: bool = False) -> Cache:
    """Return a new cache of the smallest kind that is exact under the method of `model`.

    Args:
        model: Model with its method attached.
        fixed_factor: Whether all passes will have the same scale factor, as in generation unless the factor grows.
    """
    method = method_of(model)
    bands = visible_bands(method.pattern)
    endless = any(band.max_distance is None and band.first_keys is None for band in bands)
    constant = (fixed_factor and not attached(model).grow) or not method.positions.length_dependent
    if not endless:
        return WindowCache(method.pattern, rotation_of(model) if constant else None)
    every_key = DynamicCache(config=model.config)
    native_window = any(isinstance(layer, DynamicSlidingWindowLayer) for layer in every_key.layers)
    if constant and is_dense(bands) and not native_window:
        return RotatedCache(rotation_of(model))
    return every_key


def rotation_of(model: "PreTrainedModel") -> Rotation:
    """Return the rotation for a cache that holds the keys of a model rotated."""
    unrotated = {module.layer_idx for module in model.modules() if getattr(module, "use_rope", True) in (False, 0)}
    return Rotation(interleaved=family_of(model.config).interleaved, unrotated_layers=unrotated)
