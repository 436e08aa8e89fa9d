"""Masks of which only the box that holds something is stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import Box, Index3

Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class BoxedMask:
    """A binary mask of which only a box is stored; all voxels outside the box are 0.

    Attributes:
        box: box of volume voxels (I, J, K).
        voxels: uint8 0/1, shape of the box.
    """

    box: Box
    voxels: Mask

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of box and voxels."""
        head = repr((self.box.begin, self.box.end)).encode()
        return hashlib.sha256(head + self.voxels.tobytes("F")).hexdigest()

    @classmethod
    def of(cls, mask: npt.NDArray[np.generic]) -> BoxedMask | None:
        """Store the bounding box of a whole mask; None for an empty one."""
        box = Box.around(mask)
        return None if box is None else cls(box, np.asfortranarray(mask[box.slices] != 0).astype(np.uint8))

    def full(self, shape: Index3) -> Mask:
        """Return the mask of the whole grid, uint8 (I, J, K)."""
        result = np.zeros(shape, np.uint8, order="F")
        result[self.box.slices] = self.voxels
        return result

    def cropped(self) -> BoxedMask | None:
        """Return this mask in the smallest box that holds it; None if it is empty."""
        inner = Box.around(self.voxels)
        return None if inner is None else BoxedMask(inner.shifted(self.box.begin), self.voxels[inner.slices])

    def cut(self, box: Box) -> Mask:
        """Return the mask in any box."""
        result = np.zeros(box.shape, np.uint8, order="F")
        common = box.intersection(self.box)
        if common is not None:
            result[common.within(box)] = self.voxels[common.within(self.box)]
        return result


def changed_box(before: BoxedMask | None, after: BoxedMask | None) -> Box | None:
    """Return the smallest box of voxels in which two masks differ; None where they are equal."""
    boxes = [m.box for m in (before, after) if m is not None]
    if not boxes:
        return None
    union = boxes[0].union(boxes[-1])
    old, new = (m.cut(union) if m is not None else np.zeros(union.shape, np.uint8) for m in (before, after))
    found = Box.around(old != new)
    return None if found is None else found.shifted(union.begin)


def millilitres(volume: float) -> str:
    """Return a volume (ml) in words, so that also that of a nodule can be told: "253.5 ml", "1.25 ml", "0.034 ml"."""
    digits = 1 if volume >= 10 else 3 if 0 < volume < 0.1 else 2
    return f"{volume:.{digits}f} ml"
