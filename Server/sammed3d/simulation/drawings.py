"""A simulated user who draws: strokes, loops and boxes, with a hand that is not exact, and the time that it takes.

Where next: into the largest error, as `clicks.next_click` does it. Slices are those across the axis of the volume whose
voxels are longest, which is how volumes are read.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sammed3d.core.drawings import Drawing, Lasso, Scribble
from sammed3d.core.geometry import Float64, Grid
from sammed3d.core.prompts import BoxPrompt
from sammed3d.simulation.clicks import next_click

Mask = npt.NDArray[np.generic]
Pixels = npt.NDArray[np.bool_]

SECONDS_A_CLICK = 2.4
"""Of an annotator, with looking (Bearman et al., What's the Point, ECCV 2016)."""
STROKE_SPEED, LOOP_SPEED = 50.0, 25.0
"""mm of the object in a second: free, and along an edge. Assumed: twice that of the hand, at a magnification of two."""
BOX_CLICKS = 4
"""Two corners in one view, two ends in another."""
INNER = 0.7
"""The share of an object's length that a stroke runs along: nobody draws up to the edge."""
HAND = 1.0
"""Standard deviation of a loop from the edge that it follows, in mm."""
CORNER = 3.0
"""mm from one point of a loop to the next."""


def scribble_for(mask: Mask, truth: Mask, grid: Grid) -> Scribble | None:
    """Draw a stroke along the middle of the largest error, in the slice in which that error is deepest.

    Arguments as those of `clicks.next_click`. Returns None if there is no error.
    """
    found = _error_in_slice(mask, truth, grid)
    if found is None:
        return None
    region, (axis, level), positive = found
    spacing = np.delete(np.array(grid.spacing), axis)
    pixels = np.argwhere(region) * spacing
    middle = pixels.mean(axis=0)
    along = np.linalg.eigh(np.cov((pixels - middle).T, ddof=0) if len(pixels) > 1 else np.eye(2))[1][:, 1]
    places = (pixels - middle) @ along
    step = float(spacing.max())
    bins = np.rint(places / step).astype(int)
    centres = {int(b): pixels[bins == b].mean(axis=0) for b in np.unique(bins)}
    start = min(centres, key=abs)
    reach = INNER * np.ptp(places) / 2
    line = [centres[start]]
    for way in (-1, 1):
        b = start + way
        while b in centres and abs(b * step) <= reach and region[tuple(np.rint(centres[b] / spacing).astype(int))]:
            line.insert(0, centres[b]) if way < 0 else line.append(centres[b])
            b += way
    return Scribble(_lifted(np.array(line) / spacing, axis, level, grid), positive)


def lasso_for(mask: Mask, truth: Mask, grid: Grid, rng: np.random.RandomState) -> Lasso | None:
    """Draw a loop round the largest error, in the slice in which that error is deepest. Needs scikit-image.

    Arguments as those of `clicks.next_click`, and NumPy's legacy generator for the hand. Returns None if there is no
    error.
    """
    from skimage.measure import find_contours  # noqa: PLC0415 - the extra [evaluate]

    found = _error_in_slice(mask, truth, grid)
    if found is None:
        return None
    region, (axis, level), positive = found
    spacing = np.delete(np.array(grid.spacing), axis)
    contours = find_contours(np.pad(region, 1).astype(float), 0.5)  # type: ignore[no-untyped-call]
    edge = max(contours, key=len)[:-1] - 1
    steps = np.linalg.norm(np.diff(edge, axis=0, append=edge[:1]) * spacing, axis=1)
    corners = max(6, round(steps.sum() / CORNER))
    at = np.searchsorted(np.cumsum(steps), np.arange(corners) * steps.sum() / corners)
    hand = rng.normal(scale=HAND, size=(corners, 2))
    smooth = (np.roll(hand, 1, axis=0) + hand + np.roll(hand, -1, axis=0)) / math.sqrt(3)
    return Lasso(_lifted(edge[at.clip(0, len(edge) - 1)] + smooth / spacing, axis, level, grid), positive)


def box_for(truth: Mask, grid: Grid, rng: np.random.RandomState) -> BoxPrompt:
    """Draw a box round a structure, each face a little outside of it.

    Args:
        truth: the structure (I, J, K), not empty.
        grid: its grid.
        rng: NumPy's legacy generator for the hand.
    """
    world = grid.to_world(np.argwhere(truth != 0))
    half = np.abs(grid.index_to_world[:3, :3]).sum(axis=1) / 2
    low = world.min(axis=0) - half - np.abs(rng.normal(scale=2 * HAND, size=3))
    high = world.max(axis=0) + half + np.abs(rng.normal(scale=2 * HAND, size=3))
    (a, b, c), (d, e, f) = low.tolist(), high.tolist()
    return BoxPrompt((a, b, c), (d, e, f))


def seconds_of(prompt: Drawing | BoxPrompt) -> float:
    """Return the time (s) that drawing takes."""
    if isinstance(prompt, BoxPrompt):
        return BOX_CLICKS * SECONDS_A_CLICK
    line = prompt.array if isinstance(prompt, Scribble) else np.vstack([prompt.array, prompt.array[:1]])
    speed = STROKE_SPEED if isinstance(prompt, Scribble) else LOOP_SPEED
    return SECONDS_A_CLICK + float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum()) / speed


def clicks_in(seconds: float) -> int:
    """Return how many clicks a user makes in some time, rounded to the nearest number; at least one."""
    return max(1, round(seconds / SECONDS_A_CLICK))


def _error_in_slice(mask: Mask, truth: Mask, grid: Grid) -> tuple[Pixels, tuple[int, int], bool] | None:
    """Return the connected error in the slice of the deepest place, the slice's axis and number, and its kind."""
    from scipy.ndimage import label  # noqa: PLC0415 - the extra [evaluate]

    click = next_click(mask, truth, grid)
    if click is None:
        return None
    index = np.rint(grid.to_index(click.world)).astype(int)
    axis = int(np.argmax(np.array(grid.spacing) - 1e-6 * np.array([2, 1, 0])))
    error = (truth != 0) & (mask == 0) if click.positive else (truth == 0) & (mask != 0)
    regions = label(np.take(error, index[axis], axis=axis), np.ones((3, 3)))[0]
    return regions == regions[tuple(np.delete(index, axis))], (axis, int(index[axis])), click.positive


def _lifted(pixels: Float64, axis: int, level: int, grid: Grid) -> tuple[tuple[float, float, float], ...]:
    """Return places in a slice as points in the world."""
    index = np.insert(pixels, axis, level, axis=1)
    return tuple((r, a, s) for r, a, s in grid.to_world(index).tolist())
