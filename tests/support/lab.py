"""The command line at tiny sizes: a laboratory of one layer that trains for a few steps, in seconds."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

from hydra import compose, initialize_config_module
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from lcx_lightning.results import records
from lcx_lightning.runner import wandb_runs
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.expand import expand
from lcx_lightning.runner.grid import build
from lcx_lightning.runner.launch import worker
from lcx_lightning.runner.preflight import prepare

ROOT = Path(__file__).parents[2]
L = 64  # tokens, pretraining length
BYTES = {"vocab_size": 257, "bos_token_id": 256, "eos_token_id": 256, "pad_token_id": 256}
SIZES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": L,
}
EVALUATION = [
    "evaluation.growing_context.last=16",
    "evaluation.growing_context.windows=2",
    "evaluation.growing_context.multiples=[1,2]",
]
BASE = ["model.recipe.steps=4", "model.recipe.rows=2", "model.recipe.validation_steps=1"]
TINY = [
    "model.source.tokenizer=bytes",
    *(f"model.source.architecture.{name}={size}" for name, size in (BYTES | SIZES).items()),
    *(*BASE, "model.recipe.schedule.warmup=1", *EVALUATION),
]
TRAINING = ["training.steps=2", "training.rows=2", "training.validation_steps=1", "training.schedule.warmup=1"]


def environment(**more):
    """Return the environment of a launch: one thread, no network, no account."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "HYDRA"))}
    offline = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "COLUMNS": "200"}
    return kept | offline | more


def command(*overrides):
    """Return the command of an experiment."""
    return [sys.executable, "-m", "experiments.run", *map(str, overrides)]


def launch(*overrides, **variables):
    """Run the command to its end, and return what it printed and its exit code."""
    return subprocess.run(
        command(*overrides), cwd=ROOT, env=environment(**variables), capture_output=True, text=True, timeout=300
    )


def folders(root):
    """Return the overrides that put results and caches under `root`."""
    return [f"results_dir={root / 'results'}", f"cache_dir={root / 'cache'}"]


def composed(*overrides):
    """Return the configuration of a command line, composed in this process."""
    with initialize_config_module("experiments.configs", version_base="1.3"):
        return compose("run", list(map(str, overrides)))


def built_arms_of(*overrides):
    """Return the arms of a command line with their parts, built and found sound in this process."""
    line = list(map(str, overrides))
    with initialize_config_module("experiments.configs", version_base="1.3"):
        config = compose("run", line)
        built = build(config, expand(config, line), wandb_runs.in_sweep())
        for one in built:
            prepare(one, here=True)
    return built


def arms_of(*overrides):
    """Return the arms of a command line, as plain data."""
    return [built.arm for built in built_arms_of(*overrides)]


def run_here(*overrides):
    """Run all stages of the one arm of a command line in this process, and return the arm."""
    (arm,) = arms_of(*overrides)
    run_built(BuiltArm(arm))
    return arm


def run_built(built):
    """Run all stages of an arm in this process."""
    with warnings.catch_warnings():
        for said in ("does not have many workers", "Found .* in eval mode"):  # Lightning's, on a small machine
            warnings.filterwarnings("ignore", f".*{said}")
        worker.run_arm(built, lambda *_: None)


def results(root):
    """Return the folder of the one experiment that has run under `root`."""
    (folder,) = [path for path in (root / "results").iterdir() if path.is_dir() and path.name != "wandb"]
    return folder


def runs(folder):
    """Return the runs of an experiment by the name of their folder."""
    return {path.parent.name: records.read_run(path.parent) for path in sorted(Path(folder).glob("*/run.json"))}


def numbers(run):
    """Return every value of a run by what it is the value of, whatever the arm."""
    head = dict.fromkeys(("run", "experiment", "arm", "base", "method", "factor", "seed"))
    return {records.identity(row | head): (row["value"], row["n"]) for row in run.rows}


def save_checkpoint(folder, model_type="llama", **architecture):
    """Save a tiny model and its tokenizer of words in the format of the Hugging Face hub."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["<unk>", "<s>", "</s>"])
    tokenizer.train_from_iterator([" ".join(map(str, range(60)))], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)
    config = AutoConfig.for_model(model_type, **{"vocab_size": len(fast), **SIZES, **architecture})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def save_documents(folder, words=400):
    """Save training, validation and test documents as JSON lines, and return the overrides that read them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, split in enumerate(("train", "validation", "test")):
        texts = [" ".join(str((7 * d + 3 * i * i + number) % 60) for i in range(words)) for d in range(6)]
        lines = [json.dumps({"text": text}) for text in texts]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    files = ",".join(f"{split}:{folder / split}.jsonl" for split in ("train", "validation", "test"))
    splits = ["data.corpus.splits.validation=validation", "data.corpus.splits.test=test"]
    return ["data=hub", "data.corpus.load.path=json", f"data.corpus.load.data_files={{{files}}}", *splits]
