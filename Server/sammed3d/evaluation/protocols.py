"""Protocols: who clicks where, what is scored on which grid. Each is named, and says where it comes from.

`honest`
    The product as it is used. The first click goes to the middle of the structure, each further one to the middle of
    the largest error; patches are where the product puts them; masks are scored on the volume's own grid.
    Deterministic.
`classic`
    SAM-Med3D's `validation.py` of 2023. The patch is cut round the reference (an oracle), the network sees only the
    newest click, two clicks are drawn in the inner half of the deeper error, further ones anywhere in the error, and
    only the crop is scored. CT (a path with "/ct_" in it) is clamped to -1000..1000. Published tables report the best
    Dice of all clicks.
`current`
    SAM-Med3D's `medim_val` of 2025. The patch is cut round the reference, clicks are drawn anywhere in the error and
    all go to the network at each pass; the mask is brought back to the volume's grid by nearest neighbours.
`cvpr25`
    The scores of CVPR 2025's challenge "Foundation models for interactive 3D biomedical image segmentation" with points
    alone: five clicks as in `honest`, areas under Dice and surface Dice over the clicks, and the final ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import Box, Index3
from sammed3d.core.interpolation import AxisWeights, Float32, interpolate
from sammed3d.core.prompts import Click
from sammed3d.errors import ModelError, VolumeError
from sammed3d.files.datasets import Case
from sammed3d.files.volume import Volume
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import cut_patch
from sammed3d.inference.predictor import PatchClick, PatchPrompts, Predictor
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session
from sammed3d.simulation.clicks import next_click, random_click, ritm_click

Mask = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Step:
    """The state after a click.

    Attributes:
        mask: the mask that was found, non-zero inside.
        truth: the reference mask, on the same grid.
        spacing: voxel size of that grid, mm.
        clicks: so far, where they have a place in the volume.
    """

    mask: Mask
    truth: Mask
    spacing: tuple[float, ...]
    clicks: tuple[Click, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """How a model is measured.

    Attributes:
        name: the protocol's name; the module explains each.
        clicks: number of clicks.
        at: numbers of the clicks after which scores are shown.
        all_clicks: argument of `load_predictor`.
        steps: function of predictor, preset, volume, reference, number of clicks and random numbers; gives the state
            after each click.
        best_of_clicks: whether its publication reports the best Dice of all clicks.
        clamp_ct: range to which its loader clamps resampled images whose path contains "/ct_", or None.
    """

    name: str
    clicks: int
    at: tuple[int, ...]
    all_clicks: bool | None
    steps: Callable[[Predictor, Preset, Volume, Mask, int, np.random.RandomState], Iterator[Step]]
    best_of_clicks: bool = False
    clamp_ct: tuple[float, float] | None = None

    def preset_for(self, preset: Preset, case: Case) -> Preset:
        """Return the preprocessing of a case: the model's, clamped where the published loader does that."""
        if self.clamp_ct is None or preset.clamp is not None or "/ct_" not in case.image.resolve().as_posix():
            return preset
        return replace(preset, clamp=self.clamp_ct, clamp_after=True)


def steps_of(click: Callable[[Click], Mask], volume: Volume, truth: Mask, count: int) -> Iterator[Step]:
    """Let the honest user click on anything that makes masks of clicks."""
    mask: Mask = np.zeros(truth.shape, np.uint8)
    clicks: tuple[Click, ...] = ()
    for _ in range(count):
        following = next_click(mask, truth, volume.grid)
        if following is not None:
            mask = click(following)
            clicks = (*clicks, following)
        yield Step(mask, truth, volume.grid.spacing, clicks)


def _honest(
    predictor: Predictor, _preset: Preset, volume: Volume, truth: Mask, count: int, _rng: np.random.RandomState
) -> Iterator[Step]:
    session = Session(volume, predictor)

    def click(following: Click) -> Mask:
        session.click(following.world, following.positive)
        return session.mask()

    return steps_of(click, volume, truth, count)


