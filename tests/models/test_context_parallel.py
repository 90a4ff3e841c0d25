"""Two processes that share every text find what one process finds."""

import subprocess
import sys

import pytest
import torch
from support import context_parallel_ranks
from support.context_parallel_ranks import FAMILIES, IDS, METHODS, ROWS_DIFFER, SINKS, WINDOW, everything, model_of
from support.lab import ROOT, environment
from torch.distributed.device_mesh import init_device_mesh

from lcx_lightning.distributed import key_exchange
from lcx_lightning.distributed.process_group import row_groups
from lcx_lightning.models.attach import detach
from lcx_lightning.models.context_parallel import check_split, split_texts
from lcx_lightning.training.loss import next_token_loss

TOKEN = 2 * 2 * 2 * 16 * 4  # bytes of keys and values of a slot in a layer: rows, groups, both, features, float32


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes finds."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, context_parallel_ranks.__file__, str(folder)]
    started = [
        subprocess.Popen([*command, rank], env=environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}")) for rank in "01"
    ]
    try:
        assert [process.wait(timeout=120) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def one():
    """What one process finds."""
    return everything(None)


def assert_same_step(ours, wanted):
    torch.testing.assert_close(ours["loss"], wanted["loss"], atol=1e-6, rtol=1e-6)
    assert ours["gradients"].keys() == wanted["gradients"].keys()
    for name, gradient in wanted["gradients"].items():
        torch.testing.assert_close(ours["gradients"][name], gradient, atol=1e-5, rtol=0, msg=name)


def assert_same_losses(ours, wanted):
    torch.testing.assert_close(ours["loss"], wanted["loss"], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours["nll"], wanted["nll"], atol=2e-5, rtol=0)
    torch.testing.assert_close(ours["nll of the last 5"], wanted["nll"][:, -5:], atol=2e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_train_as_one(ranks, one, name):
    for found in ranks:
        assert_same_step(found["trained"][name], one["trained"][name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clex", "clex_lm_infinite"])
def test_the_gradients_of_a_learned_scaling_are_there_to_be_compared(one, name):
    own = [gradient for key, gradient in one["trained"][name]["gradients"].items() if ".method." in key]
    assert len(own) == 2
    assert all(gradient.abs().max() > 1e-3 for gradient in own)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_evaluate_as_one(ranks, one, name):
    for found in ranks:
        assert_same_losses(found["evaluated"][name], one["evaluated"][name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS_DIFFER)
def test_two_ranks_read_padded_rows_as_one(ranks, one, name):
    for found in ranks:
        torch.testing.assert_close(found["padded"][name], one["padded"][name], atol=2e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_two_ranks_evaluate_as_one_in_families_that_differ(ranks, one, family):
    assert_same_losses(ranks[1]["families"][family], one["families"][family])


@pytest.mark.slow
def test_a_temperature_that_goes_by_the_pass_goes_by_the_whole_text(ranks, one):
    assert_same_losses(ranks[0]["per pass"], one["per pass"])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sharded", "recomputed", "in chunks"])
def test_two_ranks_train_as_one_sharded_with_activation_checkpointing_and_a_loss_in_chunks(ranks, one, how):
    for found in ranks:
        assert_same_step(found[how], one["trained"]["clex_lm_infinite"])


@pytest.mark.slow
def test_a_window_sends_its_sinks_and_itself_however_long_the_text(ranks):
    """Forward the first rank sends, for each of two layers; backward the second one."""
    once = (SINKS + WINDOW - 1) * TOKEN
    for text in ("window", "window, shorter"):
        assert [found["sent"][text] for found in ranks] == [[once, once, 0, 0], [0, 0, once, once]]


@pytest.mark.slow
def test_dense_attention_sends_the_keys_of_earlier_ranks_to_later_ones_only(ranks):
    once = 50 * TOKEN  # of 101 tokens
    assert [found["sent"]["causal"] for found in ranks] == [[once, once, 0, 0], [0, 0, once, once]]


@pytest.mark.slow
def test_what_cannot_be_split_is_refused_by_name(ranks):
    for found in ranks:
        assert "LambdaTopK cannot be split over ranks" in found["refusals"]["selection"]
        assert "over 2 ranks from 4 tokens on, and this one has 3" in found["refusals"]["short"]
        assert "split over ranks cannot generate" in found["refusals"]["generate"]
        assert "without a cache: pass past_key_values=None" in found["refusals"]["cache"]


def test_a_mesh_of_one_rank_splits_nothing(group, monkeypatch):
    monkeypatch.setattr(key_exchange.distributed, "all_to_all_single", None)
    model = model_of("lm_infinite").eval()
    plain = next_token_loss(model, IDS)
    split_texts(model, init_device_mesh("cpu", (1,)))
    assert torch.equal(next_token_loss(model, IDS), plain)
    assert model.generate(IDS, max_new_tokens=1).shape == (2, 102)


def test_a_model_without_a_method_and_a_mesh_of_two_dimensions_are_refused(group):
    model = model_of("pi")
    with pytest.raises(ValueError, match="mesh of one dimension, and this one has 2"):
        split_texts(model, init_device_mesh("cpu", (1, 1)))
    with pytest.raises(ValueError, match="attach one first"):
        split_texts(detach(model), init_device_mesh("cpu", (1,)))


def test_processes_that_cannot_share_rows_so_are_refused():
    assert row_groups(8, 2) == 4
    for context in (0, 3, 16):
        with pytest.raises(ValueError, match=f"8 processes cannot share rows by {context}"):
            row_groups(8, context)


def test_texts_are_refused_before_training_where_the_pattern_or_their_length_forbids(build, spec):
    choosing, plain = build("lm_infinite_top_k", spec).pattern, build("lm_infinite", spec).pattern
    check_split(choosing, 100, 1)
    check_split(plain, 100, 50)
    with pytest.raises(ValueError, match="LambdaTopK cannot be split over ranks"):
        check_split(choosing, 100, 2)
    with pytest.raises(ValueError, match="over 51 ranks from 102 tokens on"):
        check_split(plain, 100, 51)
