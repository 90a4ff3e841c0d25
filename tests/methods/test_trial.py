"""Methods of the user's own that fail or compute nonsense: one sentence with file and class, before any pass."""

import textwrap

import pytest
import torch
from support.lab import TINY, folders, launch

import lcx_lightning as lcx
from lcx_lightning.methods.fingerprint import fingerprint
from lcx_lightning.methods.outputs import MethodError
from lcx_lightning.methods.trial import try_out

SCALINGS = {  # what inv_freq returns, of frequencies `f` and factors `s` -> what is said
    "f * float('nan')": r"own\.Own\.inv_freq must return finite numbers of at least 0, got nan at \[0, 0\]",
    "f / (s[:, None] - s[:, None])": r"own\.Own\.inv_freq must return finite numbers of at least 0, got inf",
    "-f": r"got -1 at \[0, 0\]",
    "f[:, :-1]": r"own\.Own\.inv_freq must return the shape \[1, 8\], got \[1, 7\]",
    "torch.cat([f, f], dim=1)": r"must return the shape \[1, 8\], got \[1, 16\]",
    "f[0]": r"must return the shape \[1, 8\], got \[8\]",
    "f.double()": r"must return torch\.float32, got torch\.float64",
    "f.long()": r"must return torch\.float32, got torch\.int64",
    "f.tolist()": r"own\.Own\.inv_freq must return a tensor, got list",
    "None": r"own\.Own\.inv_freq must return a tensor, got NoneType",
    "self.spec.inv_frq()": r"own\.Own fails: AttributeError: .*inv_frq.* \(.*own\.py, line 8\)",
    "f / torch.ones(3)": r"own\.Own fails: RuntimeError: .*own\.py, line 8\)",
    "1 / 0": r"own\.Own fails: ZeroDivisionError: division by zero",
}
POSITIONS = {  # what evaluation_factor returns, of lengths `n` -> what is said
    "2.0": r"own\.Own\.evaluation_factor must return a tensor, got float",
    "torch.ones(7)": r"own\.Own\.evaluation_factor must return the shape \[1\], got \[7\]",
    "torch.ones(1, 1)": r"must return the shape \[1\], got \[1, 1\]",
    "torch.full((1,), float('nan'))": r"own\.Own\.evaluation_factor must return finite numbers of at least 1, got nan",
    "torch.full((1,), 0.5)": r"must return finite numbers of at least 1, got 0\.5",
    "torch.ones(1, dtype=int)": r"must return floating numbers, got torch\.int64",
}
PLACES = {  # what place returns, of lengths `n` -> what is said
    "3": r"own\.Own\.place must return a Placement, got int",
    "Placement(torch.ones(1), torch.arange(3.0)[None])": r"rows of positions for 8 tokens, got \[1, 3\]",
    "Placement(torch.ones(1), torch.arange(8.0))": r"rows of positions for 8 tokens, got \[8\]",
    "Placement(torch.ones(1), torch.arange(8.0).repeat(2, 1))": r"must return the shape \[1, 8\], got \[2, 8\]",
    "Placement(torch.ones(1), -torch.arange(8.0)[None])": r"at least 0, got -1 at \[0, 1\]",
    "Placement(torch.ones(1), torch.zeros(1, 8))": r"The positions of .*own\.Own must increase",
}
SCALING = """
    import torch
    from lcx_lightning.scaling import FrequencyScaling

    class Own(FrequencyScaling):
        def inv_freq(self, s):
            f = self.spec.inv_freq().repeat(len(s), 1)
            return (
                {returned}
            )
"""
SCHEME = """
    import torch
    from lcx_lightning.methods.positions.base import Placement, PositionScheme

    class Own(PositionScheme):
        samples = {samples}
        def evaluation_factor(self, n, pretrain_length):
            return {factor}
        def place(self, n, pretrain_length, placement_seed):
            return {place}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A function: the code of a class Own, and its part -> a method file that names it, in a folder of its own."""

    def save(code, part):
        package = f"p{abs(hash((code, part)))}"  # imported once for each code
        folder = tmp_path / package
        folder.mkdir()
        (folder / "own.py").write_text(textwrap.dedent(code).lstrip())
        (folder / "mine.yaml").write_text(f"{part}: {{_target_: {package}.own.Own}}\n")
        return folder / "mine.yaml"

    monkeypatch.syspath_prepend(tmp_path)
    return save