def _classic(
    predictor: Predictor, preset: Preset, volume: Volume, truth: Mask, count: int, rng: np.random.RandomState
) -> Iterator[Step]:
    crop = _Crop(predictor, preset, volume, truth)
    logits: Float32 | None = None
    for n in range(count):
        # what the next click is drawn from is logits above 0.5, after the first pass, as published
        predicted = np.zeros(crop.truth.shape, bool) if logits is None else logits > 0.5
        drawn = (ritm_click if n < 2 else random_click)(predicted, crop.truth, rng)
        if drawn is not None:
            logits = crop.click(*drawn)
        mask = np.zeros(crop.truth.shape, np.uint8) if logits is None else (logits > 0).astype(np.uint8)
        yield Step(mask, crop.truth, predictor.preset.spacing)


def _current(
    predictor: Predictor, preset: Preset, volume: Volume, truth: Mask, count: int, rng: np.random.RandomState
) -> Iterator[Step]:
    crop = _Crop(predictor, preset, volume, truth)
    mask = np.zeros(crop.truth.shape, np.uint8)
    for _ in range(count):
        drawn = random_click(mask, crop.truth, rng)
        if drawn is None:
            inside = np.argwhere(crop.truth != 0)
            i, j, k = inside[rng.randint(len(inside))].tolist()
            drawn = (i, j, k), True
        mask = (crop.click(*drawn) > 0).astype(np.uint8)
        yield Step(crop.lattice.spread_nearest(crop.window, mask), truth, volume.grid.spacing)


class _Crop:
    """A patch round the reference, and the clicks made in it."""

    def __init__(self, predictor: Predictor, preset: Preset, volume: Volume, truth: Mask) -> None:
        self._predictor = predictor
        self._clicks: list[PatchClick] = []
        if preset.by_slice:
            raise ModelError(f"{predictor.name}: the published protocols are for 3-D models. Choose 'honest'.")
        self.lattice = Lattice(volume.grid, preset.spacing)
        box = self.lattice.box_of(truth)
        if box is None:
            raise VolumeError(f"{volume.name}: this structure vanishes at {preset.spacing[0]} mm.")
        self.window = self.lattice.window_around(box, preset.patch_shape)
        self.truth = _window_of(self.lattice.sample_nearest(truth.astype(np.uint8)), self.window)
        if not self.truth.any():
            raise VolumeError(
                f"{volume.name}: this structure is in parts, and none lies in the patch round the middle of them. "
                "Take them apart into several structures, or choose 'honest'."
            )
        self._patch = cut_patch(volume, self.lattice, self.window, preset)

    def click(self, voxel: Index3, positive: bool) -> Float32:
        """Click; returns logits of the patch's shape."""
        self._clicks.append(PatchClick((float(voxel[0]), float(voxel[1]), float(voxel[2])), positive))
        low_res = self._predictor.predict(self._patch, PatchPrompts(self._clicks)).low_res
        weights = [
            AxisWeights.at((np.arange(n) + 0.5) * m / n - 0.5, m)
            for n, m in zip(self.window.shape, low_res.shape, strict=True)
        ]
        return interpolate(low_res, (weights[0], weights[1], weights[2]))


def _window_of(array: npt.NDArray[Any], window: Box) -> npt.NDArray[Any]:
    result = np.zeros(window.shape, array.dtype)
    inner = window.intersection(Box((0, 0, 0), (array.shape[0], array.shape[1], array.shape[2])))
    if inner is not None:
        result[inner.within(window)] = array[inner.slices]
    return result


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("honest", 10, (1, 3, 5, 10), None, _honest),
        Protocol("classic", 10, (1, 2, 5, 10), False, _classic, best_of_clicks=True, clamp_ct=(-1000.0, 1000.0)),
        Protocol("current", 5, (1, 3, 5), True, _current),
        Protocol("cvpr25", 5, (1, 2, 3, 4, 5), None, _honest),
    )
}
