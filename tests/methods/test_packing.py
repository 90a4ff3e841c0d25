"""Rows of several documents, none of which sees another, against each document alone."""

import pytest
import torch
from support.text_corpora import BOS, CORPUS_ONLY, Books
from transformers import DynamicCache

from lcx_lightning.data.dataset import LongContextData
from lcx_lightning.data.tokenizers import ByteTokens
from lcx_lightning.methods.packing import document_spans
from lcx_lightning.training.loss import next_token_loss

SIZES = [[20, 37, 7], [64], [20, 1, 43]]  # tokens of the documents of three rows; L = 32
SEGMENTS = torch.tensor([[d for d, size in enumerate(row) for _ in range(size)] for row in SIZES])
IDS = torch.randint(1, 64, (3, 64), generator=torch.Generator().manual_seed(0))


def spans():
    return [(row, sum(sizes[:d]), sum(sizes[: d + 1])) for row, sizes in enumerate(SIZES) for d in range(len(sizes))]


def hidden(model, ids, **given):
    return model.base_model(input_ids=ids, use_cache=False, **given).last_hidden_state


def alone(model, **given):
    """Return the hidden states of each document, read alone, in its place."""
    out = torch.empty(*IDS.shape, model.config.hidden_size)
    for row, start, stop in spans():
        out[row, start:stop] = hidden(model, IDS[row : row + 1, start:stop], **given)[0]
    return out


def test_a_document_ends_where_the_segment_changes():
    found = {(row, span.start, span.stop) for span in document_spans(SEGMENTS) for row in span.rows}
    assert found == set(spans())
    assert max(len(span.rows) for span in document_spans(SEGMENTS)) == 2


@torch.no_grad()
def test_documents_of_a_row_are_read_as_each_alone(any_method, extended):
    model = extended(any_method)
    packed, expected = hidden(model, IDS, segments=SEGMENTS), alone(model)
    assert torch.allclose(packed, expected, atol=1e-5)
    assert not torch.allclose(hidden(model, IDS), expected, atol=1e-2)


@pytest.mark.parametrize("family", ["cohere", "stablelm", "gpt_neox", "mistral", "smollm3"])
@torch.no_grad()
def test_documents_of_a_row_are_read_as_each_alone_in_families_that_differ(family, extended):
    model = extended("yarn_lm_infinite", family, **({"sliding_window": 12} if family == "mistral" else {}))
    assert torch.allclose(hidden(model, IDS, segments=SEGMENTS), alone(model), atol=1e-5)


@pytest.mark.parametrize("name", ["clex", "pi", "lm_infinite"])
def test_gradients_of_documents_in_a_row_are_those_of_each_alone(name, extended):
    gradients = []
    for packed in (True, False):
        model = extended(name).train()
        states = hidden(model, IDS, segments=SEGMENTS, placement_seed=5) if packed else alone(model, placement_seed=5)
        states.sin().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for n, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][n], atol=1e-4, rtol=1e-4), n


@pytest.mark.parametrize(
    ("name", "implementation"), [("pi", "dense"), ("pi", "flash_bands"), ("lm_infinite", "blocks")]
)
@torch.no_grad()
def test_every_implementation_keeps_documents_apart(name, implementation, extended):
    model = extended(name)
    expected = alone(model)
    model.base_model.attached.backend = implementation
    assert torch.allclose(hidden(model, IDS, segments=SEGMENTS), expected, atol=1e-5)


@torch.no_grad()
def test_positions_that_run_through_the_row_change_no_method_whose_distances_are_true(extended):
    for name in ("pretrained", "pi", "yarn", "lm_infinite"):
        model = extended(name)
        running = hidden(model, IDS, segments_continuing=SEGMENTS)
        assert torch.allclose(running, alone(model), atol=1e-4)


def test_positions_that_run_through_the_row_are_those_of_the_row_and_so_is_the_factor(build, spec):
    for name, placement_seed in (("dynamic_ntk", None), ("clex", 3)):
        method = build(name, spec).train(placement_seed is not None)
        whole = method.rope(torch.ones(1, 64, dtype=torch.bool), 64, placement_seed)
        packed = method.packed(SEGMENTS, restart=False, placement_seed=placement_seed)
        for span, rope in zip(packed.spans, packed.ropes, strict=True):
            assert torch.equal(rope.key_pos, whole.key_pos[:, span.start : span.stop])
            assert torch.equal(rope.inv_freq, whole.inv_freq)
            assert rope.key_index[0, 0] == 0
        restarted = method.packed(SEGMENTS, restart=True, placement_seed=placement_seed)
        assert all(rope.key_pos[0, 0] == 0 for rope in restarted.ropes)


def test_a_learned_scaling_is_asked_once_however_many_documents_there_are(build, spec):
    method, asked = build("clex", spec), []
    method.scaling.register_forward_hook(lambda *_: asked.append(1))
    method.packed(SEGMENTS, restart=True, placement_seed=0)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "given", [{"past_key_values": DynamicCache()}, {"attention_mask": torch.arange(64).expand(3, -1) < 60}]
)
def test_a_cache_or_padding_beside_segments_is_refused(given, extended):
    with pytest.raises(ValueError, match="without cache and padding"):
        extended("pi").base_model(input_ids=IDS, segments=SEGMENTS, **given)


def data_of(documents):
    texts = [chr(ord("a") + i) * (5 * i + 3) for i in range(8)]
    return LongContextData(Books(train=texts, validation=texts), ByteTokens(), CORPUS_ONLY, documents=documents)


@pytest.mark.parametrize(("documents", "name"), [("masked", "segments"), ("masked_continuing", "segments_continuing")])
def test_masked_rows_are_packed_rows_and_a_segment_is_bos_and_one_document(documents, name):
    packed, masked = (data_of(kind).batch(0, seed=0, rows=6, length=64) for kind in ("packed", documents))
    assert torch.equal(packed["input_ids"], masked["input_ids"])
    assert masked.keys() == {"input_ids", name}
    starts = masked["input_ids"] == BOS
    assert torch.equal(masked[name], starts.cumsum(dim=1) - 1)
    assert data_of(documents).validation_batch(2, 64, 0).keys() == {"input_ids", name}


def test_a_synthetic_row_is_one_document():
    data = LongContextData(Books(train=["ab\n" * 9] * 4), ByteTokens(), {"retrieval": 1.0}, documents="masked")
    assert not data.batch(0, seed=0, rows=4, length=96)["segments"].any()


def test_whole_rows_are_of_one_document_that_is_long_enough():
    ids = data_of("whole").batch(0, seed=0, rows=20, length=30)["input_ids"]
    assert all(len(set(row[1:].tolist())) == 1 for row in ids)
    assert set(ids[:, 1].tolist()) <= set(map(ord, "gh"))
    with pytest.raises(ValueError, match=r"none of the 8 documents of books in train is so long, the longest has 38"):
        data_of("whole").check_rows(64)


def test_an_unknown_way_of_laying_documents_is_refused():
    with pytest.raises(ValueError, match="packed, masked, masked_continuing or whole, got 'glued'"):
        data_of("glued")


def test_the_loss_of_masked_rows_is_that_of_each_document_beside_the_tokens_between(extended):
    model = extended("yarn")
    loss = next_token_loss(model, IDS, segments=SEGMENTS)
    logits = torch.cat([model.lm_head(row) for row in alone(model)[:, :-1]])
    expected = torch.nn.functional.cross_entropy(logits, IDS[:, 1:].flatten())
    assert torch.allclose(loss, expected, atol=1e-5)
