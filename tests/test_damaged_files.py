"""Five hundred damaged files: each is read as what it says, or refused in a sentence that names it; none hangs."""

import random
import shutil
import traceback

import pytest
from support import damages
from support.damaged_cases import VICTIMS
from support.damaged_runs import HangsError, is_json, watched
from support.damaged_yaml import YAML

VALUES, BYTES, PLACES = damages.VALUES, damages.BYTES, damages.PLACES
COUNTS = {  # victim -> how many cases, and their damages in turn
    "config.json": (44, [*VALUES, damages.replaced, damages.replaced, *BYTES, *PLACES]),
    "config.json of YaRN": (18, VALUES),
    "config.json of CLEX": (12, VALUES),
    "generation_config.json": (20, [*VALUES, *BYTES, *PLACES]),
    "tokenizer.json": (20, [*VALUES, *BYTES, *PLACES]),
    "tokenizer_config.json": (20, [*VALUES, *BYTES, *PLACES]),
    "model.safetensors": (14, [*BYTES, *PLACES]),
    "pytorch_model.bin": (14, [*BYTES, *PLACES]),
    "index of shards": (12, [*VALUES, *BYTES]),
    "method file in Python": (66, [*YAML, *BYTES, *PLACES]),
    "method file on the command line": (52, [*YAML, *BYTES, *PLACES]),
    "method file in a list": (20, [*YAML[::3], *BYTES]),
    "file of LongRoPE": (12, [*VALUES, *BYTES]),
    "stage.json of a base": (12, [*VALUES, *BYTES, *PLACES]),
    "weights of a base": (3, [*BYTES, *PLACES]),
    "stage.json of an extension": (12, [*VALUES, *BYTES, *PLACES]),
    "weights of an extension": (4, [*BYTES, *PLACES]),
    "records in the loop": (3, [*VALUES]),
    "last.ckpt": (8, [*BYTES, *PLACES]),
    "tokens": (3, [*BYTES, *PLACES]),
    "names of tokens": (6, [*VALUES, *BYTES]),
    "LongBench's file": (20, [*VALUES, *BYTES, *PLACES]),
    "LongBench's archive": (22, [*damages.ARCHIVE, damages.bomb, damages.bomb, damages.bomb, *BYTES, *PLACES]),
    "papers": (10, [*VALUES, *BYTES]),
    "pairs.jsonl": (10, [*VALUES, *BYTES]),
    "pairs.parquet": (8, [*BYTES, *PLACES]),
    "corpus.jsonl": (12, [*VALUES, *BYTES, *PLACES]),
    "corpus.parquet": (8, [*BYTES, *PLACES]),
    "corpus.csv": (8, [*BYTES, *PLACES]),
    "corpus.txt": (8, [*BYTES, *PLACES]),
    "corpus.jsonl.gz": (8, [*BYTES, *PLACES]),
    "README.md": (8, [*BYTES, *PLACES]),
    "records.jsonl": (21, [*VALUES, damages.replaced, *BYTES, *PLACES]),
    "run.json": (40, [*VALUES, damages.replaced, damages.replaced, damages.replaced, *BYTES, *PLACES]),
    "experiment.json": (20, [*VALUES, *BYTES, *PLACES]),
    "records.jsonl of a run": (6, [*VALUES, damages.cut, *PLACES]),
    "run.json of a run": (12, [*VALUES, damages.replaced, damages.replaced, *BYTES, *PLACES]),
    "experiment.json of a run": (8, [*VALUES, damages.replaced, damages.cut]),
}
CASES = [
    pytest.param(name, among[number % len(among)], number, id=f"{name}-{among[number % len(among)].__name__}-{number}")
    for name, (count, among) in COUNTS.items()
    for number in range(count)
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A function: name of a victim -> the folder with its sound files, which are read without a refusal."""
    made = {}

    def folder(name):
        victim = VICTIMS[name]
        if victim.make not in made:
            made[victim.make] = tmp_path_factory.mktemp("sound")
            victim.make(made[victim.make])
        return made[victim.make]

    return folder


def test_there_are_five_hundred_cases():
    assert len(CASES) >= 500


@pytest.mark.slow
@pytest.mark.parametrize("name", VICTIMS)
def test_a_sound_file_is_read(name, sound, tmp_path):
    shutil.copytree(sound(name), tmp_path / "case", symlinks=True)
    code, said = VICTIMS[name].read(tmp_path / "case")
    assert code == 0, said


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage", "number"), CASES)
def test_a_damaged_file_is_read_as_what_it_says_or_refused_by_name(name, damage, number, sound, tmp_path, monkeypatch):
    """What is refused is an error of the user's: a ValueError or OSError, and no traceback of anything else."""
    monkeypatch.chdir(tmp_path)
    victim = VICTIMS[name]
    shutil.copytree(sound(name), tmp_path / "case", symlinks=True)
    (path,) = (tmp_path / "case").glob(victim.file)
    words = damage(path, random.Random(f"{name} {number}"))
    try:
        with watched():
            code, said = victim.read(tmp_path / "case")
    except HangsError:
        pytest.fail(f"it hangs:\n{traceback.format_exc()}")
    except (ValueError, OSError) as error:  # of a job: the command shows it after the job's name
        code, said = 1, str(error)
    assert "Traceback" not in said
    if code == 0:
        assert not victim.strict or is_json(path), "it was read, and is none"
        return
    assert path.name in said, said
    assert str(path.parent) in said, said
    assert victim.foreign or damage is damages.removed or not words or any(word in said for word in words), (
        f"it names none of {words}: {said}"
    )
    assert len(said) < 1500, said
    assert not (tmp_path / "made").exists()
