"""Objects that a search without clicks found: which masks are the same one, within a patch and across patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import Box, Index3
from sammed3d.core.interpolation import Float32
from sammed3d.core.mask import BoxedMask
from sammed3d.inference.search_windows import low_res_voxel


@dataclass(frozen=True, eq=False)
class Candidate:
    """A mask of one point in one patch.

    Attributes:
        point: sample of the lattice that was asked about.
        stability: share of the mask that stays when its threshold moves, 0..1.
        low_res: logits of the patch.
        inside: where they are above 0.
        too_large: whether it is larger than what is looked for.
    """

    point: Index3
    stability: float
    low_res: Float32
    inside: npt.NDArray[np.bool_]
    too_large: bool

    def holds(self, point: Index3, window: Box) -> bool:
        """Whether a point lies in the mask."""
        return bool(self.inside[low_res_voxel(point, window, self.inside.shape)])


@dataclass(frozen=True, eq=False)
class Seen:
    """An object in one patch.

    Attributes:
        window: box of the patch, in samples of the lattice.
        low_res: its logits of the object.
        mask: the object, in samples of the lattice.
    """

    window: Box
    low_res: Float32
    mask: BoxedMask


@dataclass(eq=False)
class Found:
    """An object, as one patch or several show it.

    What is too large in one patch may look small in the next, where only its end lies: such objects are followed to the
    last patch and left out then.

    Attributes:
        point: sample of the lattice whose mask was the most stable one.
        stability: stability of that mask, 0..1.
        seen: the object in each patch that shows it.
        contrast: see `blobs.contrast`.
        too_large: see `Candidate`.
    """

    point: Index3
    stability: float
    seen: list[Seen]
    contrast: float
    too_large: bool = False

    @classmethod
    def too_large_to_keep(cls, candidate: Candidate, window: Box, mask: BoxedMask) -> Found:
        """Return what a candidate that is too large is remembered by; `mask` is in the patch's own samples."""
        placed = BoxedMask(mask.box.shifted(window.begin), mask.voxels)
        seen = [Seen(window, candidate.low_res, placed)]
        return cls(candidate.point, candidate.stability, seen, contrast=0.0, too_large=True)


def stability(low_res: Float32, offset: float) -> float:
    """Return the share of the voxels above -`offset` that is above +`offset` too: how little the threshold matters."""
    loose = int(np.count_nonzero(low_res > -offset))
    return int(np.count_nonzero(low_res > offset)) / max(1, loose)


def choose(chosen: list[Candidate], new: Candidate, overlap: float) -> None:
    """Add a mask of a patch, or let it take the place of less stable ones of the same object."""
    same = [c for c in chosen if iou(c.inside, new.inside) > overlap]
    if all(c.stability < new.stability for c in same):
        chosen[:] = [c for c in chosen if c not in same] + [new]


def merge(found: list[Found], new: Found, overlap: float) -> None:
    """Add an object of a further patch; those that look like it where the patches overlap are parts of the same one."""
    known_parts = [known for known in found if any(_same(a, b, overlap) for a in known.seen for b in new.seen)]
    best = max([new, *known_parts], key=lambda part: part.stability)
    found[:] = [known for known in found if known not in known_parts]
    seen = [each for part in (*known_parts, new) for each in part.seen]
    too_large = any(part.too_large for part in (*known_parts, new))
    found.append(Found(best.point, best.stability, seen, best.contrast, too_large))


def _same(one: Seen, other: Seen, overlap: float) -> bool:
    common = one.window.intersection(other.window)
    if common is None or one.window == other.window or one.mask.box.intersection(other.mask.box) is None:
        return False
    return iou(one.mask.cut(common) > 0, other.mask.cut(common) > 0) > overlap


def iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Return the intersection over union of two masks of one shape; 0 if both are empty, and so no object."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0
