"""What the tests share: run-time shape checks, tiny models, all that the method folder offers, data and records."""

import os
import signal

from jaxtyping import install_import_hook

os.environ["HF_HUB_OFFLINE"] = "1"  # before the libraries of the hub read it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background, and in all that is started there
    signal.signal(signal.SIGINT, signal.default_int_handler)

CHECKED = (
    "methods.scaling",
    "methods.positions",
    "methods.temperature",
    "methods.patterns",
    "methods.method",
    "methods.packing",
    "methods.rope",
    "methods.rope_views",
    "attention",
    "models.cache",
)
BEARTYPE = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"  # an int serves as a float
install_import_hook([f"lcx_lightning.{name}" for name in CHECKED], BEARTYPE)  # before they are imported

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from support.cache_inputs import ROOM  # noqa: E402
from support.experiment_files import write_run  # noqa: E402
from support.made import made  # noqa: E402
from support.method_parts import offered  # noqa: E402
from support.pairs import a_few  # noqa: E402
from support.property_tests import PROFILE  # noqa: E402
from support.text_corpora import CONFIGS  # noqa: E402
from support.tiny_models import OWN, TINY  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

from lcx_lightning.data.dataset import LongContextData  # noqa: E402
from lcx_lightning.data.tokenizers import ByteTokens  # noqa: E402
from lcx_lightning.methods.library import build_method, methods, read_method  # noqa: E402
from lcx_lightning.methods.scaling.base import RopeSpec  # noqa: E402
from lcx_lightning.models.attach import attach  # noqa: E402
from lcx_lightning.models.cache import growable_layer  # noqa: E402
from lcx_lightning.models.rope_spec import rope_spec  # noqa: E402
from lcx_lightning.results import records  # noqa: E402

torch.set_num_threads(1)  # of each of two workers: more threads than cores are tenfold slower
settings.load_profile(PROFILE)

SPEC = RopeSpec(dim=16, base=10_000.0, pretrain_length=32)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keep slow and browser tests of a file on one worker, which share what it has made, unless they have a group."""
    for item in items:
        marked = item.get_closest_marker("slow") or item.get_closest_marker("browser")
        if marked and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def _build(names, spec):
    sizes = {"factor": 4, "train_factor": 1, "pretrain_length": spec.pretrain_length}
    torch.manual_seed(1)
    return build_method(OmegaConf.create(sizes | {"method": read_method(names)}).method, spec)


@pytest.fixture(params=methods())
def any_method(request):
    """The name of a method: a test that takes it runs for every one that there is."""
    return request.param


@pytest.fixture(params=a_few(methods(), 8))
def some_method(request):
    """The name of a method, for tests that take a second for each: eight of them by default, all in the full run."""
    return request.param


@pytest.fixture(params=offered("scaling"))
def any_scaling(request):
    """A frequency scaling for 16 features, base 10 000 and 32 tokens."""
    return _build(request.param, SPEC).scaling


@pytest.fixture(params=offered("positions"))
def any_scheme(request):
    """A position scheme that reaches factor 4."""
    return _build(request.param, SPEC).positions


@pytest.fixture(params=offered("temperature"))
def any_temperature(request):
    """A temperature."""
    return _build(request.param, SPEC).temperature


@pytest.fixture(params=offered("pattern"))
def any_pattern(request):
    """A pattern of a model pretrained on 32 tokens."""
    return _build(request.param, SPEC).pattern


@pytest.fixture(scope="session")
def tiny():
    """A function: model type -> a tiny model of it with eager attention, the same weights at every call."""

    def build(model_type="llama", **architecture):
        torch.manual_seed(0)
        config = AutoConfig.for_model(model_type, **TINY | OWN.get(model_type, {}) | architecture)
        return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()

    return build


@pytest.fixture(scope="session")
def extended(tiny):
    """A function: method names and model type -> a tiny model that uses the method."""

    def build(names, model_type="llama", **architecture):
        model = tiny(model_type, **architecture)
        return attach(model, _build(names, rope_spec(model.config))).eval()

    return build


@pytest.fixture(scope="session")
def build():
    """A function: method names and rotary embedding -> the method, at factor 4."""
    return _build


@pytest.fixture(scope="session")
def spec():
    """The rotary embedding of 16 features, base 10 000, pretrained on 32 tokens."""
    return SPEC


@pytest.fixture(scope="session")
def stdlib_config():
    """The configuration of the data of the embedded laboratory."""
    return OmegaConf.load(CONFIGS / "stdlib.yaml")


@pytest.fixture(scope="session")
def stdlib(stdlib_config):
    """The source of the standard library, read once."""
    return made(stdlib_config.corpus)


@pytest.fixture(scope="session")
def data(stdlib, stdlib_config):
    """Rows and windows of bytes of the standard library."""
    return LongContextData(stdlib, ByteTokens(), stdlib_config.mixture)


@pytest.fixture
def folder(tmp_path):
    """An experiment of four arms, two seeds each: untrained, trained at 512, cut at 256, and skipped."""
    folder = tmp_path / "quickstart"
    meta = {"name": "quickstart", "question": "How far does <it> reach?", "look_for": ["PI: flat & low."]}
    records.write_json(
        folder / "experiment.json", meta | {"commands": ["run.py +exp=quickstart"], "protocols": ["last_k"]}
    )
    for seed in (0, 1):
        write_run(folder, "pretrained", seed, nll=1.0 + 0.01 * seed)
        write_run(folder, "pi", seed, nll=0.9 + 0.02 * seed, order=1, train_length=512)
        write_run(folder, "clex_blocks", seed, nll=0.8, order=2, not_evaluated={"512": "max_factor is 2"})
        write_run(folder, "ntk", seed, rows=False, order=3, state="skipped", reason="equals pretrained", seconds={})
    return folder


@pytest.fixture
def experiment(folder):
    """What is read of that folder."""
    return records.read_experiment(folder)


@pytest.fixture
def no_account(monkeypatch, tmp_path):
    """No key of W&B, and nothing that says where it is: the fixture is `monkeypatch`."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return monkeypatch


@pytest.fixture
def little_room(monkeypatch):
    """Room for few tokens in caches, so that short texts fill it often."""
    monkeypatch.setattr(growable_layer, "ROOM", ROOM)


@pytest.fixture
def shaped(extended):
    """A function: a pattern and options of the model -> a tiny model that has it."""

    def build(pattern, method="yarn", **architecture):
        model = extended(method, **architecture)
        model.base_model.attached.method.pattern = pattern
        return model

    return build


@pytest.fixture
def group():
    """A process group of one."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()
