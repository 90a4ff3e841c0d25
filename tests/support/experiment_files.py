"""An experiment made by hand: its records and run files, and what is printed of them."""

from io import StringIO

from rich.console import Console

from lcx_lightning.results import records

LENGTHS = (128, 256, 512)


def make_row(**changes):
    row = {"run": "pi-0", "arm": "pi", "base": "b", "method": "pi", "factor": 4.0, "seed": 0}
    row |= {"evaluation": "growing_context", "protocol": "last_k", "dataset": "code", "document": "d0", "window": 0}
    return row | {"context_length": 128, "metric": "nll", "value": 10.0, "n": 5} | changes


def write_run(folder, arm, seed=0, nll=1.0, rows=True, **changes):
    """One run with three documents a length; the NLL per token grows by 0.1 a length and 0.01 a document."""
    name = f"{arm.replace('/', '-')}-{seed}"
    info = {"run": name, "arm": arm, "method": arm, "seed": seed, "state": "finished", "reason": None, "order": 0}
    info |= {"pretrain_length": 128, "train_length": None, "factor": 4.0, "lengths": list(LENGTHS), "not_evaluated": {}}
    info |= {"seconds": {"extend": 30.0, "evaluate": 6.0}, "base": {"key": f"b{seed}", "seconds": 120.0}}
    records.write_json(folder / name / "run.json", info | {"fingerprint": "0123456789abcdef"} | changes)
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
