"""Saving a model while a method is attached: a plain checkpoint, and a word about what it lacks."""

import warnings
from typing import Any

import pytest
import torch
from support.cache_inputs import IDS
from support.pairs import pairs
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import hub

from lcx_lightning.methods.library import methods
from lcx_lightning.models.attach import attach, detach
from lcx_lightning.models.attached import method_of

LOST = "The method attached to this model is not saved.*attach the method again with the same values"


def loaded(folder, kind: Any = AutoModelForCausalLM) -> Any:
    """Return the model in a folder, whose weights are exactly those that it needs."""
    model, info = kind.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
    assert {name: list(found) for name, found in info.items() if found} == {}
    return model.eval()


@pytest.mark.parametrize(
    ("family", "name"), pairs(["llama", "stablelm", "gpt_neox"], [m for m in methods() if m != "pretrained"], meets=1)
)
@torch.no_grad()
def test_a_model_saved_under_a_method_is_the_stock_model_and_says_so_once(tiny, extended, tmp_path, family, name):
    model = extended(name, family)
    with pytest.warns(UserWarning, match=LOST) as said:
        model.save_pretrained(tmp_path)
    assert len(said) == 1
    assert said[0].filename == __file__
    assert ("weights of the method" in str(said[0].message)) == any(True for _ in method_of(model).parameters())
    assert torch.equal(loaded(tmp_path)(IDS).logits, tiny(family)(IDS).logits)


def test_learned_weights_are_named_and_kept_as_the_warning_says(extended, tmp_path):
    model = extended("clex")
    with torch.no_grad():
        model.model.attached.method.scaling.down.weight.normal_()
    with pytest.warns(UserWarning, match=r"The 256 weights of the method are not saved either"):
        model.save_pretrained(tmp_path, max_shard_size="20KB")
    torch.save(model.base_model.attached.state_dict(), tmp_path / "method.pt")
    again: Any = attach(loaded(tmp_path), "clex", factor=4)
    again.base_model.attached.load_state_dict(torch.load(tmp_path / "method.pt"))
    assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_a_state_that_is_given_is_saved_without_the_method(extended, tiny, tmp_path):
    model = extended("clex")
    with pytest.warns(UserWarning, match=LOST):
        model.save_pretrained(tmp_path, state_dict={name: 2 * x for name, x in model.state_dict().items()})
    assert torch.equal(loaded(tmp_path).lm_head.weight, 2 * tiny().lm_head.weight)


def test_the_base_model_is_saved_alike(extended, tmp_path):
    model = extended("clex")
    with pytest.warns(UserWarning, match=LOST):
        model.model.save_pretrained(tmp_path)
    assert torch.equal(loaded(tmp_path, AutoModel).embed_tokens.weight, model.model.embed_tokens.weight)


def test_a_model_on_its_way_to_the_hub_says_so_too(extended, monkeypatch):
    class Hub:
        def create_repo(self, repo_id, **given):
            return type("Repository", (), {"repo_id": repo_id})

    card = type("Card", (), {"save": lambda *_: None})
    monkeypatch.setattr(hub, "hf_api", Hub)
    monkeypatch.setattr(hub, "create_and_tag_model_card", lambda *_, **given: card())
    monkeypatch.setattr(PreTrainedModel, "_upload_modified_files", lambda self, folder, *_, **given: "sent")
    with pytest.warns(UserWarning, match=LOST):
        assert extended("yarn").push_to_hub("someone/longer") == "sent"


@pytest.mark.parametrize("before", [lambda m: detach(attach(m, "yarn", factor=4)), lambda m: attach(m, "pretrained")])
def test_a_model_that_loses_nothing_is_saved_without_a_word(tiny, tmp_path, before):
    model = before(tiny())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save_pretrained(tmp_path)
        model.base_model.save_pretrained(tmp_path / "base")
    assert torch.equal(loaded(tmp_path)(IDS).logits, tiny()(IDS).logits)
