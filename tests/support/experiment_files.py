"""An experiment made by hand: its records and run files, and what is printed of them."""

import copy
from io import StringIO

from rich.console import Console

from lcx_lightning.results import records
from lcx_lightning.results.metrics import Axis, Metric, as_data, percentage, perplexity

LENGTHS = (128, 256, 512)
SCORED = {"last_k": "the same last tokens of each document, under growing context"}
SCORED |= {"whole_window": "all tokens of windows of this length", "passkey": "", "ruler": ""}
METRICS = {f"{protocol}/nll": perplexity(scored) for protocol, scored in SCORED.items()}
METRICS |= {f"{protocol}/accuracy": percentage("accuracy", trials=True) for protocol in SCORED}
METRICS |= {f"{protocol}/f1": percentage("F1") for protocol in SCORED}
METRICS |= {"positions/nll": perplexity(axis=Axis("position", "position", in_tokens=True, is_length=True))}
METRICS |= {
    "attention_logits/largest_logit": Metric("largest logit", axis=Axis("distance", "distance", in_tokens=True))
}


def make_row(**changes):
    row = {"run": "pi-0", "arm": "pi", "base": "b", "method": "pi", "factor": 4.0, "seed": 0}
    row |= {"evaluation": "growing_context", "protocol": "last_k", "dataset": "code", "document": "d0"}
    return row | {"context_length": 128, "metric": "nll", "value": 10.0, "n": 5, "at": {"window": 0}} | changes


def write_run(folder, arm, seed=0, nll=1.0, rows=True, place="", **changes):
    """One run with three documents a length; the NLL per token grows by 0.1 a length and 0.01 a document."""
    name = place or f"{arm.replace('/', '-')}-{seed}"
    info = {"run": name, "arm": arm, "method": arm, "seed": seed, "state": "finished", "reason": None, "order": 0}
    info |= {"pretrain_length": 128, "train_length": None, "factor": 4.0, "lengths": list(LENGTHS), "not_evaluated": {}}
    info |= {"seconds": {"extend": 30.0, "evaluate": 6.0}, "base": {"key": f"b{seed}", "seconds": 120.0}}
    info |= {"fingerprint": "0123456789abcdef", "metrics": as_data(METRICS)}
    records.write_json(folder / name / "run.json", info | changes)
    absent = {int(length) for length in changes.get("not_evaluated", {})}
    lengths = [(i, length) for i, length in enumerate(LENGTHS) if rows and length not in absent]
    values = [(i, length, d, 8 * (nll + 0.1 * i + 0.01 * d)) for i, length in lengths for d in range(3)]
    shared = {"run": name, "arm": arm, "seed": seed, "n": 8}
    found = [make_row(context_length=n, document=f"d{d}", value=value, **shared) for _, n, d, value in values]
    records.append(folder / name / "records.jsonl", found)


def shown(renderable, width=120):
    console = Console(file=StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def changed(config, changes):
    """Return a configuration with other values, by dotted key."""
    found = copy.deepcopy(config)
    for key, value in changes.items():
        *parts, last = key.split(".")
        node = found
        for part in parts:
            node = node[part]
        node[last] = value
    return found


def nats(folder, seeds, methods):
    """Write runs of methods with NLL at L, 2L and 4L: a number of nats that grows by 0.1 a length."""
    for seed in seeds:
        for method, nll in methods.items():
            write_run(folder, method, seed, nll=nll + 0.001 * seed, method=method)
