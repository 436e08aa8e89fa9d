"""Masks: how large they are, in words."""

import pytest

from sammed3d.core.mask import millilitres


@pytest.mark.parametrize(
    ("volume", "words"),
    [(0.0, "0.00 ml"), (0.0144, "0.014 ml"), (0.25, "0.25 ml"), (9.994, "9.99 ml"), (253.46, "253.5 ml")],
)
def test_volumes_of_nodules_and_of_organs_can_be_told(volume, words):
    assert millilitres(volume) == words
