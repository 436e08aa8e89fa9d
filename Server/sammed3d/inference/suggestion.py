"""Where a click is expected to change most: the deepest place of the largest region that the model is not sure of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sammed3d.core.geometry import Box, Grid, Point3
from sammed3d.inference.uncertainty import Uncertainty

DOUBTFUL = 0.5
"""Bits of entropy above which a voxel is doubtful: a probability between 0.11 and 0.89."""
THIN = 3.0
"""mm: what is nowhere deeper than that, as the doubt along every border, counts only where there is nothing else."""
KNOWN = 6.0
"""mm round clicks, and round places that were skipped, that are not suggested again."""
ROUNDING = 1e-4
"""mm by which ITK's depths of places that are equally deep may differ."""

Occupied = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Suggestion:
    """A place to click.

    Attributes:
        world: where, RAS mm.
        looks_inside: whether the model rather thinks that the object is there.
        probability: what it thinks, 0..1.
        millilitres: volume of the doubtful region round the place.
    """

    world: Point3
    looks_inside: bool
    probability: float
    millilitres: float


def suggestion_from(uncertainty: Uncertainty, grid: Grid, known: Sequence[Point3] = ()) -> Suggestion | None:
    """Return where to click next; None where nothing is doubtful but near what is known.

    Args:
        uncertainty: how sure the model is of the object.
        grid: the volume's grid.
        known: places (RAS mm) where the answer is known, or was not wanted.
    """
    entropy = uncertainty.entropy
    doubtful = entropy > DOUBTFUL
    for place in known:
        _forget(doubtful, uncertainty.box, grid, place)
    inner = Box.around(doubtful)
    if inner is None:
        return None
    depth_of_all = _depth(np.pad(doubtful[inner.slices], 1), grid)
    thick = depth_of_all > (THIN if (depth_of_all > THIN).any() else 0)
    labels = _regions(thick, grid)
    weights = np.bincount(labels.ravel(), np.pad(entropy[inner.slices], 1).ravel())
    weights[0] = 0
    region = labels == int(weights.argmax())
    depth = np.where(region, depth_of_all, 0)
    deepest = np.argwhere(depth >= depth.max() - ROUNDING)
    middle = deepest[np.linalg.norm(deepest - deepest.mean(axis=0), axis=1).argmin()]
    local = middle - 1 + np.array(inner.begin)
    r, a, s = grid.to_world(local + uncertainty.box.begin).tolist()
    probability = float(uncertainty.probability[tuple(local)])
    whole = _regions(depth_of_all > 0, grid)
    size = int((whole == whole[tuple(middle)]).sum()) * grid.voxel_volume / 1000
    return Suggestion((r, a, s), probability > 0.5, probability, size)


def _forget(doubtful: Occupied, box: Box, grid: Grid, place: Point3) -> None:
    """Take out what is nearer than `KNOWN` to a place."""
    centre = grid.to_index(place)
    reach = np.ceil(KNOWN / np.array(grid.spacing)).astype(int) + 1
    near = np.rint(centre).astype(int)
    low = np.maximum(near - reach - box.begin, 0)
    high = np.minimum(near + reach + 1 - box.begin, doubtful.shape)
    if (low >= high).any():
        return
    indices = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
    distance = np.linalg.norm(grid.to_world(indices + box.begin) - np.array(place), axis=-1)
    doubtful[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] &= distance > KNOWN


def _regions(mask: Occupied, grid: Grid) -> npt.NDArray[np.uint32]:
    """Number connected parts (26 neighbours) of a mask from 1 on."""
    labels: npt.NDArray[np.uint32] = sitk.GetArrayFromImage(sitk.ConnectedComponent(_image(mask, grid), True)).T
    return labels


def _depth(mask: Occupied, grid: Grid) -> npt.NDArray[np.float32]:
    """How deep voxels lie in a mask, in mm to the nearest voxel outside; 0 outside."""
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    outside = sitk.SignedMaurerDistanceMap(_image(~mask, grid), False, False, True)
    return np.where(mask, sitk.GetArrayFromImage(outside).T, 0).astype(np.float32)


def _image(mask: Occupied, grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.T).astype(np.uint8))
    image.SetSpacing(grid.spacing)
    return image
