"""Values from Python: numbers of other libraries are taken, and two values for one setting are refused."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from lcx_lightning.methods.library import read_method
from lcx_lightning.methods.overrides import with_values


def filled(name, **values):
    return OmegaConf.to_container(with_values(read_method(name), 32, values), resolve=True)


@pytest.mark.parametrize("four", [np.float32(4), np.float16(4), np.float64(4), np.int64(4), np.uint8(4), Fraction(4)])
def test_numbers_of_other_libraries_are_those_of_python(four):
    assert filled("yarn", factor=four) == filled("yarn", factor=4)
    assert filled("yarn", factor=4, scaling={"fast": four}) == filled("yarn", factor=4, fast=4)
    assert type(filled("lm_infinite", window=four)["pattern"]["window"]) in (int, float)
    assert filled("log_n", clamp=np.bool_(True))["temperature"]["clamp"] is True


@pytest.mark.parametrize("value", [Decimal(4), 4j, torch.tensor(4.0), np.array(4.0), object(), b"4"])
def test_what_no_configuration_holds_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"^factor must be a number, true or false, a text"):
        filled("yarn", factor=value)


WHOLE = {"_target_": "lcx_lightning.temperature.YaRNTemperature", "slope": 0.3}


@pytest.mark.parametrize("first", ["slope", "temperature"])
@pytest.mark.parametrize("part", [{"slope": 0.3}, WHOLE, {"slope": 0.2}])
def test_two_values_for_one_setting_are_refused(first, part):
    values = {"slope": 0.2, "temperature": part}
    second = next(name for name in values if name != first)
    with pytest.raises(ValueError, match=f"^{second} and .* set the same of temperature: leave one of them out"):
        filled("yarn", factor=4, **{first: values[first], second: values[second]})


def test_two_settings_of_one_part_may_be_given_apart():
    both = filled("yarn", factor=4, fast=16, scaling={"slow": 2})["scaling"]
    assert (both["fast"], both["slow"]) == (16, 2)
