"""Tokenizers and tasks for tests of prompts, and how a prompt is solved by reading it."""

import hashlib
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from support.made import made
from support.text_corpora import CORPUS_ONLY, Books
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lcx_lightning.data.corpora.base import SPLITS
from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens
from lcx_lightning.evaluation.retrieval.prompts.base import Place

FOLDER = Path(__file__).parents[2] / "experiments" / "configs" / "evaluation"
TEXT = "The quick brown fox jumps over the lazy dog, and runs back 12345 times.\n\tdef f(x): return x + 1\n"
SENTENCES = [f"{i}. The grass is green, key {i * 7919 % 99991}. What is the number of special ones?" for i in range(60)]


def tokenizer_folder(kind, folder):
    """Save a small tokenizer in the format of the hub: bytes merged as by gpt2, or with a first blank as by llama."""
    tokenizer = Tokenizer(models.BPE(unk_token=None, byte_fallback=kind == "llama"))
    special = ["<s>", "</s>"]
    if kind == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        special += [f"<0x{i:02X}>" for i in range(256)]
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        alphabet = []
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, max_token_length=8, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    from transformers import PreTrainedTokenizerFast  # slow, and not needed for bytes

    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)
    return folder


def data_of(tokens=None):
    """Return data of books that are long enough, in tokens of that kind, or in bytes."""
    texts = {split: [f"Book {i} of {split}.\n" + TEXT * (3 * i + 1) for i in range(4)] for split in SPLITS}
    return LongContextData(Books(**texts), tokens or ByteTokens(), CORPUS_ONLY)


def evaluation_of(name, **settings):
    """Return the evaluation of a configuration file, with some of its values replaced."""
    return made(OmegaConf.merge(OmegaConf.load(FOLDER / f"{name}.yaml"), settings))


@cache
def tasks_of(name):
    """Return the tasks of a configuration file, by name, as objects and as they are configured."""
    config = OmegaConf.load(FOLDER / f"{name}.yaml").tasks
    return {task: (made(config[task]), config[task]) for task in config}


def digest(data, names):
    """Return a hash of prompts of every task of these files, as evaluations make them."""
    hashed = hashlib.sha256()
    for name in names:
        work_units = evaluation_of(name, multiples=[8], trials=1, batch_tokens=1).work_units(data, 1024, None)
        first = {unit.rows[0]["at"]["task"]: unit for unit in reversed(work_units)}
        for unit in first.values():
            bound = unit.compute.keywords
            hashed.update(unit.compute.func.__self__._prompt(bound["data"], bound["trials"][0]).ids.tobytes())
    return hashed.hexdigest()


def asked(task, data, length, place=None, seed=0):
    """Return a prompt of a task, and its text."""
    prompt = task.prompt(data, length, place or Place(), np.random.default_rng(seed))
    return prompt, data.tokens.decode(prompt.ids[1:].tolist())


def solved(config, text):
    """Return the answer to a prompt as someone finds it who reads the text, and knows how it is worded."""
    kind = config["_target_"].split(".")[-1]
    return {"Needles": needles, "VariableTracking": variables, "CommonWords": common, "FrequentWords": frequent}[kind](
        config["wording"], text
    )


def needles(wording, text):
    """Return the values of the keys that are asked for, in the order of the text."""
    pattern = re.escape(wording["needle"]).replace(r"\{key\}", r"(?P<key>[\w-]+?)")
    pattern = pattern.replace(r"\{value\}", r"(?P<value>[\w-]+)", 1).replace(r"\{value\}", r"(?P=value)")
    lines = text.split("\n")
    found = [match.groupdict() for line in lines if (match := re.fullmatch(pattern, line))]
    question = text[text.rindex("\n") :] if '"' not in wording["question"] else text[text.rindex("\n\nKey") :]
    return {each["value"] for each in found if each.get("key") is None or re.search(rf"\b{each['key']}\b", question)}


def variables(_wording, text):
    """Return the names that hold the value asked for, following every assignment of the last prompt."""
    text = text[text.rindex("Memorize") :]
    value = re.search(r"assigned the value (\d+) in", text)[1]
    held = {value}
    for name, other in re.findall(r"VAR (\w+) = (?:VAR )?(\w+)", text):
        if other in held:
            held.add(name)
    return held - {value}


def common(_wording, text):
    """Return the ten words that are there most often, all of them more often than any other."""
    counts = Counter(re.findall(r"\d+\. (\w+)", text[text.rindex("Below is") :]))
    top = counts.most_common(11)
    assert top[9][1] == 30
    assert top[10:] == [] or top[10][1] == 3
    return {word for word, _ in top[:10]}


def frequent(_wording, text):
    """Return the three most frequent words, all of them more frequent than any other, but for dots."""
    body = text[text.index("coded words.\n") + len("coded words.\n") : text.rindex("\nQuestion:")]
    top = [(word, count) for word, count in Counter(body.split()).most_common() if word != "..."]
    assert len({count for _, count in top[:4]}) == 4
    return {word for word, _ in top[:3]}
