"""A pass that would not use the method of its model is refused, and so are numbers of rows that fit no batch."""

import copy
from typing import Any

import pytest
import torch
from support.tiny_models import TINY
from transformers import LlamaConfig, LlamaForCausalLM

from lcx_lightning.models.attach import attach, detach
from lcx_lightning.models.families import FAMILIES

IDS = torch.randint(1, 60, (2, 40), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_pass_with_another_attention_is_refused_and_the_method_works_when_it_is_set_back(extended, tiny, family):
    model = extended("yarn", family)
    wanted = model(IDS).logits
    for name in ("eager", "sdpa"):
        model.set_attn_implementation(name)
        for call in (model, model.base_model, lambda ids: model.generate(ids, max_new_tokens=2)):
            with pytest.raises(ValueError, match=f"was set to '{name}' after its method was attached"):
                call(IDS)
    model.config._attn_implementation = "lcx"
    assert torch.equal(model(IDS).logits, wanted)
    model.config._attn_implementation = "eager"
    assert torch.equal(detach(model)(IDS).logits, tiny(family)(IDS).logits)


@torch.no_grad()
def test_a_model_that_shares_its_config_with_one_that_has_a_method_is_refused():
    config = LlamaConfig(**TINY)
    first, second = LlamaForCausalLM(config).eval(), LlamaForCausalLM(config).eval()
    attach(first, "yarn", factor=4)
    for call in (lambda: second(IDS), lambda: attach(second, "yarn", factor=4)):
        with pytest.raises(ValueError, match=r"has no method, but its config has the attention of methods"):
            call()
    third = LlamaForCausalLM(copy.deepcopy(config))
    with pytest.raises(ValueError, match="shared with or copied from"):
        third(IDS)
    detach(first)
    attach(second, "yarn", factor=4)
    with pytest.raises(ValueError, match="its config has the attention of methods"):
        first(IDS)


@pytest.mark.parametrize("rows", [[0], [0, 1, 2], []])
def test_numbers_of_rows_that_fit_no_batch_are_refused(extended, rows):
    model: Any = extended("pose").train()
    ids, more = IDS[:, :24], {"placement_seed": 3, "use_cache": False}
    segments = torch.zeros_like(ids)
    for given in (rows, torch.tensor(rows)):
        for kind in ({}, {"segments": segments}, {"segments_continuing": segments}):
            with pytest.raises(ValueError, match=f"each of the 2 rows of the pass, got {len(rows)} numbers"):
                model(ids, placement_rows=given, **kind, **more)
    assert torch.equal(
        model(ids, placement_rows=[4, 7], **more).logits, model(ids, placement_rows=torch.tensor([4, 7]), **more).logits
    )
