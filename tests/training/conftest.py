"""What the tests of training share: no word of Lightning."""

import logging

import pytest


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
