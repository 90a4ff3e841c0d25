"""Nothing but the row itself matters to its logits: no earlier text, padding, size of the batch or other row."""

import pytest
import torch
from support.cache_inputs import IDS, TOKENS, close
from support.chunked_reading import pad
from support.pairs import pairs

from lcx_lightning.methods.library import methods
from lcx_lightning.models.families import FAMILIES


@torch.no_grad()
def test_the_result_does_not_depend_on_what_was_read_before(extended, any_method):
    model = extended(any_method)
    before = model(IDS[:, :40]).logits
    model(IDS)
    assert torch.equal(model(IDS[:, :40]).logits, before)


@pytest.mark.parametrize(
    ("padding", "name"), pairs({"left": (5, 0), "right": (0, 5), "both": (3, 4)}, methods(), meets=1)
)
@torch.no_grad()
def test_padding_changes_nothing(extended, name, padding):
    model, (left, right) = extended(name), padding
    ids, mask = pad(IDS, left, right)
    close(model(ids, attention_mask=mask).logits[:, left : left + TOKENS], model(IDS).logits)


@torch.no_grad()
def test_the_size_of_a_batch_changes_nothing(extended, any_method):
    model = extended(any_method)
    rows = torch.cat([IDS, IDS.flip(0), IDS[:1]])
    together = model(rows).logits
    for row, logits in zip(rows, together, strict=True):
        close(logits, model(row[None]).logits[0])


@torch.no_grad()
def test_a_row_does_not_depend_on_the_other_rows(extended, any_method):
    model = extended(any_method)
    for left in (0, 60):
        ids, mask = pad(IDS[:1, :40], left, 60 - left)
        ids, mask = torch.cat([ids, IDS[1:]]), torch.cat([mask, torch.ones_like(mask)])
        logits = model(ids, attention_mask=mask).logits
        close(logits[0, left : left + 40], model(IDS[:1, :40]).logits[0])
        close(logits[1], model(IDS[1:]).logits[0])


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_hybrid_of_everything_works_in_every_family(extended, family):
    model = extended(["clex", "lm_infinite"], family)
    ids, mask = pad(IDS, 4, 0)
    logits = model(IDS).logits
    assert logits.isfinite().all()
    close(model(ids, attention_mask=mask).logits[:, 4:], logits)
