"""Find all objects of a volume or region without a click: a grid of points, each of them a click of its own.

The region is covered by overlapping patches. Each is encoded once and decoded for all its points, in batches. Masks
that change little when their threshold moves (stable ones) and have a plausible size are kept; of several that say the
same, the most stable one. Points in a mask that was kept are not asked any more. The same object seen in two patches
overlaps where the patches do, and becomes one instance.

Source of the idea: segment-anything `automatic_mask_generator.py`, in 2-D. It ranks by the model's own score too, which
SAM-Med3D never trained.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Box, Index3
from sammed3d.core.interpolation import Float32, resize
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import Click
from sammed3d.errors import ModelError, PredictionCancelled, PromptError, VolumeError
from sammed3d.files.volume import Volume
from sammed3d.inference.blobs import blobs, contrast, parts
from sammed3d.inference.compositing import MARGIN, Layer, paint
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import Patch, cut_patch
from sammed3d.inference.predictor import PatchClick
from sammed3d.inference.preset import Preset

Progress = Callable[[int, int], None]
CLEAR = 2.0
"""Contrast from which on an object stands out clearly; below it, it ranks lower."""


class EachPredictor(Protocol):
    """A predictor that answers many single clicks on one patch at once; see `TorchPredictor.predict_each`."""

    @property
    def name(self) -> str: ...

    @property
    def preset(self) -> Preset: ...

    def predict_each(
        self, patch: Patch, clicks: Sequence[PatchClick], passes: int, cancellation: Cancellation | None
    ) -> Float32: ...


@dataclass(frozen=True)
class AutomaticSettings:
    """What counts as an object.

    Attributes:
        distance: between neighbouring points of the grid, mm; objects much smaller than that are missed.
        stability: smallest share of the voxels above -`offset` that is above +`offset` too.
        offset: in logits.
        smallest: volume in ml.
        largest: volume in ml.
        overlap: intersection over union from which on two masks are the same object.
        passes: how often a point is decoded; the second time, with the first answer as mask prompt, masks are steadier.
        batch: points that are decoded together.
        contrast: how much an object has to stand out from its surroundings at least; see `blobs.contrast`.
        blobs: how many blobs of a patch are asked about, before the points of the grid.
        split: whether masks are taken apart at thin necks.

    Stability and offset suit the default model. Models with steeper logits, as SAM's, allow 0.9 at 1.0.

    Raises:
        PromptError: a value makes no sense.
    """

    distance: float = 12.0
    stability: float = 0.6
    offset: float = 0.5
    smallest: float = 0.1
    largest: float = math.inf
    overlap: float = 0.5
    passes: int = 2
    batch: int = 16
    contrast: float = 0.0
    blobs: int = 24
    split: bool = True

    def __post_init__(self) -> None:
        if self.distance <= 0 or self.offset <= 0 or min(self.batch, self.passes) < 1:
            raise PromptError("Distance, offset, passes and batch must be above 0.")
        if not (0 <= self.stability <= 1 and 0 < self.overlap < 1):
            raise PromptError("Stability and overlap are shares between 0 and 1.")
        if self.smallest > self.largest:
            raise PromptError(f"The smallest volume, {self.smallest} ml, is above the largest, {self.largest} ml.")


@dataclass(frozen=True, eq=False)
class Instance:
    """An object that was found.

    Attributes:
        mask: on the volume's grid.
        click: the point whose mask was the most stable one.
        stability: of that mask, 0..1.
        volume_ml: its size.
        contrast: how much it stands out; see `blobs.contrast`.
    """

    mask: BoxedMask
    click: Click
    stability: float
    volume_ml: float
    contrast: float = 0.0


class AutomaticMaskGenerator:
    """Find all objects that a 3-D model sees.

    Args:
        predictor: the model.
        settings: what counts as an object.

    Raises:
        ModelError: the model works slice by slice.

    Example:
        >>> nodules = AutomaticSettings(distance=6, smallest=0.03, largest=15)
        >>> for instance in AutomaticMaskGenerator(predictor, nodules).generate(volume, lungs): ...
    """

    def __init__(self, predictor: EachPredictor, settings: AutomaticSettings | None = None) -> None:
        if predictor.preset.by_slice:
            raise ModelError(f"{predictor.name}: works slice by slice. Objects are found with 3-D models only.")
        self._predictor = predictor
        self.settings = settings or AutomaticSettings()

    def generate(
        self,
        volume: Volume,
        region: npt.NDArray[np.generic] | None = None,
        progress: Progress | None = None,
        cancellation: Cancellation | None = None,
        keep: bool = False,
    ) -> list[Instance]:
        """Return the objects, the most stable of those that stand out first.

        Args:
            volume: the image.
            region: mask (I, J, K): points are set where it is not 0; None for the whole volume.
            progress: called with the points done and their number.
            cancellation: stops the search.
            keep: whether a search that was stopped returns what it found so far.

        Raises:
            VolumeError: the region has another shape, or no point of the grid falls into it.
            PredictionCancelled: `cancellation` was used, and `keep` not.
        """
        if region is not None and region.shape != volume.grid.shape:
            raise VolumeError(f"The region's shape {region.shape} is not the volume's {volume.grid.shape}.")
        lattice = Lattice(volume.grid, self._predictor.preset.spacing)
        points = self._points(lattice, volume, region)
        if not points:
            raise VolumeError("No point of the grid falls into the region. Choose a smaller distance.")
        found: list[_Found] = []
        done = 0

        def is_wanted(point: Index3) -> bool:
            return bool(_inside(lattice, volume, region, [point])[0])

        try:
            for window, inside in _windows(lattice, self._predictor.preset.patch_shape, points):
                if cancellation is not None:
                    cancellation.enter("cut")
                done += len(inside)

                def still_to_ask(count: int, so_far: int = done) -> None:
                    if progress is not None:
                        progress(so_far - count, len(points))

                for candidate in self._candidates(
                    volume, lattice, window, inside, cancellation, still_to_ask, is_wanted
                ):
                    _merge(found, candidate, self.settings.overlap)
                still_to_ask(0)
        except PredictionCancelled:
            if not keep:
                raise
        instances = [self._instance(volume, lattice, each) for each in found]
        kept = (each for each in instances if each is not None and self._is_plausible(each.volume_ml))
        return sorted(kept, key=lambda each: -each.stability * min(1.0, each.contrast / CLEAR))

    def _points(
        self, lattice: Lattice, volume: Volume, region: npt.NDArray[np.generic] | None
    ) -> list[tuple[int, int, int]]:
        """Place the grid of points, in lattice samples, centred in the volume."""
        axes = []
        for size, spacing in zip(lattice.shape, self._predictor.preset.spacing, strict=True):
            step = max(1, round(self.settings.distance / spacing))
            axes.append(range(((size - 1) % step) // 2, size, step))
        points = list(itertools.product(axes[0], axes[1], axes[2]))
        inside = _inside(lattice, volume, region, points)
        return [point for point, is_inside in zip(points, inside, strict=True) if is_inside]

    def _candidates(
        self,
        volume: Volume,
        lattice: Lattice,
        window: Box,
        points: list[Index3],
        cancellation: Cancellation | None,
        still_to_ask: Callable[[int], None],
        is_wanted: Callable[[Index3], bool],
    ) -> Iterator[_Found]:
        """Yield the masks of a patch that are worth keeping, each of them once, most stable first.

        What a cancelled search has of the patch is yielded before it ends.
        """
        try:
            patch = cut_patch(volume, lattice, window, self._predictor.preset)
        except VolumeError:  # nothing is in this patch: air, or padding
            return
        chosen: list[_Candidate] = []
        waiting = [points[n] for n in np.random.default_rng(0).permutation(len(points))]  # neighbours in other batches
        inner = window.intersection(Box((0, 0, 0), lattice.shape)) or window  # padding has edges, which are no blobs
        spots = blobs(patch.voxels[inner.within(window)], self._predictor.preset.spacing, self.settings.blobs)
        waiting = [p for p in (_shifted(spot, inner) for spot in spots) if is_wanted(p)] + waiting
        stopped: PredictionCancelled | None = None
        while waiting:
            batch, waiting = waiting[: self.settings.batch], waiting[self.settings.batch :]
            clicks = [PatchClick(_within(point, window), True) for point in batch]
            try:
                answers = self._predictor.predict_each(patch, clicks, self.settings.passes, cancellation)
            except PredictionCancelled as error:
                stopped = error
                break
            for point, low_res in zip(batch, answers, strict=True):
                candidate = self._judge(point, window, low_res)
                if candidate is not None:
                    _choose(chosen, candidate, self.settings.overlap)
            known = [c for c in chosen if not c.too_large]
            waiting = [point for point in waiting if not any(c.holds(point, window) for c in known)]
            still_to_ask(len(waiting))
        for candidate in chosen:
            if candidate.too_large:
                whole = BoxedMask.of(resize(candidate.low_res, window.shape) > 0)
                if whole is not None:
                    yield _Found.too_large_to_keep(candidate, window, whole)
                continue
            for low_res in self._parts(candidate.low_res, window):
                inside = resize(low_res, window.shape) > 0
                shape = BoxedMask.of(inside)
                if shape is None:
                    continue
                step = contrast(patch.voxels, inside, shape.box)
                if step >= self.settings.contrast:
                    placed = BoxedMask(shape.box.shifted(window.begin), shape.voxels)
                    point = candidate.point if inside[_index(candidate.point, window)] else _deepest(low_res, window)
                    yield _Found(point, candidate.stability, [_Seen(window, low_res, placed)], step)
        if stopped is not None:
            raise stopped

    def _parts(self, low_res: Float32, window: Box) -> Iterator[Float32]:
        """Yield logits as they are, or several where their mask has thin necks."""
        inside = low_res > 0
        size = [s * n / m for s, n, m in zip(self._predictor.preset.spacing, window.shape, inside.shape, strict=True)]
        pieces = parts(inside, (size[0], size[1], size[2])) if self.settings.split else [inside]
        for piece in pieces:
            yield np.where(inside & ~piece, -np.abs(low_res), low_res).astype(np.float32)

    def _judge(self, point: Index3, window: Box, low_res: Float32) -> _Candidate | None:
        """Return the mask of a point if it is stable, not too small, and about that point."""
        inside = low_res > 0
        if not inside[_cell(point, window, inside.shape)]:
            return None
        loose = int(np.count_nonzero(low_res > -self.settings.offset))
        stability = int(np.count_nonzero(low_res > self.settings.offset)) / max(1, loose)
        voxel_ml = math.prod(window.shape) / inside.size * math.prod(self._predictor.preset.spacing) / 1000
        size = np.count_nonzero(inside) * voxel_ml
        if stability < self.settings.stability or size < self.settings.smallest - 2 * voxel_ml:
            return None
        too_large = bool(size > 2 * self.settings.largest)  # surely: what is less counts at its final size
        return _Candidate(point, float(stability), low_res.copy(), inside, too_large)

    def _instance(self, volume: Volume, lattice: Lattice, found: _Found) -> Instance | None:
        """Paint what was found at the volume's own resolution."""
        if found.too_large:
            return None
        mask: BoxedMask | None = None
        layers: list[Layer] = []
        for n, seen in enumerate(found.seen):
            layers.append(Layer(seen.window, seen.low_res, soft=n > 0))
            mask = paint(lattice, layers, None, mask)
        if mask is None:
            return None
        size = int(np.count_nonzero(mask.voxels)) * volume.grid.voxel_volume / 1000
        r, a, s = lattice.grid.to_world(found.point).tolist()
        return Instance(mask, Click((r, a, s)), found.stability, size, found.contrast)

    def _is_plausible(self, volume_ml: float) -> bool:
        return self.settings.smallest <= volume_ml <= self.settings.largest


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A mask of one point in one patch."""

    point: Index3
    stability: float
    low_res: Float32
    inside: npt.NDArray[np.bool_]
    too_large: bool

    def holds(self, point: Index3, window: Box) -> bool:
        """Whether a point lies in the mask."""
        return bool(self.inside[_cell(point, window, self.inside.shape)])


@dataclass(frozen=True, eq=False)
class _Seen:
    """An object in one patch: low-res logits, and the mask in samples of the lattice."""

    window: Box
    low_res: Float32
    mask: BoxedMask


@dataclass(eq=False)
class _Found:
    """An object, as one patch or several show it.

    What is too large in one patch may look small in the next, where only its end lies: such objects are followed to the
    last patch and left out then.
    """

    point: Index3
    stability: float
    seen: list[_Seen]
    contrast: float
    too_large: bool = False

    @classmethod
    def too_large_to_keep(cls, candidate: _Candidate, window: Box, mask: BoxedMask) -> _Found:
        placed = BoxedMask(mask.box.shifted(window.begin), mask.voxels)
        seen = [_Seen(window, candidate.low_res, placed)]
        return cls(candidate.point, candidate.stability, seen, contrast=0.0, too_large=True)


def _choose(chosen: list[_Candidate], new: _Candidate, overlap: float) -> None:
    """Add a mask of a patch, or let it take the place of less stable ones of the same object."""
    same = [c for c in chosen if _iou(c.inside, new.inside) > overlap]
    if all(c.stability < new.stability for c in same):
        chosen[:] = [c for c in chosen if c not in same] + [new]


def _merge(found: list[_Found], new: _Found, overlap: float) -> None:
    """Add an object of a further patch; those that look like it where the patches overlap are parts of the same one."""
    known_parts = [known for known in found if any(_same(a, b, overlap) for a in known.seen for b in new.seen)]
    best = max([new, *known_parts], key=lambda part: part.stability)
    found[:] = [known for known in found if known not in known_parts]
    seen = [each for part in (*known_parts, new) for each in part.seen]
    too_large = any(part.too_large for part in (*known_parts, new))
    found.append(_Found(best.point, best.stability, seen, best.contrast, too_large))


def _same(one: _Seen, other: _Seen, overlap: float) -> bool:
    common = one.window.intersection(other.window)
    if common is None or one.window == other.window or one.mask.box.intersection(other.mask.box) is None:
        return False
    return _iou(one.mask.cut(common) > 0, other.mask.cut(common) > 0) > overlap


def _iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0


def _windows(lattice: Lattice, shape: Index3, points: list[Index3]) -> Iterator[tuple[Box, list[Index3]]]:
    """Cover the lattice with overlapping windows; yields those that have points, each point in its best window."""
    starts = [_starts(size, n) for size, n in zip(lattice.shape, shape, strict=True)]
    inside: dict[Index3, list[Index3]] = {}
    for point in points:
        a, b, c = (
            begins[int(np.argmin(np.abs(p - n / 2 - np.array(begins))))]
            for p, n, begins in zip(point, shape, starts, strict=True)
        )
        inside.setdefault((a, b, c), []).append(point)
    for begin in sorted(inside):
        yield Box((0, 0, 0), shape).shifted(begin), inside[begin]


def _starts(size: int, window: int) -> list[int]:
    """Return where windows begin along an axis: they overlap by the part in which layers fade."""
    if size <= window:
        return [-math.ceil((window - size) / 2)]
    count = math.ceil((size - window) / max(1, window - 2 * MARGIN)) + 1
    return [round(n * (size - window) / (count - 1)) for n in range(count)]


def _inside(
    lattice: Lattice, volume: Volume, region: npt.NDArray[np.generic] | None, points: Sequence[Index3]
) -> npt.NDArray[np.bool_]:
    """Tell which lattice samples lie in the volume, and in the region if there is one."""
    places = np.array(points).reshape(-1, 3)
    within: npt.NDArray[np.bool_] = np.logical_and.reduce((places >= 0) & (places < lattice.shape), axis=1)
    if region is None:
        return within
    index = np.rint(volume.grid.to_index(lattice.grid.to_world(places))).astype(int)
    i, j, k = np.clip(index, 0, np.array(volume.grid.shape) - 1).T
    wanted: npt.NDArray[np.bool_] = within & (region[i, j, k] != 0)
    return wanted


def _shifted(voxel: Index3, window: Box) -> Index3:
    i, j, k = (v + begin for v, begin in zip(voxel, window.begin, strict=True))
    return i, j, k


def _index(point: Index3, window: Box) -> Index3:
    i, j, k = (p - begin for p, begin in zip(point, window.begin, strict=True))
    return i, j, k


def _deepest(low_res: Float32, window: Box) -> Index3:
    """Return the lattice sample where logits are highest."""
    place = np.unravel_index(int(np.argmax(low_res)), low_res.shape)
    i, j, k = (
        int((v + 0.5) * n / m) + b for v, n, m, b in zip(place, window.shape, low_res.shape, window.begin, strict=True)
    )
    return i, j, k


def _within(point: Index3, window: Box) -> tuple[float, float, float]:
    a, b, c = (float(p - begin) for p, begin in zip(point, window.begin, strict=True))
    return a, b, c


def _cell(point: Index3, window: Box, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the low-res voxel of a lattice sample."""
    within = _within(point, window)
    return tuple(int(v * m / n) for v, n, m in zip(within, window.shape, shape, strict=True))
