"""Files that commands read: sound ones, to be damaged, and how each is read."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import datasets
import torch
from safetensors.torch import load_file, save_file
from support.corpus_files import corpus_of
from support.damaged_runs import called, report, run
from support.experiment_files import write_run
from support.lab import EVALUATION, TINY, TRAINING, folders, save_checkpoint, save_documents
from support.task_files import qasper_row, save_archive, save_lines, save_longbench
from support.trainable_model import SOURCE

from lcx_lightning.evaluation.tasks.datasets.longbench import LongBenchExamples
from lcx_lightning.evaluation.tasks.datasets.qasper import Qasper
from lcx_lightning.evaluation.tasks.datasets.text_pairs import TextPairs
from lcx_lightning.models.attach import attach
from lcx_lightning.results import records
from lcx_lightning.runner import stage_cache, stages

OWN = """\
scaling: {_target_: lcx_lightning.scaling.YaRN, fast: 32, slow: 1}
positions: {_target_: lcx_lightning.positions.FixedFactor, factor: 2}
temperature: {_target_: lcx_lightning.temperature.YaRNTemperature, slope: 0.1}
pattern: {_target_: lcx_lightning.patterns.Lambda, window: "${pretrain_length}", sink_tokens: 4, distance_limit: null}
"""


@dataclass(frozen=True)
class Victim:
    """A file that is damaged.

    Attributes:
        make: Function that saves sound files into a folder; called once.
        file: Pattern of the damaged file in that folder.
        read: Function of the folder that reads it as a command does, and returns exit code and words.
        strict: Whether a JSON file that is none, by Python's own reader, must be refused.
        foreign: Whether the library of its format reads it, and its message need not name a key.
    """

    make: Callable[[Path], None]
    file: str
    read: Callable[[Path], tuple[int, str]]
    strict: bool = False
    foreign: bool = False


# Checkpoints


def checkpoint(root, kind="whole"):
    folder = save_checkpoint(root / "model", **CONFIGS.get(kind, {}))
    save_documents(root / "documents")
    weights = load_file(folder / "model.safetensors")
    if kind in ("sharded", "pickled"):
        (folder / "model.safetensors").unlink()
    if kind == "sharded":
        save_file(weights, folder / "a.safetensors", metadata={"format": "pt"})
        index = {"metadata": {"total_size": 16000}, "weight_map": dict.fromkeys(weights, "a.safetensors")}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    if kind == "pickled":
        torch.save(weights, folder / "pytorch_model.bin")
    if kind == "clex":
        held = json.loads((folder / "config.json").read_text())
        clex = {"type": "clex", "max_factor": 16, "param_factor": 1, "act": "tanh"}
        (folder / "config.json").write_text(json.dumps(held | {"rope_scaling": clex, "log_scale": True}))
        ode = {"ode_up_proj": torch.randn(4, 8) / 8, "ode_down_proj": torch.randn(8, 4) / 8}
        more = {f"model.clex_layer.proj_func.{name}": weight for name, weight in ode.items()}
        save_file(weights | more, folder / "model.safetensors", metadata={"format": "pt"})


YARN = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32, "rope_theta": 10_000.0}
CONFIGS = {"yarn": {"rope_parameters": YARN}}


def read_checkpoint(root, method="pi"):
    splits = ("train", "validation", "test")
    files = ",".join(f"{split}:{root}/documents/{split}.jsonl" for split in splits)
    data = ["data=hub", "data.corpus.load.path=json", f"data.corpus.load.data_files={{{files}}}"]
    data += [f"data.corpus.splits.{split}={split}" for split in splits]
    line = ["model=hub", f"model.source.name={root / 'model'}", *data, f"method={method}", *EVALUATION, *folders(root)]
    return run(*line)


def of_checkpoint(file, kind="whole", method="pi", **more):
    return Victim(
        lambda root: checkpoint(root, kind), f"model/{file}", lambda root: read_checkpoint(root, method), **more
    )


# Method files


def method_file(root):
    (root / "method").mkdir()
    (root / "method" / "own.yaml").write_text(OWN)


def read_in_python(root):
    return called(lambda: attach(SOURCE.load(None), root / "method" / "own.yaml") and 0)


def read_on_command_line(root, method="own"):
    return run(f"--config-dir={root}", f"method={method}", "dry_run=fingerprint", *TINY, *folders(root))


def longrope_file(root):
    lists = {"short_factor": [1.0] * 4, "long_factor": [1.0, 1.5, 2.0, 3.0], "original_max_position_embeddings": 64}
    scaling = {"rope_scaling": lists | {"type": "longrope", "factor": 2.0}, "max_position_embeddings": 128}
    (root / "lists.json").write_text(json.dumps(scaling))


def read_longrope_file(root):
    return run(
        "method=longrope", f"method.scaling.file={root}/lists.json", "dry_run=fingerprint", *TINY, *folders(root)
    )


# Runs that go on

TRAINED = ["method=clex", "training=finetune", *TRAINING, *TINY, "experiment=run", "in_loop.every=1"]


def finished(root):
    code, said = run(*TRAINED, *folders(root))
    assert code == 0, said


def unevaluated(root):
    """A run that has trained base and extension."""
    finished(root)
    shutil.rmtree(root / "results")


def go_on(root):
    return run(*TRAINED, *folders(root))


def stopped(root):
    """A run that has been stopped while it extended."""

    def full(folder, key, *more):
        if len(more) > 1:  # of an extension, with its fingerprint
            raise OSError("full")
        stage_cache.write_outcome(folder, key, *more)

    with patch.object(stages, "write_outcome", full):
        run(*TRAINED, "checkpoint_seconds=0.001", *folders(root))
    shutil.rmtree(root / "results")


# Experiments that are reported


def reported(root):
    meta = {"name": "results", "question": "How far?", "look_for": ["PI"], "protocols": ["last_k"]}
    records.write_json(root / "results" / "experiment.json", meta)
    write_run(root / "results", "pretrained")
    write_run(root / "results", "pi", order=1, not_evaluated={"512": "max_factor is 2"})


# Texts of tasks and corpora


def longbench(root):
    save_longbench(root / "folder")
    save_archive(root / "data.zip")


def read_longbench(root, place):
    return called(lambda: LongBenchExamples(path=str(root / place)).read("hotpotqa"))


def papers(root):
    save_lines(root / "papers.jsonl", [qasper_row()])


def read_papers(root):
    load = {"path": "json", "data_files": str(root / "papers.jsonl"), "split": "train"}
    return called(lambda: Qasper(load=load).read("qasper"))


PAIRS = [{"key": f"k{i}", "long": f"text {i} " * 20, "brief": "b"} for i in range(20)]


def pairs(root):
    save_lines(root / "pairs.jsonl", PAIRS)
    datasets.Dataset.from_list(PAIRS).to_parquet(str(root / "pairs.parquet"))
    datasets.Dataset.from_list(PAIRS).to_csv(str(root / "pairs.csv"))
    (root / "packed.jsonl.gz").write_bytes(gzip.compress((root / "pairs.jsonl").read_bytes()))
    (root / "pairs.txt").write_text("A text of some words.\n" * 20)


def read_pairs(root, file):
    load = {"path": str(root / file), "split": "train"}
    return called(lambda: TextPairs(name="p", load=load, context="long", answer="brief", id_column="key").read("any"))


def read_corpus(root, file):
    column = "text" if file.endswith(".txt") else "long"
    corpus = corpus_of(root / file, root, f"data.corpus.text_column={column}")
    return called(corpus.identity)


def repository(root):
    """A folder as on the hub, whose README.md says which files it has."""
    (root / "books").mkdir()
    save_lines(root / "books" / "a.jsonl", [{"long": f"document {i}"} for i in range(9)])
    configs = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: a.jsonl\n"
    (root / "books" / "README.md").write_text(f"---\n{configs}---\nBooks.\n")


VICTIMS = {
    "config.json": of_checkpoint("config.json", strict=True),
    "config.json of YaRN": of_checkpoint("config.json", "yarn", strict=True),
    "config.json of CLEX": of_checkpoint("config.json", "clex", "clex", strict=True),
    "generation_config.json": of_checkpoint("generation_config.json", strict=True),
    "tokenizer.json": of_checkpoint("tokenizer.json", foreign=True),
    "tokenizer_config.json": of_checkpoint("tokenizer_config.json"),
    "model.safetensors": of_checkpoint("model.safetensors"),
    "pytorch_model.bin": of_checkpoint("pytorch_model.bin", "pickled"),
    "index of shards": of_checkpoint("model.safetensors.index.json", "sharded", strict=True),
    "method file in Python": Victim(method_file, "method/own.yaml", read_in_python),
    "method file on the command line": Victim(method_file, "method/own.yaml", read_on_command_line),
    "method file in a list": Victim(method_file, "method/own.yaml", lambda root: read_on_command_line(root, "[own]")),
    "file of LongRoPE": Victim(longrope_file, "lists.json", read_longrope_file, strict=True),
    "stage.json of a base": Victim(unevaluated, "cache/base/*/stage.json", go_on, strict=True),
    "weights of a base": Victim(unevaluated, "cache/base/*/model.safetensors", go_on),
    "stage.json of an extension": Victim(unevaluated, "cache/extend/*/stage.json", go_on, strict=True),
    "weights of an extension": Victim(unevaluated, "cache/extend/*/model.pt", go_on),
    "records in the loop": Victim(unevaluated, "cache/extend/*/in_loop.jsonl", go_on, foreign=True),
    "last.ckpt": Victim(stopped, "cache/extend/*.work/last.ckpt", go_on),
    "tokens": Victim(lambda root: checkpoint(root) or read_checkpoint(root), "cache/tokens/*/ids", read_checkpoint),
    "names of tokens": Victim(
        lambda root: checkpoint(root) or read_checkpoint(root), "cache/tokens/*/documents.json", read_checkpoint
    ),
    "LongBench's file": Victim(longbench, "folder/hotpotqa.jsonl", lambda root: read_longbench(root, "folder")),
    "LongBench's archive": Victim(longbench, "data.zip", lambda root: read_longbench(root, "data.zip")),
    "papers": Victim(papers, "papers.jsonl", read_papers, foreign=True),
    "pairs.jsonl": Victim(pairs, "pairs.jsonl", lambda root: read_pairs(root, "pairs.jsonl")),
    "pairs.parquet": Victim(pairs, "pairs.parquet", lambda root: read_pairs(root, "pairs.parquet")),
    "corpus.jsonl": Victim(pairs, "pairs.jsonl", lambda root: read_corpus(root, "pairs.jsonl")),
    "corpus.parquet": Victim(pairs, "pairs.parquet", lambda root: read_corpus(root, "pairs.parquet")),
    "corpus.csv": Victim(pairs, "pairs.csv", lambda root: read_corpus(root, "pairs.csv")),
    "corpus.txt": Victim(pairs, "pairs.txt", lambda root: read_corpus(root, "pairs.txt")),
    "corpus.jsonl.gz": Victim(pairs, "packed.jsonl.gz", lambda root: read_corpus(root, "packed.jsonl.gz")),
    "README.md": Victim(repository, "books/README.md", lambda root: read_corpus(root, "books")),
    "records.jsonl": Victim(reported, "results/pi-0/records.jsonl", lambda root: report(root / "results")),
    "run.json": Victim(reported, "results/pi-0/run.json", lambda root: report(root / "results"), strict=True),
    "experiment.json": Victim(reported, "results/experiment.json", lambda root: report(root / "results"), strict=True),
    "records.jsonl of a run": Victim(finished, "results/run/*/records.jsonl", go_on),
    "run.json of a run": Victim(finished, "results/run/*/run.json", go_on, strict=True),
    "experiment.json of a run": Victim(finished, "results/run/experiment.json", go_on, strict=True),
}
