"""Memory of a step of training and of a pass of evaluation: the real code, run on tensors that have no numbers."""

import copy
import inspect
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PretrainedConfig, PreTrainedModel

from lcx_lightning.evaluation.perplexity import nll
from lcx_lightning.methods.method import Method
from lcx_lightning.methods.rope import Rope, Tables
from lcx_lightning.models import lm_head
from lcx_lightning.models.attach import attach
from lcx_lightning.models.attached import method_of
from lcx_lightning.models.lora import add_adapters
from lcx_lightning.models.sources import skeleton
from lcx_lightning.runner.recipe import Recipe
from lcx_lightning.training.loss import next_token_loss

DECODE_QUERIES, MORE = 2, 4  # layers that are run; what further ones take follows from the difference


@dataclass(frozen=True)
class Footprint:
    """Bytes of one device. The parts are not all there at once; the peak is the most that is."""

    weights: float
    gradients: float
    optimizer: float
    activations: float  # kept for the backward pass
    logits: float  # of a chunk of the loss
    peak: float

    def beyond(self, fewer: "Footprint", share: float) -> "Footprint":
        """Return this and `share` times what it has more than that of fewer layers."""
        pairs = zip(astuple(self), astuple(fewer), strict=True)
        return Footprint(*(mine + share * (mine - other) for mine, other in pairs))


class Ledger(TorchDispatchMode):
    """Count the bytes of tensors from when they are made to when they are let go. Numbers that are asked for are 1."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0  # bytes
        self._known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            return 1.0 if args[0].is_floating_point() else True
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def let_go(_: weakref.ref) -> None:
            self.held -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, let_go)
        self.held += size
        self.peak = max(self.peak, self.held)


def training_footprint(
    config: PretrainedConfig,
    method: Method,
    recipe: Recipe,
    *,
    rows: int,
    length: int,
    attention: str,
    precision: str,
    checkpointing: bool,
) -> Footprint:
    """Return what steps of training hold on one device that has the whole model, weights in float32.

    Args:
        config: Config of the model.
        method: Method that is attached in training.
        recipe: Recipe of the training, for its optimizer and clipping.
        rows: Rows that the device processes at once.
        length: Tokens of a row.
        attention: Name of the attention backend.
        precision: Precision, as Lightning names it.
        checkpointing: Whether activations are computed again in the backward pass.
    """

    def steps(model: PreTrainedModel, ledger: Ledger) -> Footprint:
        weights = ledger.held
        optimizer = recipe.optimizer(model.train())
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            enable({"use_reentrant": False, "preserve_rng_state": False})  # renamed in transformers 5.18
        trained = [p for p in model.parameters() if p.requires_grad]
        gradients, states, activations = sum(p.nbytes for p in trained), 0, 0
        ids = torch.ones(rows, length, dtype=torch.int64)
        for _ in range(2):  # the second step has the states and the gradients of the first
            before = ledger.held
            with _autocast(precision):
                loss = next_token_loss(model, ids, placement_seed=0)
            activations = ledger.held - before
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, recipe.clip or float("inf"))
            optimizer.step()
            del loss
            states = ledger.held - weights - gradients - ids.nbytes
        return Footprint(
            weights, gradients, states, activations, _logits(config, rows * length, lm_head.LOGITS), ledger.peak
        )

    rope = _rope(method.train(), length, placement_seed=0)
    return _of_all_layers(config, method, rope, attention, steps, recipe.lora)


def evaluation_footprint(
    config: PretrainedConfig, method: Method, *, rows: int, length: int, attention: str
) -> Footprint:
    """Return what a pass of evaluation holds, without a cache; arguments as of `training_footprint`."""

    def passes(model: PreTrainedModel, ledger: Ledger) -> Footprint:
        weights = ledger.held
        with torch.no_grad():  # in inference mode composite operations would come uncounted
            inspect.unwrap(nll.token_nll)(model.eval(), torch.ones(rows, length, dtype=torch.int64))
        return Footprint(weights, 0, 0, 0, _logits(config, rows * length, nll.LOGITS), ledger.peak)

    rope = _rope(method.eval(), length, placement_seed=None)
    return _of_all_layers(config, method, rope, attention, passes)


def _of_all_layers(
    config: PretrainedConfig,
    method: Method,
    rope: Rope,
    attention: str,
    measure: Callable[[PreTrainedModel, Ledger], Footprint],
    lora: Mapping[str, Any] | None = None,
) -> Footprint:
    """Return the footprint of a deep model from those of two shallow ones, since every layer adds the same."""
    if config.num_hidden_layers <= MORE:
        return _measured(config, method, rope, attention, measure, lora)
    few, more = (
        _measured(_with_layers(config, n), method, rope, attention, measure, lora) for n in (DECODE_QUERIES, MORE)
    )
    return more.beyond(few, (config.num_hidden_layers - MORE) / (MORE - DECODE_QUERIES))


def _measured(
    config: PretrainedConfig,
    method: Method,
    rope: Rope,
    attention: str,
    measure: Callable[[PreTrainedModel, Ledger], Footprint],
    lora: Mapping[str, Any] | None,
) -> Footprint:
    model = attach(skeleton(config), copy.deepcopy(method), attention=attention)
    if lora:
        add_adapters(model, **lora, seed=0)
    learns = any(p.requires_grad for p in method.parameters()) and method.training
    with FakeTensorMode(), Ledger() as ledger:
        _fill(model)
        numberless = _numberless(rope, learns)
        vars(method_of(model))["rope"] = lambda *_, **__: copy.copy(numberless)
        return measure(model, ledger)


def _fill(model: PreTrainedModel) -> None:
    """Give every parameter and buffer memory, as far as it is counted; what is shared stays shared."""
    filled: dict[int, Tensor] = {}
    for module in model.modules():
        kinds: list[dict[str, Any]] = [module._parameters, module._buffers]
        for held in kinds:
            for name, tensor in held.items():
                if tensor is not None and id(tensor) not in filled:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
                    is_parameter = isinstance(tensor, nn.Parameter)
                    filled[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
                if tensor is not None:
                    held[name] = filled[id(tensor)]


@torch.no_grad()
def _rope(method: Method, length: int, placement_seed: int | None) -> Rope:
    """Return the `Rope` of a text without padding, with real numbers: they decide which code is run."""
    return method.rope(torch.ones(1, length, dtype=torch.bool), length, placement_seed)


def _numberless(rope: Rope, learns: bool) -> Rope:
    """Return `rope` with tensors that have no numbers; its tables are given a gradient where the scaling `learns`."""
    made: dict[int, Tensor] = {}

    def like(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            made[id(tensor)] = torch.empty(tensor.shape, dtype=tensor.dtype)
        return made[id(tensor)]

    out = copy.copy(rope)
    for name, value in vars(rope).items():
        if isinstance(value, Tensor):
            setattr(out, name, like(value))
        elif name in ("key_tables", "query_tables"):
            setattr(out, name, [Tables(*(like(x).requires_grad_(learns) for x in table)) for table in value])
    return out


def _with_layers(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    fewer = copy.deepcopy(config)
    fewer.num_hidden_layers = layers
    for name in ("layer_types", "no_rope_layers"):
        if getattr(config, name, None):
            setattr(fewer, name, getattr(config, name)[:layers])
    return fewer


def _autocast(precision: str) -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed")


def _logits(config: PretrainedConfig, tokens: int, most: int) -> int:
    """Return the bytes of the logits that are held at once, `most` of them or one token's, float32."""
    return 4 * min(tokens * config.vocab_size, max(most, config.vocab_size))
