"""Phantoms, random grids and predictors without a network, shared by the tests."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from hypothesis import strategies as st
from scipy import ndimage

from sammed3d.core.geometry import AxisMap, Grid
from sammed3d.core.interpolation import mean_pool
from sammed3d.errors import PredictionCancelled
from sammed3d.files.volume import Volume, image_on
from sammed3d.inference.predictor import Capabilities, PatchPrompts, Prediction
from sammed3d.inference.preset import Preset

AXIS_MAPS = [
    AxisMap(source, flipped)
    for source in itertools.permutations(range(3))
    for flipped in itertools.product((False, True), repeat=3)
]
"""All 48 ways to store the axes of an image."""


def rotation(angles: Sequence[float]) -> np.ndarray:
    """3x3 rotation about R, then A, then S, by angles in radians."""
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def make_affine(spacing: Sequence[float], angles: Sequence[float] = (0, 0, 0), origin: Sequence[float] = (0, 0, 0)):
    """4x4 index-to-world matrix."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) * np.asarray(spacing)
    affine[:3, 3] = origin
    return affine


def stored_as(array: np.ndarray, affine: np.ndarray, axes: AxisMap) -> tuple[np.ndarray, Grid]:
    """Store an image with permuted and flipped axes, so that every voxel keeps its place in the world."""
    stored = axes.apply(array)
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes.source, axes.flipped, strict=True)):
        matrix[old, new] = -1 if flip else 1
        matrix[old, 3] = array.shape[old] - 1 if flip else 0
    return stored, Grid(stored.shape, affine @ matrix)


def spacings(low: float = 0.3, high: float = 6.0) -> st.SearchStrategy[tuple[float, float, float]]:
    """Voxel sizes in mm."""
    return st.tuples(*[st.floats(low, high)] * 3)


@st.composite
def grids(draw: st.DrawFn, max_voxels: int = 40) -> Grid:
    """Grids in any orientation: oblique, anisotropic, flipped, anywhere within 2 m."""
    shape = draw(st.tuples(*[st.integers(1, max_voxels)] * 3))
    angles = draw(st.tuples(*[st.floats(-np.pi, np.pi)] * 3))
    origin = draw(st.tuples(*[st.floats(-2000, 2000)] * 3))
    affine = make_affine(draw(spacings()), angles, origin)
    affine[:3, :3] *= draw(st.sampled_from([1.0, -1.0]))  # negative determinants too
    return Grid(shape, affine)


def phantom(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Asymmetric blobs, int16, 20..1200."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    image = np.full(shape, 20.0)
    for *centre, radius, height in rng.uniform([-0.6, -0.6, -0.6, 0.2, 200], [0.6, 0.6, 0.6, 0.5, 700], (4, 5)):
        squared = sum((x - c) ** 2 for x, c in zip(axes, centre, strict=True))
        image += height * np.exp(-squared / (2 * radius**2))
    return image.astype(np.int16)


def small_volume(shape: Sequence[int] = (40, 50, 30), spacing: Sequence[float] = (3.0, 3.0, 3.0)) -> Volume:
    """A phantom as a volume with plain RAS axes and its corner at the origin."""
    return Volume(phantom(shape), Grid(tuple(shape), make_affine(spacing)), "phantom")


def write_image(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write an array (I, J, K) as an image file."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.CopyInformation(image_on(Grid(array.shape, affine), sitk.sitkUInt8))
    sitk.WriteImage(image, str(path))
    return path


class ThresholdPredictor:
    """Stands for a network: inside is where the normalised patch is above a threshold; every call is recorded.

    A negative click lowers the logits and a positive one raises them round the click, so that the order and number of
    clicks matter.
    """

    name = "threshold"

    def __init__(self, threshold: float = 0.437, preset: Preset | None = None) -> None:
        self.preset = preset or Preset()
        self.capabilities = Capabilities(self.preset.boxes)
        self.threshold = threshold
        self.calls: list[tuple] = []
        self.fail: Exception | None = None

    def is_encoded(self, digest: str) -> bool:
        return True

    def encode(self, patches, cancellation=None) -> float:
        raise AssertionError("everything is encoded")

    def predict(self, patch, prompts: PatchPrompts, cancellation=None) -> Prediction:
        prompts.check(self.preset)
        clicks, initial = prompts.clicks, prompts.mask_prompt
        self.calls.append((patch.window, clicks, initial))
        if cancellation is not None:
            cancellation.check()
        if self.fail is not None:
            raise self.fail
        logits = 4 * (mean_pool(patch.voxels, self.preset.low_res_shape) - np.float32(self.threshold))
        if initial is not None:
            logits = logits + 0.25 * initial
        centres = np.stack(np.meshgrid(*[np.arange(n) * 4 + 1.5 for n in logits.shape], indexing="ij"), axis=-1)
        for click in clicks:
            distance = np.linalg.norm(centres - np.array(click.voxel), axis=-1)
            logits = logits + (8 if click.positive else -8) * np.exp(-((distance / 12) ** 2))
        return Prediction(logits.astype(np.float32), None, {"decode": 0.0})


class CancelledPredictor(ThresholdPredictor):
    """Cancels the prediction that it is asked for."""

    def predict(self, patch, prompts, cancellation=None) -> Prediction:
        raise PredictionCancelled("cancelled")


class RegionPredictor:
    """Stands in for a 2-D network: the bright regions of a slice that a positive click, the mask or the box meets.

    A negative click takes its region away. Every call is recorded.
    """

    name = "regions"
    preset = Preset(patch_shape=(64, 64, 1), low_res_shape=(16, 16, 1), normalisation="grey", fit="resize", boxes=True)
    capabilities = Capabilities(boxes=True)

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def predict(self, patch, prompts: PatchPrompts, cancellation=None) -> Prediction:
        clicks, initial, box = prompts.clicks, prompts.mask_prompt, prompts.box
        self.calls.append((patch.window.begin, clicks, None if initial is None else initial.copy(), box))
        if cancellation is not None:
            cancellation.check()
        regions, _ = ndimage.label(patch.voxels[..., 0] > 127)
        seeds = np.zeros(regions.shape, bool)
        if initial is not None:
            seeds |= np.kron(initial[..., 0] > 0, np.ones((4, 4), bool))
        elif box is not None:
            seeds[int(box.begin[0]) : int(box.end[0]), int(box.begin[1]) : int(box.end[1])] = True
        chosen = set(np.unique(regions[seeds])) - {0}
        for click in clicks:
            region = {int(regions[int(click.voxel[0]), int(click.voxel[1])])}
            chosen = chosen | region if click.positive else chosen - region
        share = np.isin(regions, sorted(chosen - {0})).reshape(16, 4, 16, 4).mean(axis=(1, 3))
        return Prediction((8 * share - 4).astype(np.float32)[..., None], 0.9, {"decode": 0.0})
