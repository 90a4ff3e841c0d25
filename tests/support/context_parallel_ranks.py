"""What models find in texts, on one process or on two that share every text; as a program, one of the two."""

import sys
from datetime import timedelta
from pathlib import Path

import torch
from omegaconf import OmegaConf
from support.tiny_models import OWN, TINY
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from lcx_lightning.distributed import key_exchange
from lcx_lightning.distributed.key_exchange import local_slice
from lcx_lightning.evaluation.perplexity.nll import token_nll
from lcx_lightning.methods.library import build_method, methods, read_method
from lcx_lightning.methods.patterns.causal import Causal
from lcx_lightning.methods.patterns.lambda_mask import Lambda
from lcx_lightning.methods.temperature.log_n import LogN
from lcx_lightning.models import lm_head
from lcx_lightning.models.attach import attach
from lcx_lightning.models.context_parallel import split_texts
from lcx_lightning.models.rope_spec import rope_spec
from lcx_lightning.training.loss import next_token_loss

LONG, TRAINED = 101, 60  # tokens: shares of 50 and 51, and of 30 and 30, the last of which predicts nothing
IDS = torch.randint(1, 64, (2, LONG), generator=torch.Generator().manual_seed(0))
SELECTING = "lm_infinite_top_k"
METHODS = [name for name in methods() if name != SELECTING]
ROWS_DIFFER = ["pi", "clex_lm_infinite", "dynamic_ntk", "log_n", "self_extend", "streaming_llm"]
FAMILIES = {"gpt_neox": {}, "glm": {}, "mistral": {"sliding_window": 20}, "smollm3": {}, "stablelm": {}}
WINDOW, SINKS = 9, 4
PADDED = torch.stack([torch.arange(LONG) >= 7, (torch.arange(LONG) < 3) | (torch.arange(LONG) >= 60)])


def model_of(names, family="llama", **architecture):
    """Return a tiny model, the same at every call, its learned scaling no longer at its start."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **TINY | OWN.get(family, {}) | architecture)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    sizes = {"factor": 4, "train_factor": 2, "pretrain_length": 32, "method": read_method(names)}
    attach(model, build_method(OmegaConf.create(sizes).method, rope_spec(config)))
    for weight in model.base_model.attached.method.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    return model


def split(model, mesh):
    return model if mesh is None else split_texts(model, mesh)


def mean(x, mesh):
    """Return the mean over the ranks."""
    if isinstance(x, DTensor):
        return x.full_tensor()
    if mesh is not None:
        distributed.all_reduce(x)
        x = x / mesh.size()
    return x.detach()


def learned(names, mesh, *, sharded=False, recomputed=False, logits=lm_head.LOGITS):
    """Return the loss of a training step, and its gradients."""
    model = model_of(names).train()
    if recomputed:
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
    if sharded and mesh is not None:
        for module in (*model.model.layers, model.model.attached.method.scaling, model):
            fully_shard(module, mesh=mesh)
    split(model, mesh)
    before, lm_head.LOGITS = lm_head.LOGITS, logits
    loss = next_token_loss(model, IDS[:, :TRAINED], placement_seed=5)
    loss.backward()
    lm_head.LOGITS = before
    gradients = {name: mean(p.grad, mesh) for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": mean(loss.detach(), mesh), "gradients": gradients}


@torch.no_grad()
def evaluated(names, mesh, family="llama", temperature=None, **architecture):
    """Return the losses of every token, of the last ones, and those of the texts."""
    model = split(model_of(names, family, **architecture).eval(), mesh)
    if temperature is not None:
        model.base_model.attached.method.temperature = temperature
    losses = {"nll": token_nll(model, IDS), "nll of the last 5": token_nll(model, IDS, 5)}
    return losses | {"loss": mean(next_token_loss(model, IDS), mesh)}


@torch.no_grad()
def padded_logits(names, mesh):
    """Return the logits of valid tokens of rows of which one is padded before its text and one inside."""
    model = split(model_of(names).eval(), mesh)
    given = {"attention_mask": PADDED.long(), "position_ids": torch.arange(LONG)[None], "use_cache": False}
    logits = model(input_ids=IDS, **given).logits
    whole = torch.zeros(2, LONG, 64)
    whole[:, slice(0, LONG) if mesh is None else local_slice(LONG, mesh.get_local_rank(), mesh.size())] = logits
    if mesh is not None:
        distributed.all_reduce(whole)
    return whole[PADDED]


def bytes_sent(pattern, tokens, mesh):
    """Return the bytes that this rank sends in each exchange of a training step."""
    model, sent, exchange = split_texts(model_of("pretrained"), mesh), [], distributed.all_to_all_single
    model.model.attached.method.pattern = pattern

    def counted(out, x, *rest, **more):
        sent.append(x.numel() * x.element_size())
        return exchange(out, x, *rest, **more)

    key_exchange.distributed.all_to_all_single = counted
    next_token_loss(model, IDS[:, :tokens]).backward()
    key_exchange.distributed.all_to_all_single = exchange
    return sent


def refusals(mesh):
    """Return what this rank is told where texts cannot be split."""
    attempts = {
        "selection": lambda: split_texts(model_of(SELECTING), mesh),
        "short": lambda: split_texts(model_of("pi"), mesh)(IDS[:, :3], use_cache=False),
        "generate": lambda: split_texts(model_of("pi"), mesh).generate(IDS, use_cache=False, max_new_tokens=2),
        "cache": lambda: split_texts(model_of("pi"), mesh)(IDS, past_key_values=DynamicCache()),
    }
    told = {}
    for name, attempt in attempts.items():
        try:
            attempt()
        except ValueError as error:
            told[name] = str(error)
    return told


def everything(mesh):
    """Return what one process finds, or one of two."""
    per_pass = LogN(clamp=False, per_pass=True)
    return {
        "trained": {name: learned(name, mesh) for name in METHODS},
        "evaluated": {name: evaluated(name, mesh) for name in METHODS},
        "padded": {name: padded_logits(name, mesh) for name in ROWS_DIFFER},
        "families": {name: evaluated("clex_lm_infinite", mesh, name, **more) for name, more in FAMILIES.items()},
        "per pass": evaluated("pi", mesh, temperature=per_pass),
        "sharded": learned("clex_lm_infinite", mesh, sharded=True),
        "recomputed": learned("clex_lm_infinite", mesh, recomputed=True),
        "in chunks": learned("clex_lm_infinite", mesh, logits=64 * 20),
    }


def main(folder, rank):
    """Write what rank `rank` of two finds to `folder`."""
    torch.set_num_threads(1)
    store = distributed.FileStore(str(folder / "store"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    mesh = init_device_mesh("cpu", (2,))
    found = everything(mesh) | {"refusals": refusals(mesh)}
    found["sent"] = {
        "window": bytes_sent(Lambda(window=WINDOW, sink_tokens=SINKS, distance_limit=None), LONG, mesh),
        "window, shorter": bytes_sent(Lambda(window=WINDOW, sink_tokens=SINKS, distance_limit=None), TRAINED, mesh),
        "causal": bytes_sent(Causal(), LONG, mesh),
    }
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
