"""What `save_pretrained` and `push_to_hub` save while a method is attached: a plain checkpoint, with a warning.

The weights that a method learned are saved beside it, in a file of their own. A checkpoint of transformers' Trainer
holds them with those of the model, because the Trainer loads them from there when it resumes.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.positions.original import OriginalPositions
from lcx_lightning.methods.scaling.unscaled import Unscaled
from lcx_lightning.methods.temperature.constant import Constant
from lcx_lightning.models.attached import NAME, has_method, method_of

FILE = "lcx_method.pt"  # learned weights of the method
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

    The files are a checkpoint that `from_pretrained` loads without missing and unexpected weights; in a folder of
    transformers' Trainer, checkpoint-STEP, they have the weights of the method as well. If the method has weights, they
    are also in `lcx_method.pt`.

    Raises:
        ValueError: If the model has adapters that are not merged, whose weights `from_pretrained` would not find.
    """
    own_save = type(model).save_pretrained
    if not has_method(model):
        return own_save(model, save_directory, is_main_process, state_dict, *args, **kwargs)
    _check_merged(model)
    _warn(model)
    state = model.state_dict() if state_dict is None else state_dict
    learned = {name.split(f"{NAME}.", 1)[1]: x for name, x in state.items() if NAME in name.split(".")}
    if not re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-\d+", Path(save_directory).name):
        state = {name: x for name, x in state.items() if NAME not in name.split(".")}
    saved = own_save(model, save_directory, is_main_process, state, *args, **kwargs)
    if learned and is_main_process and Path(save_directory).is_dir():
        torch.save(learned, Path(save_directory, FILE))
    return saved


def _check_merged(model: Any) -> None:
    if any(hasattr(module, "get_base_layer") for module in model.modules()) and not vars(model).get(
        "_hf_peft_config_loaded"  # adapters that transformers added: it saves them alone
    ):
        raise ValueError(
            "This model has adapters, and from_pretrained would draw the weights under them anew. Merge them first, "
            "merge_adapters(model) or merge_and_unload() of peft, or save the adapters alone with peft."
        )


def _warn(model: PreTrainedModel) -> None:
    method = method_of(model)
    if (type(method.scaling), type(method.positions), type(method.temperature), type(method.pattern)) == PRETRAINED:
        return
    weights = sum(weight.numel() for weight in method.parameters())
    learned = (
        f" The {weights:,} weights of the method are in {FILE} beside the files. Load them after attaching: "
        f"model.base_model.{NAME}.load_state_dict(torch.load({FILE!r}))."
    )
    warnings.warn(
        "The method attached to this model is not saved: config.json has the model's own rotary embedding, and from_"
        "pretrained gives a model without the method, even if its weights were trained with it. After loading, attach "
        f"the method again with the same values.{learned if weights else ''}",
        stacklevel=3,
    )
