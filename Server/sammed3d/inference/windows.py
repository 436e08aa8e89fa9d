"""Windows: boxes of a lattice that patches are cut from, as large as a patch, nearly twice, or twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sammed3d.core.geometry import Box, Index3
from sammed3d.core.prompts import BoxPrompt
from sammed3d.inference.answers import Fading
from sammed3d.inference.compositing import MARGIN
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.predictor import PatchBox, PatchClick

WIDE = 2
"""How many times the edge of a patch a wide patch has that an object is followed into."""
ROUND_FIRST_CLICK = 1.875
"""How many times that which is looked at round a first click has; measured, see docs/model-card.md."""


@dataclass(frozen=True)
class Windows:
    """Windows on a lattice, for patches of a shape and wide ones.

    Attributes:
        lattice: the volume's.
        shape: samples of a patch that is not wide.
    """

    lattice: Lattice
    shape: Index3

    def scale(self, window: Box) -> float:
        """How many times the edge of a patch a window has: 1, `ROUND_FIRST_CLICK` or `WIDE`."""
        return window.shape[0] / self.shape[0]

    def margin(self, window: Box) -> int:
        """Over how many samples a window's layer fades."""
        return round(MARGIN * self.scale(window))

    def fading(self, window: Box) -> Fading:
        """How a window's layer fades where it is laid over others."""
        return Fading(self.lattice.borders_inside(window), self.margin(window))

    def inner(self, window: Box) -> Box:
        """Return the part of a window that is not in the margin of those of its faces that lie inside the volume."""
        faces, margin = self.lattice.borders_inside(window), self.margin(window)
        begin = [b + (margin if lower else 0) for b, (lower, _) in zip(window.begin, faces, strict=True)]
        end = [e - (margin if upper else 0) for e, (_, upper) in zip(window.end, faces, strict=True)]
        return Box((begin[0], begin[1], begin[2]), (end[0], end[1], end[2]))

    def is_inner(self, window: Box, sample: Index3) -> bool:
        """Whether a sample lies in the inner part of a window."""
        part = self.inner(window)
        return all(b <= s < e for s, b, e in zip(sample, part.begin, part.end, strict=True))

    def shows_all(self, window: Box) -> bool:
        """Whether no face of a window lies inside the volume."""
        return not any(lower or upper for lower, upper in self.lattice.borders_inside(window))

    def wide_at(self, sample: Index3, times: float = WIDE) -> Box:
        """Return the window round a sample with so many times the edge of a patch."""
        a, b, c = (round(times * n) for n in self.shape)
        return self.lattice.window_at(self.lattice.grid.to_world(sample).tolist(), (a, b, c))

    def known(self, looked_at: Sequence[Box], sample: Index3, shape: Index3) -> Box | None:
        """Return the first of some windows that is of a shape and has a sample in its inner part; None if none is."""
        same = (window for window in looked_at if window.shape == shape)
        return next((window for window in same if self.is_inner(window, sample)), None)

    def click(self, window: Box, sample: Index3, positive: bool) -> PatchClick:
        """Return a click at a lattice sample as one in voxels of a window's patch."""
        scale = self.scale(window)
        x, y, z = (float((s - b) // scale) for s, b in zip(sample, window.begin, strict=True))
        return PatchClick((x, y, z), positive)

    def box(self, window: Box, box: BoxPrompt) -> PatchBox:
        """Return a box as one in voxels of a window's patch; what of it lies outside of that is cut off."""
        samples = np.rint(self.lattice.grid.to_index(box.corners)) - window.begin
        inside = np.clip(samples, 0, np.array(window.shape) - 1)
        (a, b, c), (d, e, f) = inside.min(axis=0).tolist(), inside.max(axis=0).tolist()
        return PatchBox((a, b, c), (d, e, f))

    def clicks_in(self, window: Box, clicks: Iterable[tuple[Index3, bool]]) -> tuple[PatchClick, ...]:
        """Return those of some clicks (lattice sample and polarity) that lie in a window, in voxels of its patch."""
        return tuple(
            self.click(window, sample, positive)
            for sample, positive in clicks
            if all(b <= s < e for s, b, e in zip(sample, window.begin, window.end, strict=True))
        )
