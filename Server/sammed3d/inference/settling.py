"""Whether layers of which a part is known settle the mask that they make, and what else would have to be known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sammed3d.core.geometry import Box
from sammed3d.core.interpolation import Marked, resizing, sources_of
from sammed3d.core.mask import BoxedMask
from sammed3d.inference.answers import Bounds
from sammed3d.inference.compositing import Layer, Painted, opacity_of, painted, replaced
from sammed3d.inference.lattice import Lattice


def paint_within_bounds(
    lattice: Lattice, layers: Sequence[Layer], base: BoxedMask | None, before: BoxedMask | None
) -> tuple[BoxedMask | None, list[Marked]]:
    """Return the mask of layers of which some are known within bounds only, and the logits that would settle it.

    Every step from logits to voxels is a sum with weights that are not negative, and grows with each logit, in
    floating-point numbers too. So if the lowest and the highest logits that may be meant make the same mask, the true
    ones do. Arguments as those of `paint`.

    Returns:
        The mask, and nothing; or a mask, and marks of each layer's logits: once those are known, bounds leave no other.
    """
    region = lattice.covered(layers[-1].window)
    if region is None:
        return before, []
    lowest, highest = (
        painted(
            lattice,
            [
                layer if layer.bounds is None else replace(layer, low_res=fill(layer.bounds, layer.low_res))
                for layer in layers
            ],
            base,
        )
        for fill in (Bounds.lowest, Bounds.highest)
    )
    unsettled = _unsettled(lattice, lowest, highest)
    behind = [] if unsettled is None else _logits_behind(layers, highest.part, unsettled)
    return replaced(before, region, lowest.mask), behind


def _unsettled(lattice: Lattice, lowest: Painted, highest: Painted) -> Marked | None:
    """Mark the samples of the lattice on which it depends that the two differ; None where they do not."""
    if highest.part is None:
        return None
    marked = np.zeros(highest.part.shape, np.bool_)
    if lowest.target != highest.target:  # then the order of sums may differ too
        marked |= lowest.possible != highest.possible
    if highest.mask is not None:
        box = highest.mask.box
        voxels = highest.mask.voxels.astype(np.bool_)
        if lowest.mask is not None:
            voxels &= lowest.mask.cut(box) == 0
        sources = sources_of(voxels, lattice.painting(highest.part, box), lattice.to_file_order(marked).shape)
        marked |= lattice.to_canonical(sources)
    return marked if marked.any() else None


def _logits_behind(layers: Sequence[Layer], part: Box | None, samples: Marked) -> list[Marked]:
    """Mark of each layer the logits that samples of a part of the lattice depend on and that are not known."""
    found = [np.zeros(layer.low_res.shape, np.bool_) for layer in layers]
    visible = samples.copy()
    for n, layer in reversed(list(enumerate(layers))):
        common = part and part.intersection(layer.window)
        if part is None or common is None:
            continue
        there, here = common.within(layer.window), common.within(part)
        if layer.bounds is not None:
            weights = resizing(layer.low_res.shape, layer.window.shape, there)
            found[n] = sources_of(visible[here], weights, layer.low_res.shape) & ~layer.bounds.exact
        visible[here] &= opacity_of(layer)[there] < 1
    return found
