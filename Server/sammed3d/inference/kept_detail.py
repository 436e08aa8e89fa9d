"""What of a mask that somebody made stays as it is, voxel for voxel, when a network's answer is laid over it.

Layers are painted from logits of 2.4 mm, which know nothing finer. Of a mask that is right but for what is clicked,
only what an answer changes is painted: where some logits say the other thing than was there, in those round them, and
at a click that something contradicts. Everything else keeps its own voxels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sammed3d.core.geometry import Box
from sammed3d.core.interpolation import Marked, mean_pool
from sammed3d.core.mask import BoxedMask
from sammed3d.inference.compositing import Layer, occupancy, replaced
from sammed3d.inference.predictor import PatchClick
from sammed3d.inference.windows import Windows


def unchanged_kept(
    windows: Windows, layer: Layer, clicks: Iterable[PatchClick], before: BoxedMask, after: BoxedMask | None
) -> BoxedMask | None:
    """Return a mask with what a layer changes of the one before it, and nothing else changed.

    Args:
        windows: on the volume's lattice.
        layer: the newest; the signs of its logits have to be known, no more.
        clicks: that it answers, in voxels of its patch.
        before: the mask without it.
        after: the mask with it, painted in all of its window.
    """
    changed = _changed(windows, layer, clicks, before)
    near = Box.around(changed)
    if near is None:
        return before
    cell = np.floor_divide(layer.window.shape, layer.low_res.shape)
    a, b, c = cell.tolist()
    begin, end = np.multiply(near.begin, cell).tolist(), np.multiply(near.end, cell).tolist()
    window = Box((begin[0], begin[1], begin[2]), (end[0], end[1], end[2])).shifted(layer.window.begin)
    region = windows.lattice.covered(window)
    if region is None:
        return before
    samples = changed[near.slices].repeat(a, axis=0).repeat(b, axis=1).repeat(c, axis=2)
    painted = np.zeros(region.shape, np.uint8) if after is None else after.cut(region)
    voxels = np.where(windows.lattice.spread_nearest(window, samples, region), painted, before.cut(region))
    return replaced(before, region, BoxedMask(region, np.asfortranarray(voxels)).cropped())


def _changed(windows: Windows, layer: Layer, clicks: Iterable[PatchClick], before: BoxedMask) -> Marked:
    """Mark of a layer's logits those that say something else than was there, and those next to them."""
    i, j, k = layer.low_res.shape
    share = mean_pool(occupancy(windows.lattice, layer.window, before), (i, j, k))
    marked: Marked = (share > 0.5) != (layer.low_res > 0)
    for click in clicks:
        cell = tuple(
            int(voxel) * n // edge for voxel, n, edge in zip(click.voxel, (i, j, k), windows.shape, strict=True)
        )
        marked[cell] |= share[cell] < 1 if click.positive else share[cell] > 0
    for axis in range(3):
        lines = np.moveaxis(marked, axis, 0)
        grown = lines.copy()
        grown[1:] |= lines[:-1]
        grown[:-1] |= lines[1:]
        marked = np.moveaxis(grown, 0, axis)
    return marked
