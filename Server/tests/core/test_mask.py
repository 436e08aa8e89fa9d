"""Masks: what tells them apart, and how large they are, in words."""

import numpy as np
import pytest

from sammed3d.core.geometry import Box
from sammed3d.core.mask import BoxedMask, millilitres


@pytest.mark.parametrize(
    ("volume", "words"),
    [(0.0, "0.00 ml"), (0.0144, "0.014 ml"), (0.25, "0.25 ml"), (9.994, "9.99 ml"), (253.46, "253.5 ml")],
)
def test_volumes_of_nodules_and_of_organs_can_be_told(volume, words):
    assert millilitres(volume) == words


def test_the_same_voxels_at_another_place_have_another_digest():
    voxels = np.ones((2, 2, 2), np.uint8)
    here, there = (BoxedMask(Box((n, 0, 0), (n + 2, 2, 2)), voxels) for n in (0, 3))
    assert here.digest != there.digest
    assert here.digest == BoxedMask(Box((0, 0, 0), (2, 2, 2)), voxels.copy(order="F")).digest
