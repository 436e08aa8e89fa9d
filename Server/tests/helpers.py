"""Phantoms, random grids and predictors without a network, shared by the tests."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import strategies as st
from scipy import ndimage

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import AxisMap, Box, Grid
from sammed3d.core.interpolation import mean_pool
from sammed3d.files.volume import Volume, image_on
from sammed3d.inference.patch import Patch
from sammed3d.inference.predictor import Capabilities, PatchBox, PatchClick, PatchPrompts, Prediction
from sammed3d.inference.preset import Preset

AXIS_MAPS = [
    AxisMap(source, flipped)
    for source in itertools.permutations(range(3))
    for flipped in itertools.product((False, True), repeat=3)
]
"""All 48 ways to store the axes of an image."""


def by_name(cases: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Name parameters of tests by their first one: bytes among them may differ from process to process."""
    return [pytest.param(*case, id=case[0]) for case in cases]


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


CENTRE = (60.0, 75.0, 45.0)
"""Of `small_volume()`, RAS mm."""


def long_volume() -> Volume:
    """180 x 180 x 600 mm: larger than a patch along S."""
    return Volume(phantom((60, 60, 200)), Grid((60, 60, 200), make_affine((3, 3, 3))), "long")


def write_image(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write an array (I, J, K) as an image file."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.CopyInformation(image_on(Grid(array.shape, affine), sitk.sitkUInt8))
    sitk.WriteImage(image, str(path))
    return path


class Call(NamedTuple):
    """A question that a fake predictor was asked."""

    window: Box
    clicks: tuple[PatchClick, ...]
    mask_prompt: np.ndarray | None
    box: PatchBox | None
    earlier: tuple[PatchClick, ...]
    from_wide: bool
    from_mask: bool


class FakePredictor:
    """Stands in for a network in all tests; how it answers is a subclass's.

    Attributes:
        calls: the questions that it answered, or failed at.
        log: ("encode", digests of patches) and ("decode", digest of a patch), in order.
        encoded: digests of the patches whose embeddings are there; None for all of them.
        fail: raised instead of an answer, or of an encoding; None for none.
        gate: while it is closed (`gate.clear()`), predictions wait; they can be cancelled meanwhile.
        encode_gate: the same for encodings.
        asked, encoding, cancelled: set once a prediction or an encoding has come, or one was cancelled while it waited.
        before: called with patch and prompts before each answer.
    """

    name = "fake"
    score: float | None = None

    def __init__(self, preset: Preset | None = None, capabilities: Capabilities | None = None) -> None:
        self.preset = preset or Preset()
        self.capabilities = capabilities or Capabilities(self.preset.boxes)
        self.calls: list[Call] = []
        self.log: list[tuple] = []
        self.encoded: set[str] | None = None
        self.fail: Exception | None = None
        self.gate, self.encode_gate = threading.Event(), threading.Event()
        self.gate.set()
        self.encode_gate.set()
        self.asked, self.encoding, self.cancelled = threading.Event(), threading.Event(), threading.Event()
        self.before: Callable[[Patch, PatchPrompts], object] = lambda patch, prompts: None

    def close_for(self, seconds: float) -> None:
        """Let predictions wait for a while."""
        self.gate.clear()
        threading.Timer(seconds, self.gate.set).start()

    def is_encoded(self, digest: str) -> bool:
        return self.encoded is None or digest in self.encoded

    def encode(self, patches: Sequence[Patch], cancellation: Cancellation | None = None) -> float:
        """Take 1.5 seconds, as it says."""
        self.encoding.set()
        self._pass(self.encode_gate, cancellation)
        if cancellation is not None:
            cancellation.check()
        if self.fail is not None:
            raise self.fail
        self.log.append(("encode", [patch.digest for patch in patches]))
        self.encoded |= {patch.digest for patch in patches}
        return 1.5

    def predict(self, patch: Patch, prompts: PatchPrompts, cancellation: Cancellation | None = None) -> Prediction:
        prompts.check(self.preset)
        self.asked.set()
        self._pass(self.gate, cancellation)
        told = prompts.clicks, prompts.mask_prompt, prompts.box, prompts.earlier, prompts.from_wide, prompts.from_mask
        self.calls.append(Call(patch.window, *told))
        self.log.append(("decode", patch.digest))
        self.before(patch, prompts)
        if cancellation is not None:
            cancellation.check()
        if self.fail is not None:
            raise self.fail
        return Prediction(self.answer(patch, prompts).astype(np.float32), self.score, {"decode": 0.0})

    def answer(self, patch: Patch, prompts: PatchPrompts) -> np.ndarray:
        """Low-res logits."""
        raise NotImplementedError

    def _pass(self, gate: threading.Event, cancellation: Cancellation | None) -> None:
        end = time.monotonic() + 60
        while not gate.wait(0.005):
            assert time.monotonic() < end, "nobody opens the gate"
            if cancellation is not None and cancellation.is_cancelled:
                self.cancelled.set()
                cancellation.check()


COARSE = Preset(spacing=(3.0, 3.0, 3.0), patch_shape=(64, 64, 64), low_res_shape=(16, 16, 16))
"""As large as SAM-Med3D's patches, in an eighth of the voxels."""


class ThresholdPredictor(FakePredictor):
    """Inside is where the normalised patch is above a threshold.

    A negative click lowers the logits and a positive one raises them round the click, so that the order and number of
    clicks matter.
    """

    name = "threshold"

    def __init__(self, threshold: float = 0.437, preset: Preset | None = None, all_clicks: bool = False) -> None:
        preset = preset or COARSE
        super().__init__(preset, Capabilities(preset.boxes, all_clicks))
        self.threshold = threshold

    def answer(self, patch: Patch, prompts: PatchPrompts) -> np.ndarray:
        logits = 4 * (mean_pool(patch.voxels, self.preset.low_res_shape) - np.float32(self.threshold))
        if prompts.mask_prompt is not None:
            logits = logits + 0.25 * prompts.mask_prompt
        centres = np.stack(np.meshgrid(*[np.arange(n) * 4 + 1.5 for n in logits.shape], indexing="ij"), axis=-1)
        for click in prompts.clicks:
            distance = np.linalg.norm(centres - np.array(click.voxel), axis=-1)
            logits = logits + (8 if click.positive else -8) * np.exp(-((distance / 12) ** 2))
        return logits


class RegionPredictor(FakePredictor):
    """A 2-D network: the bright regions of a slice that a positive click, the mask or the box meets.

    A negative click takes its region away.
    """

    name = "regions"
    score = 0.9

    def __init__(self) -> None:
        shapes = {"patch_shape": (64, 64, 1), "low_res_shape": (16, 16, 1)}
        super().__init__(Preset(**shapes, normalisation="grey", fit="resize", boxes=True))

    def answer(self, patch: Patch, prompts: PatchPrompts) -> np.ndarray:
        initial, box = prompts.mask_prompt, prompts.box
        regions, _ = ndimage.label(patch.voxels[..., 0] > 127)
        seeds = np.zeros(regions.shape, bool)
        if initial is not None:
            seeds |= np.kron(initial[..., 0] > 0, np.ones((4, 4), bool))
        elif box is not None:
            seeds[int(box.begin[0]) : int(box.end[0]), int(box.begin[1]) : int(box.end[1])] = True
        chosen = set(np.unique(regions[seeds])) - {0}
        for click in prompts.clicks:
            region = {int(regions[int(click.voxel[0]), int(click.voxel[1])])}
            chosen = chosen | region if click.positive else chosen - region
        share = np.isin(regions, sorted(chosen - {0})).reshape(16, 4, 16, 4).mean(axis=(1, 3))
        return (8 * share - 4)[..., None]
