"""A trial of a method before it is used: its parts are called, and what they compute is looked at."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lcx_lightning.methods.method import Method
from lcx_lightning.methods.outputs import MethodError, class_name, is_own, sound
from lcx_lightning.methods.rope import Rope

FEW = 8  # tokens of a text that shows kinds and shapes


@torch.no_grad()
def try_out(method: Method) -> None:
    """Raise a MethodError if a method computes nothing usable for a short text, or frequencies at L and at twice L."""
    length = method.scaling.spec.pretrain_length
    most = method.max_context(length) or 2 * length
    tried_pass(method, min(FEW, most))
    if method.positions.samples:
        tried_pass(method, min(FEW, most), placement_seed=0)
    with own_errors(method):
        lengths = torch.tensor([min(length, most), min(2 * length, most)], device=_device(method))
        factor = method.positions.evaluation_factor(lengths, length)
        frequencies = method.scaling(sound(method.positions, "evaluation_factor", factor, least=1.0).float())
        sound(method.scaling, "inv_freq", frequencies)


@torch.no_grad()
def tried_pass(method: Method, length: int, placement_seed: int | None = None) -> Rope:
    """Return the geometry of a pass in evaluation mode over a text of `length` tokens, whose numbers make sense.

    Raises:
        MethodError: If a part fails, or computes a number that is not finite, a negative frequency or scale, or
            positions that do not increase.
    """
    if "_modules" not in vars(method.scaling):  # which torch needs, and says in words of its own
        raise MethodError(f"{class_name(method.scaling)}.__init__ must begin with super().__init__(spec).")
    was_training = method.training
    try:
        with own_errors(method):
            valid = torch.ones(1, length, dtype=torch.bool, device=_device(method))
            rope = method.eval().rope(valid, length, placement_seed)
    finally:
        method.train(was_training)
    sound(method.scaling, "inv_freq", rope.inv_freq)
    sound(method.temperature, "feature_scale", rope.feature_scale)
    if rope.logit_scale is not None:
        sound(method.temperature, "logit_scale", rope.logit_scale)
    if not (sound(method.positions, "place", rope.key_pos).diff() > 0).all():
        raise MethodError(f"The positions of {class_name(method.positions)} must increase from token to token.")
    return rope


@contextmanager
def own_errors(method: Method) -> Iterator[None]:
    """Raise a MethodError that names class and line, in place of any error in a class of the user's own."""
    parts = (method.scaling, method.positions, method.temperature, method.pattern)
    own = [part for part in parts if is_own(part)]
    try:
        yield
    except ValueError:  # it says what is wrong
        raise
    except Exception as error:  # whatever the user's own code raises
        if not own:
            raise
        files = {getattr(sys.modules.get(type(part).__module__), "__file__", None) for part in own}
        frames = traceback.extract_tb(error.__traceback__)
        frame = next((frame for frame in reversed(frames) if frame.filename in files), frames[-1])
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        names = " or ".join(map(class_name, own))
        raise MethodError(f"{names} fails: {said} ({frame.filename}, line {frame.lineno}).") from error


def _device(method: Method) -> torch.device:
    return next((tensor.device for tensor in (*method.parameters(), *method.buffers())), torch.device("cpu"))
