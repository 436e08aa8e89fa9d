"""A series in time of known truth: a ball that moves and pulsates, in noise."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from helpers import make_affine
from large_objects import FloodPredictor
from sammed3d.core.geometry import Grid
from sammed3d.files.volume import Volume, image_on
from sammed3d.inference.predictor import PatchPrompts

SHAPE = (40, 44, 36)


@dataclass
class Ball:
    """Where the ball is in each frame.

    Attributes:
        grid: of all frames.
        centres: (T, 3), RAS mm.
        radii: (T,), mm.
    """

    grid: Grid
    centres: np.ndarray
    radii: np.ndarray

    @property
    def count(self):
        return len(self.radii)

    def truth(self, number):
        indices = np.moveaxis(np.indices(self.grid.shape), 0, -1)
        distance = np.linalg.norm(self.grid.to_world(indices) - self.centres[number], axis=-1)
        return distance < self.radii[number]

    def volume(self, number):
        noise = np.random.default_rng(number).integers(0, 20, self.grid.shape)
        return Volume((300 + 600 * self.truth(number) + noise).astype(np.int16), self.grid, f"frame {number + 1}")


class BallPredictor(FloodPredictor):
    """Finds the ball and no noise, and what any of several clicks means alone."""

    def __init__(self):
        super().__init__()
        self.threshold = 1.0

    def predict_each(self, patch, clicks, passes, cancellation):
        return np.stack([self.predict(patch, PatchPrompts([click]), cancellation).low_res for click in clicks])


def predictor():
    """Stands for a network."""
    return BallPredictor()


def moving_ball(count=8, step=8.0, angles=(0.1, -0.2, 0.3)):
    """A ball of 30 to 38 mm radius that moves `step` mm from frame to frame, on an oblique grid of 6 mm."""
    grid = Grid(SHAPE, make_affine((6.0, 6.0, 6.0), angles, (10, -20, 30)))
    begin = np.array(grid.to_world((np.array(SHAPE) - 1) / 2))
    direction = np.array([0.6, 0.8, 0.0])
    times = np.arange(count)
    centres = begin + (times - (count - 1) / 2)[:, None] * step * direction
    return Ball(grid, centres, 34 + 4 * np.sin(times * 1.3))


def write_4d(ball, path, interval=0.8):
    frames = []
    for number in range(ball.count):
        image = sitk.GetImageFromArray(ball.volume(number).array.T.copy())
        image.CopyInformation(image_on(ball.grid, sitk.sitkInt16))
        frames.append(image)
    sitk.WriteImage(sitk.JoinSeries(frames, 0.0, interval), str(path))
    return path