def refused(tiny, file, said):
    """Check that a model refuses a method file, in one sentence that begins with it, and is as it was before."""
    model = tiny()
    before = set(dict(model.named_modules()))
    with pytest.raises(ValueError, match=said) as told:
        lcx.attach(model, file)
    assert str(told.value).startswith(f"{file}: ")
    assert "\n" not in str(told.value)
    assert set(dict(model.named_modules())) == before


@pytest.mark.parametrize(("returned", "said"), SCALINGS.items())
def test_frequencies_that_no_pass_can_use_are_refused(tiny, own, returned, said):
    refused(tiny, own(SCALING.format(returned=returned), "scaling"), said)


@pytest.mark.parametrize(("returned", "said"), POSITIONS.items())
def test_factors_that_no_pass_can_use_are_refused(tiny, own, returned, said):
    refused(tiny, own(SCHEME.format(samples=False, factor=returned, place="None"), "positions"), said)


@pytest.mark.parametrize(("returned", "said"), PLACES.items())
def test_positions_that_no_pass_can_use_are_refused(tiny, own, returned, said):
    refused(tiny, own(SCHEME.format(samples=True, factor="torch.ones(1)", place=returned), "positions"), said)


CONSTRUCTORS = {
    "def __init__(self, spec):\n        self.spec = spec": "__init__ must begin with super",
    "def __init__(self, spec):\n        super().__init__(spec)\n        len(3)": "has no len",
    "def __init__(self, spec, width):\n        super().__init__(spec)": "A value is needed: method.scaling.width",
}


@pytest.mark.parametrize(("constructor", "said"), CONSTRUCTORS.items())
def test_a_constructor_that_fails_is_told_with_the_file(tiny, own, constructor, said):
    code = textwrap.dedent(SCALING.format(returned="f"))
    code = code.replace("    def inv_freq", f"    {constructor}\n\n    def inv_freq", 1)
    refused(tiny, own(code, "scaling"), said)


@pytest.mark.parametrize("code", ["import nothing_there", "x = (", "raise RuntimeError('no device')", ""])
def test_a_module_that_cannot_be_imported_is_told_with_the_file(tiny, own, code):
    refused(tiny, own(code, "scaling"), r"_target_: p\d+\.own\.Own cannot be imported")


def test_a_method_that_is_sound_is_tried_without_a_change(build, any_method):
    method = build(any_method, lcx.scaling.RopeSpec(dim=16, base=10_000.0, pretrain_length=64)).train()
    before = [p.clone() for p in method.parameters()]
    state = torch.random.get_rng_state()
    try_out(method)
    assert method.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True))


def test_nan_at_an_evaluated_length_alone_is_refused(build, spec):
    method = build("dynamic_ntk", spec)
    plain = method.scaling.inv_freq
    method.scaling.inv_freq = lambda s: torch.where(s[:, None] > 3, torch.nan, plain(s))
    try_out(method)
    with pytest.raises(MethodError, match=r"NTKAware\.inv_freq must return finite numbers"):
        fingerprint(method, [32, 128], None)


@pytest.mark.slow
def test_the_command_refuses_nan_with_the_file_of_the_method(tmp_path):
    folder = tmp_path / "mine"
    (folder / "method").mkdir(parents=True)
    (folder / "own.py").write_text(textwrap.dedent(SCALING.format(returned="f * float('nan')")))
    (folder / "method" / "slower.yaml").write_text("scaling: {_target_: mine.own.Own}\n")
    line = ["--config-dir", folder, "method=slower", "dry_run=fingerprint", *TINY, *folders(tmp_path)]
    done = launch(*line, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"error: {folder / 'method' / 'slower.yaml'}: mine.own.Own.inv_freq must return finite")
    assert "Traceback" not in done.stdout + done.stderr
