"""Saving a model while a method is attached: a plain checkpoint, and a word about what it lacks."""

import warnings
from typing import Any

import peft
import pytest
import torch
from support.cache_inputs import IDS
from support.pairs import pairs
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel, Trainer, TrainingArguments
from transformers.utils import hub

from lcx_lightning.methods.library import methods
from lcx_lightning.models.attach import attach, detach
from lcx_lightning.models.attached import method_of
from lcx_lightning.models.lora import add_adapters, merge_adapters

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


def learned(extended, **changes) -> Any:
    model: Any = extended("clex", **changes)
    with torch.no_grad():
        model.model.attached.method.scaling.down.weight.normal_()
    return model


def test_learned_weights_are_kept_in_a_file_of_their_own_as_the_warning_says(extended, tmp_path):
    model = learned(extended)
    with pytest.warns(UserWarning, match=r"The 256 weights of the method are in lcx_method\.pt beside the files"):
        model.save_pretrained(tmp_path, max_shard_size="20KB")
    again: Any = attach(loaded(tmp_path), "clex", factor=4)
    again.base_model.attached.load_state_dict(torch.load(tmp_path / "lcx_method.pt"))
    assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_the_trainer_of_transformers_resumes_with_the_weights_that_the_method_learned(tiny, tmp_path):
    class Seeded(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
            return model(**inputs, placement_seed=self.state.global_step, use_cache=False).loss

    rows: Any = [{"input_ids": IDS[0, :24], "labels": IDS[0, :24]}] * 4
    given: dict[str, Any] = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "save_steps": 1}
    states = []
    for folder, resume in (("whole", None), ("parts", None), ("parts", True)):
        torch.manual_seed(0)
        model: Any = attach(tiny().train(), "clex", factor=4)
        steps = 1 if (folder, resume) == ("parts", None) else 2
        args = TrainingArguments(
            str(tmp_path / folder),
            max_steps=steps,
            per_device_train_batch_size=1,
            lr_scheduler_type="constant",
            **given,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Seeded(model, args, train_dataset=rows).train(resume_from_checkpoint=resume)
        states.append(method_of(model).state_dict())
    assert states[0]["scaling.down.weight"].any()
    assert not torch.equal(states[0]["scaling.down.weight"], states[1]["scaling.down.weight"])
    for name, weight in states[0].items():
        assert torch.equal(weight, states[2][name])


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_says_that_it_saves_no_learned_weights(extended, tmp_path):
    model = peft.get_peft_model(learned(extended), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.warns(UserWarning, match="peft saves the adapters, but neither the method .* nor its learned weights"):
        model.save_pretrained(tmp_path)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapters_that_are_not_merged_are_refused_before_a_file_is_written(extended, tiny, tmp_path):
    unmerged: list[Any] = [
        add_adapters(extended("yarn"), rank=2, alpha=4, targets="attention", in_full=[], seed=0),
        peft.get_peft_model(extended("yarn"), peft.LoraConfig(r=2, target_modules=["q_proj"])).get_base_model(),
    ]
    for model in unmerged:
        for part in (model, model.base_model):
            with pytest.raises(ValueError, match=r"has adapters.*Merge them first"):
                part.save_pretrained(tmp_path / "x")
    assert not (tmp_path / "x").exists()
    merged = merge_adapters(add_adapters(extended("yarn"), rank=2, alpha=4, targets="attention", in_full=[], seed=0))
    with pytest.warns(UserWarning, match=LOST):
        merged.save_pretrained(tmp_path)
    assert torch.equal(loaded(tmp_path)(IDS).logits, tiny()(IDS).logits)


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
