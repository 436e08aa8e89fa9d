"""Simulated users."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sammed3d.core.geometry import Box, Grid, Index3
from sammed3d.core.prompts import Click

Mask = npt.NDArray[np.generic]


def next_click(mask: Mask, truth: Mask, grid: Grid) -> Click | None:
    """Click where a careful user would: in the middle of the largest error. Deterministic.

    Args:
        mask: the present mask (I, J, K), non-zero inside; all zeros before the first click.
        truth: the reference mask, same shape.
        grid: the grid of both.

    Returns:
        A click at the voxel that lies deepest (in mm) in the largest connected error (26 neighbours), the middle one of
        several: positive where the object is missing, negative where it should not be. None if there is no error.
    """
    missing, surplus = (truth != 0) & (mask == 0), (truth == 0) & (mask != 0)
    largest = [_largest_component(error) for error in (missing, surplus)]
    sizes = [0 if component is None else int(component[1].sum()) for component in largest]
    chosen = largest[int(sizes[1] > sizes[0])]
    if chosen is None:
        return None
    box, component = chosen
    padded = np.pad(component, 1)
    image = sitk.GetImageFromArray(np.ascontiguousarray(padded.T).astype(np.uint8))
    image.SetSpacing(grid.spacing)
    depth = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=True, useImageSpacing=True)
    depths = sitk.GetArrayViewFromImage(depth).T
    deepest = np.argwhere(depths >= depths.max() - 1e-6)
    middle = deepest[np.linalg.norm(deepest - deepest.mean(axis=0), axis=1).argmin()]
    index = middle - 1 + box.begin
    r, a, s = grid.to_world(index).tolist()
    return Click((r, a, s), positive=sizes[0] >= sizes[1])


def random_click(predicted: Mask, truth: Mask, rng: np.random.RandomState) -> tuple[Index3, bool] | None:
    """Click anywhere in the error, as SAM-Med3D's training and validation do ("random", `click_method.torch_2`).

    Args:
        predicted: the present mask, non-zero inside.
        truth: the reference mask.
        rng: NumPy's legacy generator; one number is drawn.

    Returns:
        The voxel and whether the click is positive; None if there is no error.
    """
    errors = np.argwhere((predicted != 0) != (truth != 0))
    if len(errors) == 0:
        return None
    voxel = errors[rng.randint(len(errors))]
    return _index(voxel), bool(truth[tuple(voxel)])


def ritm_click(predicted: Mask, truth: Mask, rng: np.random.RandomState) -> tuple[Index3, bool] | None:
    """Click in the inner half of the deeper error, as SAM-Med3D's validation does first ("ritm", Sofiiuk et al.).

    Arguments and result are those of `random_click`.
    """
    from scipy.ndimage import distance_transform_edt  # noqa: PLC0415 - the extra [evaluate]

    depths = [
        distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1, 1:-1]
        for error in ((truth != 0) & (predicted == 0), (truth == 0) & (predicted != 0))
    ]
    missing, surplus = (float(depth.max()) for depth in depths)
    if max(missing, surplus) == 0:
        return None
    depth = depths[0] if missing > surplus else depths[1]
    candidates = np.argwhere(depth > depth.max() / 2)
    voxel = candidates[rng.randint(len(candidates))]
    return _index(voxel), bool(truth[tuple(voxel)]) and not bool(predicted[tuple(voxel)])


def _index(voxel: npt.NDArray[np.int_]) -> Index3:
    return int(voxel[0]), int(voxel[1]), int(voxel[2])


def _largest_component(error: npt.NDArray[np.bool_]) -> tuple[Box, npt.NDArray[np.bool_]] | None:
    box = Box.around(error)
    if box is None:
        return None
    image = sitk.GetImageFromArray(np.ascontiguousarray(error[box.slices].T).astype(np.uint8))
    components = sitk.ConnectedComponentImageFilter()
    components.FullyConnectedOn()
    labels = sitk.GetArrayFromImage(components.Execute(image)).T
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return box, labels == counts.argmax()
