"""Find all objects of a volume or region without a click: a grid of points, each of them a click of its own.

The region is covered by overlapping patches. Each is encoded once and decoded for all its points, in batches. Masks
that change little when their threshold moves (stable ones) and have a plausible size are kept; of several that say the
same, the most stable one. Points in a mask that was kept are not asked any more. The same object seen in two patches
overlaps where the patches do, and becomes one instance.

Source of the idea: segment-anything `automatic_mask_generator.py`, in 2-D. It ranks by the model's own score too, which
SAM-Med3D never trained.
"""

from __future__ import annotations

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
from sammed3d.inference.compositing import Layer, paint
from sammed3d.inference.found_objects import Candidate, Found, Seen, choose, iou, merge, stability
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import Patch, cut_patch
from sammed3d.inference.predictor import PatchClick
from sammed3d.inference.preset import Preset
from sammed3d.inference.search_windows import are_inside, deepest, low_res_voxel, sample_of, voxel_of, windows
from sammed3d.inference.windows import Windows

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
        offset: change of the threshold by which stability is measured, in logits.
        smallest: volume in ml.
        largest: volume in ml.
        overlap: intersection over union from which on two masks are the same object.
        passes: number of decoder passes for a point; a second one, with the first answer as mask prompt, steadies
            masks.
        batch: points that are decoded together.
        contrast: least contrast of an object with its surroundings; see `blobs.contrast`.
        blobs: number of blobs of a patch that are asked about, before the points of the grid.
        split: whether masks are taken apart at thin necks.

    Stability and offset suit the default model. Models with steeper logits, as SAM's, allow 0.9 at 1.0.

    Raises:
        PromptError: a value makes no sense.
    """

    distance: float = 12.0
    stability: float = 0.55
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
        # each asked so that NaN, which compares with nothing, is refused too
        if not (0 < self.distance < math.inf and 0 < self.offset < math.inf) or min(self.batch, self.passes) < 1:
            raise PromptError("Distance, offset, passes and batch must be numbers above 0.")
        if not (0 <= self.stability <= 1 and 0 < self.overlap < 1):
            raise PromptError("Stability and overlap are shares between 0 and 1.")
        if math.isnan(self.smallest + self.largest + self.contrast):
            raise PromptError("Smallest and largest volume and the least contrast have to be numbers.")
        if self.smallest > self.largest:
            raise PromptError(f"The smallest volume, {self.smallest} ml, is above the largest, {self.largest} ml.")


@dataclass(frozen=True, eq=False)
class Instance:
    """An object that was found.

    Attributes:
        mask: the object's mask on the volume's grid.
        click: the point whose mask was the most stable one.
        stability: stability of that mask, 0..1.
        volume_ml: its size.
        contrast: its contrast with its surroundings; see `blobs.contrast`.
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
        settings: the settings that decide what counts as an object.

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
        found: list[Found] = []
        done = 0

        def is_wanted(point: Index3) -> bool:
            return bool(are_inside(lattice, volume, region, [point])[0])

        try:
            for window, inside in windows(lattice, self._predictor.preset.patch_shape, points):
                if cancellation is not None:
                    cancellation.enter("cut")
                done += len(inside)

                def still_to_ask(count: int, so_far: int = done, here: int = len(inside)) -> None:
                    if progress is not None:  # blobs, which are asked about too, are no points of the grid
                        progress(so_far - min(count, here), len(points))

                for candidate in self._candidates(
                    volume, lattice, window, inside, cancellation, still_to_ask, is_wanted
                ):
                    merge(found, candidate, self.settings.overlap)
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
        points: list[Index3] = []
        for first in axes[0]:  # plane by plane: of a fine grid in a long volume only what lies in the region is kept
            plane = np.stack(np.meshgrid([first], axes[1], axes[2], indexing="ij"), axis=-1).reshape(-1, 3)
            points += ((r, a, s) for r, a, s in plane[are_inside(lattice, volume, region, plane)].tolist())
        return points

    def _candidates(
        self,
        volume: Volume,
        lattice: Lattice,
        window: Box,
        points: list[Index3],
        cancellation: Cancellation | None,
        still_to_ask: Callable[[int], None],
        is_wanted: Callable[[Index3], bool],
    ) -> Iterator[Found]:
        """Yield the masks of a patch that are worth keeping, each of them once, most stable first.

        What a cancelled search has of the patch is yielded before it ends.
        """
        try:
            patch = cut_patch(volume, lattice, window, self._predictor.preset)
        except VolumeError:  # nothing is in this patch: air, or padding
            return
        spread = [points[n] for n in np.random.default_rng(0).permutation(len(points))]  # neighbours in other batches
        inner = window.intersection(Box((0, 0, 0), lattice.shape)) or window  # padding has edges, which are no blobs
        spots = blobs(patch.voxels[inner.within(window)], self._predictor.preset.spacing, self.settings.blobs)
        waiting = [p for p in (sample_of(spot, inner) for spot in spots) if is_wanted(p)] + spread
        chosen: list[Candidate] = []
        stopped: PredictionCancelled | None = None
        try:
            for left in self._asked(patch, window, waiting, chosen, cancellation):
                still_to_ask(left)
        except PredictionCancelled as error:
            stopped = error
        yield from self._kept(patch, window, chosen)
        if stopped is not None:
            raise stopped

    def _asked(
        self,
        patch: Patch,
        window: Box,
        waiting: list[Index3],
        chosen: list[Candidate],
        cancellation: Cancellation | None,
    ) -> Iterator[int]:
        """Ask the model about points, batch by batch; after each, yield how many are left.

        What is good enough is added to `chosen`; of points that lie in that, no more is asked.
        """
        while waiting:
            batch, waiting = waiting[: self.settings.batch], waiting[self.settings.batch :]
            clicks = [PatchClick(voxel_of(point, window), True) for point in batch]
            answers = self._predictor.predict_each(patch, clicks, self.settings.passes, cancellation)
            for point, low_res in zip(batch, answers, strict=True):
                candidate = self._judge(point, window, low_res)
                if candidate is not None:
                    choose(chosen, candidate, self.settings.overlap)
            known = [c for c in chosen if not c.too_large]
            waiting = [point for point in waiting if not any(c.holds(point, window) for c in known)]
            yield len(waiting)

    def _kept(self, patch: Patch, window: Box, chosen: list[Candidate]) -> Iterator[Found]:
        """Yield what was chosen in a patch, or the parts of it, each of them once, most stable first."""
        told: list[npt.NDArray[np.bool_]] = []
        for candidate in sorted(chosen, key=lambda each: -each.stability):
            if candidate.too_large:
                whole = BoxedMask.of(resize(candidate.low_res, window.shape) > 0)
                if whole is not None:
                    yield Found.too_large_to_keep(candidate, window, whole)
                continue
            for low_res in self._parts(candidate.low_res, window):
                inside = resize(low_res, window.shape) > 0
                shape = BoxedMask.of(inside)
                if shape is None or any(iou(low_res > 0, other) > self.settings.overlap for other in told):
                    continue  # a part of one mask may be what another one shows alone
                step = contrast(patch.voxels, inside, shape.box)
                if step >= self.settings.contrast:
                    told.append(low_res > 0)
                    placed = BoxedMask(shape.box.shifted(window.begin), shape.voxels)
                    point = candidate.point if inside[voxel_of(candidate.point, window)] else deepest(low_res, window)
                    yield Found(point, candidate.stability, [Seen(window, low_res, placed)], step)

    def _parts(self, low_res: Float32, window: Box) -> Iterator[Float32]:
        """Yield logits as they are, or several where their mask has thin necks."""
        inside = low_res > 0
        size = [s * n / m for s, n, m in zip(self._predictor.preset.spacing, window.shape, inside.shape, strict=True)]
        pieces = parts(inside, (size[0], size[1], size[2])) if self.settings.split else [inside]
        for piece in pieces:
            yield np.where(inside & ~piece, -np.abs(low_res), low_res).astype(np.float32)

    def _judge(self, point: Index3, window: Box, low_res: Float32) -> Candidate | None:
        """Return the mask of a point if it is stable, not too small, and about that point."""
        inside = low_res > 0
        if not inside[low_res_voxel(point, window, inside.shape)]:
            return None
        stable = stability(low_res, self.settings.offset)
        voxel_ml = math.prod(window.shape) / inside.size * math.prod(self._predictor.preset.spacing) / 1000
        size = np.count_nonzero(inside) * voxel_ml
        if stable < self.settings.stability or size < self.settings.smallest - 2 * voxel_ml:
            return None
        too_large = bool(size > 2 * self.settings.largest)  # surely: what is less counts at its final size
        return Candidate(point, stable, low_res.copy(), inside, too_large)

    def _instance(self, volume: Volume, lattice: Lattice, found: Found) -> Instance | None:
        """Paint what was found at the volume's own resolution."""
        if found.too_large:
            return None
        mask: BoxedMask | None = None
        layers: list[Layer] = []
        fading = Windows(lattice, self._predictor.preset.patch_shape).fading
        for n, seen in enumerate(found.seen):
            layers.append(Layer(seen.window, seen.low_res, fading(seen.window) if n else None))
            mask = paint(lattice, layers, None, mask)
        if mask is None:
            return None
        size = int(np.count_nonzero(mask.voxels)) * volume.grid.voxel_volume / 1000
        r, a, s = lattice.grid.to_world(found.point).tolist()
        return Instance(mask, Click((r, a, s)), found.stability, size, found.contrast)

    def _is_plausible(self, volume_ml: float) -> bool:
        return self.settings.smallest <= volume_ml <= self.settings.largest
