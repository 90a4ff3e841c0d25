"""LongRoPE checkpoints with a short and a long list: their logits, with the temperature that their file states."""

import json

import pytest
import torch
from support.lab import EVALUATION, arms_of, folders, save_checkpoint, save_documents
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from lcx_lightning.models.attach import attach
from lcx_lightning.models.attached import method_of
from lcx_lightning.models.sources import HubModel

L, FACTOR, PAIRS = 16, 4, 4
LISTS = {"short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.2, 2.0, 3.1, 4.0]}
LENGTHS = {"original_max_position_embeddings": L, "max_position_embeddings": FACTOR * L}
IDS = torch.arange(3 * L)[None] * 7 % 60


def saved(folder, family="phi3", **rope):
    """Save a tiny model with two lists, and return its folder."""
    torch.manual_seed(0)
    rope = {"rope_type": "longrope", "rope_theta": 10_000.0} | LISTS | rope
    own = LENGTHS | {"rope_parameters": rope, "initializer_range": 0.4, "pad_token_id": 0}
    if family != "phi3":  # Phi-3 states its original length outside
        rope["original_max_position_embeddings"] = own.pop("original_max_position_embeddings")
    return save_checkpoint(folder, family, **own)


def scale_of(model):
    """Return the scale of the rotated features under the method of a model."""
    return method_of(model).temperature.feature_scale(torch.ones(1)).item()


def extended(folder, factor=FACTOR, **values):
    source = HubModel(name=str(folder), revision="main", dtype="float32", own_scaling=False)
    return attach(source.load(None).eval(), "longrope", factor=factor, file=f"{folder}/config.json", **values)


@pytest.mark.parametrize(
    ("rope", "scale"),
    [({}, 1.224745), ({"attention_factor": 1.354}, 1.354), ({"attention_factor": 1.0}, 1.0)],
    ids=["formula", "stated", "none"],  # sqrt(1 + ln 4 / ln 16)
)
@pytest.mark.parametrize("family", ["phi3", "llama"])
@torch.no_grad()
def test_a_checkpoint_with_two_lists_gives_its_own_logits(tmp_path, family, rope, scale):
    folder = saved(tmp_path, family, **rope)
    stock, ours = AutoModelForCausalLM.from_pretrained(folder).eval(), extended(folder)
    assert vars(stock.base_model.rotary_emb)["attention_scaling"] == pytest.approx(scale, rel=1e-5)
    for tokens in (L - 3, L, L + 1, 3 * L):
        torch.testing.assert_close(ours(IDS[:, :tokens]).logits, stock(IDS[:, :tokens]).logits, atol=1e-4, rtol=1e-4)


def test_a_factor_beside_the_lists_counts_before_the_lengths(tmp_path):
    folder = saved(tmp_path, "llama", factor=3.0)
    _, scale = ROPE_INIT_FUNCTIONS["longrope"](AutoConfig.from_pretrained(folder), torch.device("cpu"))
    assert scale_of(extended(folder, 3)) == pytest.approx(scale)
    with pytest.raises(ValueError, match=r"for a factor of 3, .*got factor=4\. Set factor=3\."):
        extended(folder, 4)


@pytest.mark.parametrize("factor", [1, 2, 8])
def test_another_factor_than_that_of_the_file_is_refused(tmp_path, factor):
    with pytest.raises(ValueError, match=rf"for a factor of 4, .*got factor={factor}\. Set factor=4\."):
        extended(saved(tmp_path), factor)


def test_lists_of_another_pretraining_length_are_refused(tmp_path):
    folder = saved(tmp_path / "longrope")
    other = save_checkpoint(tmp_path / "other")
    model = HubModel(name=str(other), revision="main", dtype="float32", own_scaling=True).load(None)
    with pytest.raises(ValueError, match=r"pretraining length of 16 tokens, and this model has L = 64\. Set"):
        attach(model, "longrope", factor=FACTOR, file=f"{folder}/config.json")


def test_another_scaling_keeps_the_formula(tmp_path):
    """The temperature looks for the file beside it, and the scaling that replaces LongRoPE has none."""
    model = HubModel(name=str(saved(tmp_path)), revision="main", dtype="float32", own_scaling=False).load(None)
    attach(model, "longrope", factor=2, scaling={"_target_": "lcx_lightning.scaling.PositionInterpolation"})
    assert scale_of(model) == pytest.approx(1.25**0.5)  # 1 + ln 2 / ln 16


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"short_mscale": 1.1, "long_mscale": 1.2},
            "a temperature for each of its lists, short_mscale and long",
        ),
        ({"attention_factor": -1.0}, "attention_factor in .* must be a number of at least"),
        ({"attention_factor": float("nan")}, "attention_factor in .* must be a number of at least"),
        ({"attention_factor": {"_target_": "os.system"}}, "attention_factor in .* must be a number of at least"),
        ({"factor": True}, "factor in .* must be a number of at least 1 or null, got true"),
        ({"factor": 0.5}, "factor in .* must be a number of at least 1 or null, got 0.5"),
        ({"original_max_position_embeddings": 0}, "original_max_position_embeddings in .* at least 2 or null, got 0"),
        ({"long_factor": [1.0, True, 1.0, 1.0]}, "long_factor in .* must be a list of numbers, got"),
    ],
)
def test_what_a_file_says_must_make_sense(tmp_path, change, said):
    (tmp_path / "lists.json").write_text(json.dumps(LENGTHS | {"rope_scaling": LISTS | LENGTHS | change} | change))
    model = HubModel(name=str(saved(tmp_path / "model")), revision="main", dtype="float32", own_scaling=False).load(
        None
    )
    with pytest.raises(ValueError, match=said):
        attach(model, "longrope", factor=FACTOR, file=str(tmp_path / "lists.json"))


def test_the_command_line_gives_the_file_to_both_parts(tmp_path):
    folder = saved(tmp_path / "model")
    line = ["model=hub", f"model.source.name={folder}", "model.source.own_scaling=false", "method=longrope"]
    line += [f"method.scaling.file={folder}/config.json", *save_documents(tmp_path / "documents")]
    (arm,) = arms_of(*line, f"factor={FACTOR}", *EVALUATION, "evaluation.growing_context.last=4", *folders(tmp_path))
    assert arm.config["method"]["temperature"]["lists"] == f"{folder}/config.json"
    with pytest.raises(ValueError, match="Set factor=4"):
        arms_of(*line, *EVALUATION, "evaluation.growing_context.last=4", *folders(tmp_path))


def test_the_lists_of_a_file_are_not_applied_to_scaled_frequencies(tmp_path):
    """A checkpoint with one list starts from it, and was divided by it a second time."""
    folder = saved(tmp_path, long_factor=LISTS["short_factor"])
    source = HubModel(name=str(folder), revision="main", dtype="float32", own_scaling=True)
    with pytest.raises(ValueError, match=r"already starts from scaled frequencies.*own_scaling=false"):
        attach(source.load(None), "longrope", factor=1, file=f"{folder}/config.json")
