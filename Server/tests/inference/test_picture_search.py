"""Objects of a picture found without a click."""

import math

import numpy as np
import pytest

from helpers import FakePredictor, RegionPredictor
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Grid
from sammed3d.errors import ModelError, PredictionCancelled, PromptError
from sammed3d.files.picture import Picture
from sammed3d.inference.picture_search import PictureSearch, search
from sammed3d.inference.picture_session import PictureSession
from sammed3d.inference.predictor import Prediction

PLACES = [(4, 4), (24, 24), (44, 8)]
"""Row and column of the upper left corners of squares of 16 pixels."""


class WeighingRegions(RegionPredictor):
    """Weighs the region of a click, the same a little larger (less sure), and everything (sure, but too large)."""

    weighed = 0

    def candidates(self, patch, prompts, cancellation=None):
        if cancellation is not None:
            cancellation.check()
        self.weighed += 1
        region = self.answer(patch, prompts).astype(np.float32)
        larger = np.maximum(region, np.maximum(np.roll(region, 1, 0), np.roll(region, 1, 1)))
        return Prediction(np.full_like(region, 9), 0.99), Prediction(region, 0.95), Prediction(larger, 0.9)


@pytest.fixture
def session():
    grey = np.zeros((64, 64), np.uint8)
    for row, column in PLACES:
        grey[row : row + 16, column : column + 16] = 255
    pixels = np.repeat(grey[..., None], 3, axis=2)
    return PictureSession(Picture(pixels, Grid((64, 64, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))), WeighingRegions())


def test_each_object_is_found_once(session):
    steps = []
    found = session.find(PictureSearch(points=8), progress=lambda done, total: steps.append((done, total)))
    assert len(found) == len(PLACES)
    for each in found:
        column, row = each.point
        assert each.mask[round(row), round(column)] == 1
        assert (each.score, each.stability) == (0.95, 1.0)
    corners = sorted(tuple(int(n) for n in np.argwhere(each.mask).min(axis=0)) for each in found)
    assert corners == pytest.approx(sorted(PLACES), abs=1)
    assert steps[-1] == (64, 64)
    assert session.session.predictor.weighed == 64
    assert session.session.objects == [], "looking changes nothing"


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        (PictureSearch(points=8, score=0.97), 0),
        (PictureSearch(points=8, smallest=1000), 0),
        (PictureSearch(points=8, largest=1.0), 1),  # everything is one object, and the best
        (PictureSearch(points=1), 1),  # the middle of the picture lies in a square
    ],
)
def test_what_counts_as_an_object(session, settings, count):
    if settings.largest == 1.0:
        assert session.find(settings)[0].mask.all()
    else:
        assert len(session.find(settings)) == count


def test_what_is_not_stable_is_left_out_and_score_times_stability_ranks():
    """Three masks for the one point: of two that overlap little the surer one is less stable, the third hardly is."""
    stable, less, hardly = (np.full((8, 8, 1), -9, np.float32) for _ in range(3))
    stable[4:, :] = 9
    less[:, 4:] = 9
    less[:2, 4:] = 0.5  # above 0, and not above 1
    hardly[4:, 4:] = 0.5
    weighed = [Prediction(less, 0.95), Prediction(hardly, 0.99), Prediction(stable, 0.9)]
    found = search(
        PictureSearch(points=1, stability=0.7, smallest=1, overlap=0.6),
        (8, 8),
        lambda _column, _row, _cancellation: weighed,
        lambda low_res: low_res[..., 0] > 0,
    )
    assert [(each.score, each.stability) for each in found] == [(0.9, 1.0), (0.95, 0.75)]


def test_the_grid_covers_a_picture_evenly():
    points = PictureSearch(points=8).grid(160, 80)
    assert len(points) == 32
    assert points[0] == pytest.approx((9.5, 9.5))
    assert points[-1] == pytest.approx((149.5, 69.5))
    assert len(PictureSearch(points=4).grid(400, 3)) == 4


def test_it_can_be_stopped_and_says_what_it_needs(session):
    stopped = Cancellation()
    stopped.cancel()
    with pytest.raises(PredictionCancelled):
        session.find(cancellation=stopped)
    with pytest.raises(PromptError, match="shares"):
        PictureSearch(overlap=1.0)
    with pytest.raises(PromptError, match="above 0"):
        PictureSearch(points=0)
    for name in ("score", "stability", "offset", "smallest", "largest"):
        with pytest.raises(PromptError):
            PictureSearch(**{name: math.nan})
    plain = PictureSession(session.picture, RegionPredictor())
    with pytest.raises(ModelError, match="shows no candidates"):
        plain.find()
    with pytest.raises(ModelError, match="3-D"):
        PictureSession(session.picture, FakePredictor())
