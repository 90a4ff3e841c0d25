"""What claims may be about: the lengths at which experiments of the package measure."""

from collections import defaultdict

import pytest
from support.lab import composed

from lcx_lightning.runner.experiments import experiments
from lcx_lightning.runner.recorded import recorded
from lcx_lightning.schema.build import build


@pytest.mark.slow  # every experiment is composed, which takes seconds
def test_lengths_are_those_that_experiments_compose():
    found, measured = recorded().measures, defaultdict(set)
    for one in experiments():
        for name, evaluation in composed(f"+exp={one.name}").evaluation.items():
            for measure in build(evaluation, f"evaluation.{name}").metrics():
                measured[measure] |= set(evaluation.get("multiples") or ())
    assert len(measured) > 10
    assert {measure: lengths for measure, lengths in measured.items() if not lengths <= set(found[measure])} == {}
    assert 64 in measured["prompt_and_new_tokens/decode_seconds"] & set(found["prompt_and_new_tokens/decode_seconds"])
