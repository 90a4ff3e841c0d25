"""What every temperature promises, and log-n by hand."""

import math

import pytest
import torch

from lcx_lightning.methods.temperature.log_n import LogN
from lcx_lightning.methods.temperature.longrope import LongRoPETemperature

VISIBLE = torch.tensor([[1, 16, 32, 64], [1024, 32, 4, 2]])


def test_at_factor_one_features_keep_their_scale_or_the_temperature_says_why_not(any_temperature):
    if any_temperature.pretrained_at_one:
        assert any_temperature.feature_scale(torch.ones(2)).tolist() == [1, 1]
    else:
        assert "At factor 1" in " ".join(type(any_temperature).__doc__.split())


def test_no_temperature_flattens_attention(any_temperature):
    factors = torch.tensor([1.0, 1.5, 4.0, 100.0])
    assert (any_temperature.feature_scale(factors) >= 1).all()
    scale = any_temperature.logit_scale(VISIBLE, 32)
    assert scale is None or (scale >= 1).all()


def test_longropes_temperature_is_that_of_its_target_at_every_length():
    temperature = LongRoPETemperature(factor=16, pretrain_length=4096, lists=None)
    expected = math.sqrt(1 + 4 / 12)  # ln 16 / ln 4096
    assert temperature.feature_scale(torch.tensor([1.0, 3.0, 16.0])).tolist() == pytest.approx([expected] * 3)


@pytest.mark.parametrize(
    ("clamp", "per_pass", "scales"),
    [  # 2^5 is L: ln(2^k) / ln(2^5) = k / 5
        (True, False, [[1, 1, 1, 1.2], [2, 1, 1, 1]]),
        (False, False, [[0, 0.8, 1, 1.2], [2, 1, 0.4, 0.2]]),
        (False, True, [[1.2] * 4, [2] * 4]),
        (True, True, [[1.2] * 4, [2] * 4]),
    ],
)
def test_log_n_is_the_log_of_the_keys_over_the_log_of_the_pretraining_length(clamp, per_pass, scales):
    scale = LogN(clamp=clamp, per_pass=per_pass).logit_scale(VISIBLE, 32)
    torch.testing.assert_close(scale, torch.tensor(scales).float())


def test_as_in_the_code_of_clex_a_short_pass_is_flattened():
    scale = LogN(clamp=False, per_pass=True).logit_scale(torch.tensor([[1, 2, 3, 4]]), 32)
    torch.testing.assert_close(scale, torch.full((1, 4), 0.4))


def test_log_n_counts_the_keys_that_a_query_sees_and_no_padding(build, spec):
    method = build(["log_n", "lm_infinite"], spec).eval()
    method.pattern.window, method.pattern.sink_tokens = 40, 5
    valid = torch.arange(100) >= torch.tensor([[0], [30], [90]])
    scale = method.rope(valid, 20).logit_scale
    seen = [[min(n, 45) for n in range(last - 19, last + 1)] for last in (100, 70)]
    expected = torch.tensor([[max(1, math.log(n) / math.log(32)) for n in row] for row in seen])
    torch.testing.assert_close(scale[:2], expected)
    assert (scale[2] == 1).all()
