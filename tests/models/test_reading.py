"""A text that is read into a cache, in chunks or token by token, has the logits of reading it at once."""

import pytest
import torch
from support.cache_inputs import IDS, TOKENS, close
from support.chunked_reading import CHUNKS_MATTER, in_chunks, is_static, pad, token_by_token
from support.pairs import a_few, pairs

from lcx_lightning.methods.library import methods
from lcx_lightning.models.families import FAMILIES

EVERY = range(1, TOKENS + 1)
CHUNKS = [7, 40, 41, 90, TOKENS]
STEPS = {  # tokens of padding on the left, and where each step ends
    "tokens": (0, EVERY),
    "chunks": (0, CHUNKS),
    "padded chunks": (6, CHUNKS),
}


@pytest.mark.parametrize(("steps", "name"), a_few(pairs(STEPS, methods(), meets=1), 8))
@torch.no_grad()
def test_reading_in_steps_is_reading_at_once_where_no_length_changes_the_frequencies(extended, steps, name):
    model, (left, ends) = extended(name), steps
    ids, mask = pad(IDS, left, 0)
    if name not in CHUNKS_MATTER and is_static(model, TOKENS):
        close(in_chunks(model, ids, [n + left for n in ends], mask)[:, left:], model(IDS).logits)


READ = {"tokens": EVERY, "chunks": [7, 40, 60, TOKENS]}


@pytest.mark.parametrize(("ends", "name"), a_few(pairs(READ, methods(), meets=1), 8))
@torch.no_grad()
def test_in_one_layer_the_last_step_is_the_same_however_the_text_was_read(extended, ends, name):
    model = extended(name, num_hidden_layers=1)
    last = slice(ends[-2], None)
    close(in_chunks(model, IDS, ends)[:, last], model(IDS).logits[:, last])


@torch.no_grad()
def test_rows_of_different_lengths_decode_in_one_layer_as_each_alone(extended, some_method):
    model = extended(some_method, num_hidden_layers=1)
    ids = torch.cat([IDS[:1], torch.nn.functional.pad(IDS[1:, :50], (50, 0))])
    mask = torch.cat([torch.ones(1, TOKENS), torch.arange(TOKENS)[None] >= 50]).long()
    logits = in_chunks(model, ids, [70, *range(71, TOKENS + 1)], mask)[:, -1]
    close(logits[0], model(IDS[:1]).logits[0, -1])
    close(logits[1], model(IDS[1:, :50]).logits[0, -1])


@pytest.mark.parametrize("family", a_few(FAMILIES, 4))
@torch.no_grad()
def test_a_cache_serves_every_family(extended, family):
    model = extended("lm_infinite", family)
    close(token_by_token(model, IDS), model(IDS).logits)


@pytest.mark.parametrize(
    ("starts", "name"),
    pairs(
        {"right": (0, 0), "left and right": (0, 40), "both": (6, 3)},
        ["lm_infinite", "limit_only", "self_extend", "leaky_rerope", "streaming_llm"],
        meets=1,
    ),
)
@torch.no_grad()
def test_reading_texts_of_different_lengths_in_chunks_is_reading_each_at_once(extended, name, starts):
    model, lengths = extended(name), (100, 66)
    ids, mask = torch.zeros(2, 106, dtype=torch.int64), torch.zeros(2, 106, dtype=torch.int64)
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        ids[row, start : start + length], mask[row, start : start + length] = IDS[row, :length], 1
    logits = in_chunks(model, ids, [37, 38, 39, 89, 106], mask)
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        close(logits[row, start : start + length], model(IDS[row : row + 1, :length]).logits[0])


@pytest.mark.parametrize("name", ["lm_infinite", "self_extend", "streaming_llm", "lm_infinite_top_k"])
@torch.no_grad()
def test_a_prompt_padded_on_its_right_goes_on_as_one_without_padding(extended, name):
    model = extended(name)
    ids, mask = pad(IDS[:, :70], 0, 5)
    ids, mask = (torch.cat([x, more], dim=1) for x, more in ((ids, IDS[:, 70:]), (mask, torch.ones(2, 30, dtype=int))))
    padded = in_chunks(model, ids, range(75, 106), mask)
    plain = in_chunks(model, IDS, range(70, 101))
    close(torch.cat([padded[:, :70], padded[:, 75:]], dim=1), plain)


@torch.no_grad()
def test_the_last_query_of_a_prompt_and_every_one_after_it_choose_middle_tokens(extended):
    chosen, plain = (
        in_chunks(extended(name, num_hidden_layers=1), IDS, range(90, 101))
        for name in ("lm_infinite_top_k", "lm_infinite")
    )
    differs = (chosen - plain).abs().amax(dim=(0, 2)) > 1e-4
    assert differs.tolist() == [n >= 89 for n in range(TOKENS)]


@pytest.mark.parametrize(("left", "name"), pairs([0, 7], ["pretrained", "lm_infinite", "yarn"], meets=1))
@torch.no_grad()
def test_generate_is_greedy_reading_without_a_cache(extended, name, left):
    model, prompt = extended(name), IDS[:, :40]
    whole = prompt
    for _ in range(20):
        whole = torch.cat([whole, model(whole, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    ids, mask = pad(prompt, left, 0)
    generated = model.generate(ids, attention_mask=mask, max_new_tokens=20, do_sample=False)
    assert torch.equal(generated[:, left:], whole)


@pytest.mark.parametrize("name", ["pretrained", "lm_infinite"])
@torch.no_grad()
def test_a_cache_of_fixed_size_is_refused(extended, name):
    with pytest.raises(ValueError, match="returns 49 keys for 40 tokens"):
        extended(name).generate(IDS[:, :40], max_new_tokens=10, do_sample=False, cache_implementation="static")


def test_a_mask_of_pairs_is_refused(extended):
    with pytest.raises(ValueError, match=r"has the shape \[2, 1, 40, 40\]"):
        extended("pi")(IDS[:, :40], attention_mask=torch.ones(2, 1, 40, 40).tril())


@pytest.mark.parametrize("shape", [(1, 0), (0, 4)])
def test_a_text_of_no_tokens_is_refused(extended, shape):
    model, nothing = extended("yarn"), torch.zeros(shape, dtype=torch.long)
    with pytest.raises(ValueError, match=r"at least one row of at least one token, got \[rows, tokens\] = "):
        model(nothing)
