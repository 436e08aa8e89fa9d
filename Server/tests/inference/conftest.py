"""A session that needs no network."""

import pytest

from helpers import ThresholdPredictor, small_volume
from sammed3d.inference.session import Session


@pytest.fixture
def predictor():
    return ThresholdPredictor()


@pytest.fixture
def session(predictor):
    return Session(small_volume(), predictor)
