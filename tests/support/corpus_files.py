"""Corpora of local files that tests write."""

import gzip
import json

import datasets
from support.lab import composed
from support.made import made

TEXTS = [f"document {i}\nof two lines" for i in range(5)]


def corpus_of(path, tmp_path, *overrides):
    """Return the corpus of a path, all of it for training."""
    shares = [f"data.corpus.held_out.{split}_share=0" for split in ("validation", "test")]
    config = composed("data=hub", f"data.corpus.load.path='{path}'", *shares, *overrides).data.corpus
    config.load = {**config.load, "cache_dir": str(tmp_path / "cache")}
    return made(config)


def texts_of(corpus):
    return [document.text for document in corpus.documents("train")]


def write(folder, kind, texts=TEXTS):
    """Write texts as files of a kind, and return the path that names them."""
    if kind == "txt":
        for i, text in enumerate(texts):
            (folder / f"{i}.txt").write_text(text)
        return folder / "*.txt"
    if kind == "parquet":
        datasets.Dataset.from_list([{"text": text} for text in texts]).to_parquet(str(folder / "all.parquet"))
        return folder / "all.parquet"
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    (folder / f"all.{kind}").write_bytes(gzip.compress(lines) if kind.endswith("gz") else lines)
    return folder / f"all.{kind}"


def save(folder, *names):
    """Write files that hold their own names as their text, and return the folder."""
    for name in names:
        file, text = folder / name, json.dumps({"text": name}) + "\n"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text if ".json" in name else f"text\n{name}\n" if name.endswith(".csv") else name)
    return folder
