"""Results of many arms, lengths and documents, made by hand in a moment: what a large grid leaves behind."""

import json
import math
import random

from lcx_lightning.results import records
from lcx_lightning.results.metrics import as_data, perplexity

SCORED = "the same last tokens of each document, under growing context"
METHODS = ("yarn", "ntk", "lm_infinite", "self_extend")


def write_many(folder, arms=500, lengths=12, documents=50, pretrain_length=512):
    """Write an experiment of one seed: pretrained, and arms over methods, windows and sink tokens."""
    chance = random.Random(0)
    names = [f"arm-{number:03}" for number in range(arms)]
    records.write_json(folder / "experiment.json", {
        "name": "large", "question": "Which of many arms holds?", "runs": names, "protocols": ["last_k"],
        "commands": ["lcx run +exp=large"],
    })  # fmt: skip
    for order, name in enumerate(names):
        method = METHODS[order % len(METHODS)] if order else "pretrained"
        knobs = {"window": 2 ** (5 + order // 4 % 8), "sink_tokens": order // 32 % 16} if order else {}
        _write(folder / name, method, knobs, order, lengths, documents, pretrain_length, chance)


def _write(folder, method, knobs, order, lengths, documents, pretrain_length, chance):
    arm = " ".join([method, *(f"{key}={value}" for key, value in knobs.items())])
    places = [pretrain_length // 4 * 2**i for i in range(lengths)]
    pattern = {"_target_": "lcx_lightning.patterns.Lambda", **knobs} if knobs else {}
    config = {"factor": 8, **knobs, "method": {"scaling": {"_target_": f"x.{method}"}, "pattern": pattern}}
    config["model"] = {"source": {"_target_": "lcx_lightning.models.EmbeddedModel", "name": "embedded"}}
    config["evaluation"] = {"growing_context": {"_target_": "lcx_lightning.evaluation.GrowingContext", "last": 64}}
    info = {"run": f"{order:012x}", "arm": arm, "method": method, "seed": 0, "order": order, "state": "finished"}
    info |= {"pretrain_length": pretrain_length, "train_length": None, "factor": 8, "lengths": places, "config": config}
    info |= {"seconds": {"extend": 0.0, "evaluate": 6.0 + order % 7}, "device_seconds": 6.0 + order % 7}
    info |= {"fingerprint": f"{order:016x}", "metrics": as_data({"last_k/nll": perplexity(SCORED)}), "reason": None}
    info["computed_by"] = [{"git_commit": "0" * 40, "versions": {"torch": "2.13"}, "hardware": {"cores": 2}}]
    records.write_json(folder / "run.json", info)
    lines = []
    for i, length in enumerate(places):
        beyond = max(0.0, math.log2(length / pretrain_length)) * (1.5 if order == 0 else 0.02 + order % 50 / 100)
        for document in range(documents):
            value = 64 * (1.2 - 0.05 * min(i, 2) + beyond + 0.1 * chance.random())
            lines.append(json.dumps({
                "run": info["run"], "arm": arm, "base": "b", "method": method, "factor": 8, "seed": 0,
                "evaluation": "growing_context", "protocol": "last_k", "dataset": "code",
                "document": f"file_{document}.py", "context_length": length, "metric": "nll",
                "at": {"window": document}, "n": 64, "value": value,
            }))  # fmt: skip
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")
