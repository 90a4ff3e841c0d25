"""What `save_pretrained` and `push_to_hub` save while a method is attached: a plain checkpoint, with a warning."""

import warnings
from typing import Any

from transformers import PreTrainedModel

from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.positions.original import OriginalPositions
from lcx_lightning.methods.scaling.unscaled import Unscaled
from lcx_lightning.methods.temperature.constant import Constant
from lcx_lightning.models.attached import NAME, has_method, method_of

PRETRAINED = (Unscaled, OriginalPositions, Constant, Causal)


def save_pretrained(
    model: PreTrainedModel,
    save_directory: Any,
    is_main_process: bool = True,
    state_dict: dict[str, Any] | None = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Save a model as its own `save_pretrained` does, without its method, and warn that the method is not saved.

    The files are a checkpoint that `from_pretrained` loads without missing and unexpected weights.
    """
    own_save = type(model).save_pretrained
    if has_method(model):
        _warn(model)
        state = model.state_dict() if state_dict is None else state_dict
        state_dict = {name: weight for name, weight in state.items() if NAME not in name.split(".")}
    return own_save(model, save_directory, is_main_process, state_dict, *args, **kwargs)


def _warn(model: PreTrainedModel) -> None:
    method = method_of(model)
    if (type(method.scaling), type(method.positions), type(method.temperature), type(method.pattern)) == PRETRAINED:
        return
    weights = sum(weight.numel() for weight in method.parameters())
    learned = (
        f" The {weights:,} weights of the method are not saved either: save model.base_model.{NAME}.state_dict() "
        "beside the files, and load it after attaching."
    )
    warnings.warn(
        "The method attached to this model is not saved: config.json has the model's own rotary embedding, and from_"
        "pretrained gives a model without the method, even if its weights were trained with it. After loading, attach "
        f"the method again with the same values.{learned if weights else ''}",
        stacklevel=3,
    )
