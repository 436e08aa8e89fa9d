"""Where a search without clicks asks, and which answers it trusts."""

import numpy as np
import pytest

from sammed3d.core.geometry import Box
from sammed3d.inference.blobs import blobs, contrast, parts

SPACING = (1.5, 1.5, 1.5)
SHAPE = (64, 60, 56)
CENTRES = {(14, 14, 14): 2.0, (44, 16, 40): 4.0, (20, 44, 20): 6.0, (46, 44, 16): 3.0}


def ball(centre, radius):
    """A ball; radius in mm."""
    axes = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    return sum((1.5 * (a - c)) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2


@pytest.mark.parametrize("slices", [1, 3, 4])
def test_blobs_of_few_slices_lie_in_them(slices):
    image = np.random.default_rng(0).normal(0, 0.1, SHAPE).astype(np.float32)
    image[ball((20, 44, 20), 6.0)] += 1
    place = blobs(image[:, :, 20 : 20 + slices], SPACING, 1)[0]
    assert np.linalg.norm(np.subtract(place[:2], (20, 44))) <= 1.5
    assert place[2] < slices


@pytest.mark.parametrize("sign", [1, -1], ids=["bright", "dark"])
def test_blobs_come_first_whatever_their_size_and_sign(sign):
    image = np.random.default_rng(0).normal(0, 0.1, SHAPE).astype(np.float32)
    for centre, radius in CENTRES.items():
        image[ball(centre, radius)] += sign
    found = blobs(image, SPACING, 4)
    assert len(found) == 4
    for centre in CENTRES:
        assert min(np.linalg.norm(np.subtract(centre, spot)) for spot in found) <= 1.5
    assert blobs(image, SPACING, 2) == found[:2]


def test_contrast_is_the_step_at_the_border_in_deviations():
    image = np.random.default_rng(0).normal(0, 0.5, SHAPE).astype(np.float32)
    inside = ball((20, 44, 20), 9.0)
    box = Box.around(inside)
    assert contrast(image, inside, box) < 0.3
    image[inside] += 2
    assert contrast(image, inside, box) == pytest.approx(4, abs=0.5)


def test_masks_are_taken_apart_at_thin_necks_only():
    one, other, far = ball((20, 30, 28), 12.0), ball((36, 30, 28), 12.0), ball((24, 30, 28), 12.0)
    pieces = parts(one | other, SPACING)
    assert len(pieces) == 2
    assert all(
        (piece & ball_).sum() > 0.9 * ball_.sum()
        for piece, ball_ in zip(sorted(pieces, key=lambda piece: np.argwhere(piece).mean()), (one, other), strict=True)
    )
    assert len(parts(one | far, SPACING)) == 1, "no neck to speak of"
    assert len(parts(ball((20, 30, 28), 2.0), SPACING)) == 1
