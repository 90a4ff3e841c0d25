"""`dry_run=data`: what there is of the data, also where it is too little to run."""

import io
import re
import sys

import pytest
from hydra import initialize_config_module
from rich.console import Console
from support.lab import EVALUATION, TINY, TRAINING, arms_of, composed, folders, save_checkpoint, save_documents

from lcx_lightning.data.tokenizers import HubTokens
from lcx_lightning.runner.built_arm import BuiltArm
from lcx_lightning.runner.expand import expand
from lcx_lightning.runner.grid import build
from lcx_lightning.runner.preview.data import show_data


@pytest.fixture
def shown(tmp_path):
    """A function: overrides -> the numbers of each line that is printed, by its words."""

    def show(*overrides):
        line = [*overrides, *folders(tmp_path)]
        console = Console(width=120, record=True, file=io.StringIO())
        config = composed(*line)
        with initialize_config_module("experiments.configs", version_base="1.3"):
            show_data(build(config, expand(config, line)), console)
        lines = [re.split(r"\s{2,}", text.strip()) for text in console.export_text().splitlines()]
        return {words[0]: [int(n.replace(",", "")) for n in words[1:]] for words in lines if len(words) == 4}

    return show


def test_the_report_counts_what_remains_and_what_reaches_each_length(tmp_path, shown):
    name = save_checkpoint(tmp_path / "model")
    model = ["model=hub", f"model.source.name={name}"]
    lines = shown(*model, *save_documents(tmp_path / "data", words=100), "data.minimum_tokens=50")
    assert lines["documents read"] == lines["documents"] == [6, 6, 6]
    assert lines["tokens"] == [600, 600, 600]
    assert lines["tokens of the longest"] == [100, 100, 100]
    assert lines["documents that reach 64"] == [6, 6, 6]
    assert lines["documents that reach 2,048"] == [0, 0, 0]
    none = shown(*model, *save_documents(tmp_path / "data", words=100), "data.minimum_tokens=101")
    assert none["- of too few tokens"] == [6, 6, 6]
    assert none["documents"] == none["tokens"] == [0, 0, 0]


def test_the_longest_document_is_named_by_its_file(tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    for number in range(40):
        (tmp_path / "texts" / f"{number:02}.txt").write_text("word " * (100 + number))
    line = [*TINY, "data=hub", f"data.corpus.load.path={tmp_path / 'texts'}", "data.corpus.held_out.test_share=0.4"]
    config = composed(*line)
    with initialize_config_module("experiments.configs", version_base="1.3"):
        show_data(build(config, expand(config, line)), Console(width=120, file=sys.stdout))
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("The longest documents"))
    assert "39.txt" in said
    assert re.fullmatch(r"The longest documents: train \d\d\.txt(, validation \d\d\.txt)?, test \d\d\.txt\.", said)


def test_the_length_of_training_is_reported_with_those_of_evaluation(shown):
    sizes = [*TINY, *TRAINING, "method=pi", "training=finetune", "train_factor=3"]
    assert {"documents that reach 64", "documents that reach 128", "documents that reach 192"} <= shown(*sizes).keys()


def test_what_was_tokenised_for_the_report_is_found_by_a_run(tmp_path, shown, monkeypatch):
    model = ["model=hub", f"model.source.name={save_checkpoint(tmp_path / 'model')}"]
    line = [*model, *save_documents(tmp_path / "data"), *folders(tmp_path)]
    shown(*line)
    monkeypatch.setattr(HubTokens, "encode", lambda *_: pytest.fail("tokenised again"))
    (arm,) = arms_of(*line, *EVALUATION)
    data = BuiltArm(arm).data
    monkeypatch.setattr(type(data.corpus), "read", lambda *_: pytest.fail("read again"))
    assert data.batch(0, 0, 2, 64)["input_ids"].shape == (2, 64)
    assert len(data.evaluation_windows("test", 128, 3, 0)) == 3
