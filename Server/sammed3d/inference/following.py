"""Following an object beyond the patch that it was clicked in: where it goes on, and which answers are believed.

First the surroundings of a click are looked at with a wide patch: twice the edge, half the resolution, same network.
Then every place is followed in which the object leaves the inner part of a patch towards the inside of the volume, the
largest first. The next window is laid so that this place is in its inner part and most of the rest is new. Each further
patch is given the object so far as mask prompt, the clicks that lie in it, and points of the object's confident inside
as positive clicks.

A wide patch is looked at after at most three clicks; later ones refine what it showed at full resolution. A click there
whose answer would lose more than a fifth of the object is answered in the wide patch instead.

An answer is believed only where it agrees with what is known, see `is_believed`. Otherwise its patch is left out, and
nothing is followed from it: a network that loses the object, or takes another one for it, ends the following there.

All of this is decided by the prompts and the answers alone, so the same prompts are always followed in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sammed3d.core.geometry import Box, Index3
from sammed3d.core.interpolation import Float32
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.windows import Windows

BEHIND = 40
"""Voxels of a further patch that lie before the place where the object leaves the patch before."""
SMALLEST = 0.25
"""ml: what leaves a patch in a smaller place than this is not followed."""
CONFIDENT = 1.0
"""Logit above which a place counts as confidently inside."""
KEPT = 0.8
"""Share of what is known to be inside that an answer must have inside to be believed."""
SURPLUS = 1.0
"""Largest share of that which an answer may have inside where outside is known."""
LARGE = 60.0
"""mm: what a wide patch shows counts only if it is that long; smaller objects are better seen at full resolution."""
POINTS = 3
"""How many points of the object so far are given in a further patch."""

Points = npt.NDArray[np.float64]
Occupied = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Exit:
    """A place where an object leaves a window.

    Attributes:
        window: the window.
        samples: lattice positions (n, 3) of the low-res voxels of the object in that place.
    """

    window: Box
    samples: Points

    @property
    def middle(self) -> Points:
        """That of its samples (3,) which is nearest to the mean of all."""
        result: Points = self.samples[np.linalg.norm(self.samples - self.samples.mean(axis=0), axis=1).argmin()]
        return result


def exits(windows: Windows, window: Box, answer: Float32) -> tuple[Exit, ...]:
    """Return the places where an answer leaves its window towards the inside of the volume.

    Args:
        windows: boxes of the volume's lattice.
        window: the answer's window.
        answer: low-res logits.

    The object has to come within half the margin of a face; between that and the inner part it may simply end.
    """
    positions = _positions(window, answer.shape)
    outside = (answer > 0) & ~_in_box(positions, windows.inner(window))
    if not outside.any():
        return ()
    labels = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(outside.astype(np.uint8)), True))
    voxel = np.prod(np.array(window.shape) / answer.shape) * windows.lattice.grid.voxel_volume / 1000  # ml
    found = []
    for label in range(1, int(labels.max()) + 1):
        samples = _at(positions, labels == label)
        near = _depths(windows.lattice, window, samples).min() < windows.margin(window) / 2
        if near and len(samples) * voxel >= SMALLEST:
            found.append(Exit(window, samples))
    return tuple(found)


def window_after(windows: Windows, place: Exit) -> Box:
    """Return the window that follows an object out of a window, of the same size."""
    window, scale = place.window, windows.scale(place.window)
    middle = place.middle
    centre = middle.copy()
    for axis, (lower, upper) in enumerate(windows.lattice.borders_inside(window)):
        ahead = max(0, window.shape[axis] // 2 - BEHIND * scale)
        if lower and middle[axis] - window.begin[axis] < windows.margin(window):
            centre[axis] -= ahead
        elif upper and window.end[axis] - 1 - middle[axis] < windows.margin(window):
            centre[axis] += ahead
    return windows.lattice.window_at(windows.lattice.grid.to_world(centre).tolist(), window.shape)


def still_open(windows: Windows, place: Exit, looked_at: Sequence[Box]) -> Exit | None:
    """Return what of an exit lies in the inner part of no window that was looked at; None where that is little."""
    left = place.samples
    for window in looked_at:
        part = windows.inner(window)
        left = left[~((left >= part.begin) & (left <= np.array(part.end) - 1)).all(axis=1)]
    return Exit(place.window, left) if 3 * len(left) >= len(place.samples) else None


def points_inside(window: Box, seen: Float32, start: Points, count: int = POINTS) -> tuple[Index3, ...]:
    """Return lattice samples of an object's confident inside: the nearest to `start`, then far from one another.

    Args:
        window: the window to look at.
        seen: the object, seen through the window: low-res logits.
        start: a lattice position (3,).
        count: largest number of windows.
    """
    confident = seen > CONFIDENT
    deep = _eroded(confident)
    samples = _at(_positions(window, seen.shape), deep if deep.any() else confident if confident.any() else seen > 0)
    if len(samples) == 0:
        return ()
    chosen = [int(np.linalg.norm(samples - start, axis=1).argmin())]
    nearest = np.full(len(samples), np.inf)
    while len(chosen) < min(count, len(samples)):
        nearest = np.minimum(nearest, np.linalg.norm(samples - samples[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    return tuple(_sample(samples[n]) for n in chosen)


def keeps(windows: Windows, window: Box, seen: Float32, answer: Float32, known: Sequence[Box]) -> bool:
    """Tell whether an answer keeps `KEPT` of what is known to be inside; arguments as those of `is_believed`."""
    positions = _positions(window, seen.shape)
    inside = np.zeros(seen.shape, bool)
    for earlier in known:
        inside |= _in_box(positions, windows.inner(earlier)) & (seen > 0)
    return int((inside & (answer > 0)).sum()) >= KEPT * int(inside.sum())


def is_believed(
    windows: Windows, window: Box, seen: Float32, answer: Float32, known: Sequence[Box], clicked: bool = False
) -> bool:
    """Tell whether an answer agrees with what is known, so that it may be laid over it.

    Args:
        windows: boxes of the volume's lattice.
        window: the answer's window.
        seen: the object before it, seen through the window: low-res logits.
        answer: low-res logits.
        known: windows of earlier layers; what lies in their inner parts is known.
        clicked: whether it answers a new click of the user, in a wide patch.

    In a wide patch it has to be `LARGE`. It has to keep `KEPT` of what is known to be inside. Where nobody clicked, it
    may not find more than `SURPLUS` of that where outside is known, in windows that are at least as large. After a new
    click it may: networks begin with too little, and that is what a wide patch adds.
    """
    if windows.scale(window) > 1 and _length(windows.lattice, window, answer) < LARGE:
        return False
    positions = _positions(window, seen.shape)
    inside, outside = np.zeros(seen.shape, bool), np.zeros(seen.shape, bool)
    for earlier in known:
        decided = _in_box(positions, windows.inner(earlier))
        inside |= decided & (seen > 0)
        if windows.scale(earlier) >= windows.scale(window):
            outside |= decided & (seen <= 0)
    there = int(inside.sum())
    kept, surplus = int((inside & (answer > 0)).sum()), int((outside & (answer > 0)).sum())
    return there > 0 and kept >= KEPT * there and (clicked or surplus <= SURPLUS * there)


def _length(lattice: Lattice, window: Box, answer: Float32) -> float:
    """Length in mm of the longest edge of the box round an answer."""
    found = Box.around(answer > 0)
    if found is None:
        return 0.0
    voxel = np.array(lattice.grid.spacing) * window.shape / answer.shape
    return float((np.array(found.shape) * voxel).max())


def _positions(window: Box, shape: Sequence[int]) -> tuple[Points, Points, Points]:
    """Lattice positions of the centres of low-res voxels, along each axis."""
    a, b, c = (
        np.float64(begin) + (np.arange(n, dtype=np.float64) + 0.5) * (size / n) - 0.5
        for begin, size, n in zip(window.begin, window.shape, shape, strict=True)
    )
    return a, b, c


def _at(positions: tuple[Points, Points, Points], mask: Occupied) -> Points:
    """Lattice positions (n, 3) of the voxels of a mask."""
    return np.stack([axis[index] for axis, index in zip(positions, np.nonzero(mask), strict=True)], axis=1)


def _in_box(positions: tuple[Points, Points, Points], box: Box) -> Occupied:
    r, a, s = ((p >= b) & (p <= e - 1) for p, b, e in zip(positions, box.begin, box.end, strict=True))
    result: Occupied = r[:, None, None] & a[None, :, None] & s[None, None, :]
    return result


def _depths(lattice: Lattice, window: Box, samples: Points) -> Points:
    """How far positions lie from the nearest face of a window that lies inside the volume."""
    depth = np.full(len(samples), np.inf)
    for axis, (lower, upper) in enumerate(lattice.borders_inside(window)):
        if lower:
            depth = np.minimum(depth, samples[:, axis] - window.begin[axis])
        if upper:
            depth = np.minimum(depth, window.end[axis] - 1 - samples[:, axis])
    return depth


def _sample(position: Points) -> Index3:
    x, y, z = np.floor(position + 0.5).astype(int).tolist()
    return x, y, z


def _eroded(mask: Occupied) -> Occupied:
    """Take away voxels with a face neighbour outside; beyond the window counts as inside."""
    padded = np.pad(mask, 1, mode="edge")
    inner = (slice(1, -1),) * 3
    result = mask.copy()
    for axis in range(3):
        for shift in (1, -1):
            result &= np.roll(padded, shift, axis)[inner]
    return result
