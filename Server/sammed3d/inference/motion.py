"""How far an object moved from one frame of a series to the next: what its neighbourhood looked like, found again.

The neighbourhood is the object and a rim round it, 2.5 mm a sample. It is looked for in the next frame by masked
normalised cross-correlation, as far as the object is large, at most 30 mm away. That costs a second at most (0.9 s for
2.6 litres in 512 x 512 x 300 voxels, less for most), and knows shifts alone, no turns or swelling. What stands still
has no shift at all, since one counts only where it explains the image clearly better than none.

Source: D. Padfield, Masked object registration in the Fourier domain, IEEE Transactions on Image Processing 21 (2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sammed3d.core.geometry import Box, Grid, Index3
from sammed3d.core.interpolation import Float32, Float64, Marked
from sammed3d.core.mask import BoxedMask
from sammed3d.files.volume import Volume

STEP = 2.5
"""Samples in mm, as nearly as whole voxels allow."""
RIM = 7.5
"""mm round an object that count to its neighbourhood: most of what tells where it is lies at its edge."""
LEAST_REACH, MOST_REACH = 10.0, 30.0
"""mm along each axis of the grid; between them, as far as a ball of the object's volume is wide."""
MOST_SAMPLES = 72**3
"""Of what is looked through; of larger objects the samples are coarser."""
LEAST_LIKENESS = 0.6
"""Correlation below which nothing was found again."""
UNEXPLAINED = 0.8
"""Share of what no shift leaves unexplained that a shift may leave at most."""
LEAST_SEEN = 0.75
"""Share of the neighbourhood that has to lie in the image where it is found again."""
AROUND = 5.0
"""mm round a place at an object's edge whose means tell how inside and outside differ there."""
BEYOND_NOISE = 3.0
"""Standard errors that a change of the edge has to exceed."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """Where an object is found again.

    Attributes:
        shift: (3,) how far it moved, in voxels (I, J, K); exactly 0 along all axes where it stays.
        changed: share of a layer of samples at its edge, inside or outside of it, that looks like the other side there:
            near 0 where its shape is the same, whatever the noise; 0.3 and more where it swelled or shrank by a tenth
            of its width, where that shows.
    """

    shift: Float64
    changed: float


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """What an object and its rim looked like in a frame.

    Attributes:
        searched: box of voxels (I, J, K) in which it is looked for; it may reach beyond the image.
        factors: voxels that one sample is the mean of, along each axis.
        reach: how far it is looked for, in samples along each axis.
        grey: samples of `searched`.
        counts: marks those of them that are its object and rim, within the image.
        inside: marks those that are the object.
        mask: the object.
    """

    searched: Box
    factors: Index3
    reach: Index3
    grey: Float64
    counts: Marked
    inside: Marked
    mask: BoxedMask

    @classmethod
    def of(cls, volume: Volume, mask: BoxedMask) -> Neighbourhood:
        """Remember what the object of a mask looks like in a volume."""
        spacing = np.array(volume.grid.spacing)
        millimetres = float(np.count_nonzero(mask.voxels)) * volume.grid.voxel_volume
        width = 2 * (3 * millimetres / (4 * np.pi)) ** (1 / 3)
        step = STEP
        while True:
            factors = np.maximum(1, np.rint(step / spacing)).astype(int)
            samples = factors * spacing
            reach = np.ceil(min(MOST_REACH, max(LEAST_REACH, width)) / samples).astype(int)
            rim = np.ceil(RIM / samples).astype(int)
            shape = -(-np.array(mask.box.shape) // factors) + 2 * (reach + rim)
            if np.prod(shape) <= MOST_SAMPLES:
                break
            step *= 1.25
        begin = np.array(mask.box.begin) - factors * (reach + rim)
        searched = _box(begin, begin + factors * shape)
        grey, seen = _sampled(volume, searched, _index(factors))
        shares = _pooled(mask.cut(searched).astype(np.float32), _index(factors))
        counts = _grown(shares > 0, _index(rim)) & (seen > 0)
        inside = shares > min(0.5, shares.max() / 2)
        return cls(searched, _index(factors), _index(reach), grey, counts, inside, mask)

    def found_in(self, volume: Volume) -> Sighting | None:
        """Return where it is in another image of the same grid; None where it is not found again."""
        grey, seen = _sampled(volume, self.searched, self.factors)
        likeness = _likeness(self.grey, self.counts, grey, seen > 0, self.reach)
        best = _index(np.array(np.unravel_index(int(np.argmax(likeness)), likeness.shape)))
        found, still = float(likeness[best]), float(likeness[self.reach])
        if found < LEAST_LIKENESS:
            return None
        shift, left = np.zeros(3), np.zeros(3)
        if best != self.reach and 1 - found <= UNEXPLAINED * (1 - still):
            samples = [_vertex(likeness, best, axis) - reach for axis, reach in enumerate(self.reach)]
            shift = np.multiply(samples, self.factors)
            left = (shift - np.rint(shift)) / self.factors
            grey, seen = _sampled(volume, self.searched.shifted(_index(np.rint(shift).astype(int))), self.factors)
        elif still < LEAST_LIKENESS:
            return None
        around = np.maximum(1, np.rint(AROUND / np.multiply(self.factors, volume.grid.spacing)).astype(int))
        return Sighting(shift, self._changed(grey, seen, left, _index(around)))

    def _changed(self, grey: Float64, seen: Float64, left: Float64, around: Index3) -> float:
        """Compare samples of the place where it is found again at its edge; see `Sighting.changed`.

        What is other there is put down to how inside and outside differ round each sample, which leaves hardly any
        noise.

        Args:
            grey: samples of another image.
            seen: which share of each lies in the image.
            left: (3,) how much farther, in samples, the object lies in it.
            around: samples along each axis that tell inside from outside at a place.
        """
        each = (1, 1, 1)
        usable = self.counts & ~_grown(seen == 0, each)
        contrast = _means(self.grey, self.inside & self.counts, around)
        contrast -= _means(self.grey, self.counts & ~self.inside, around)
        difference = _between(grey, left) - _as_smooth(self.grey, left)
        noise = float(difference[usable].std()) if usable.any() else 0.0
        changed = 0.0
        for layer in (self.inside & _grown(~self.inside, each), _grown(self.inside, each) & ~self.inside):
            there = layer & usable
            squares = float((contrast[there] ** 2).sum())
            if squares > 0:
                share = abs(float((difference * contrast)[there].sum())) / squares
                if share > BEYOND_NOISE * noise / squares**0.5:
                    changed = max(changed, share)
        return changed


def moved(mask: BoxedMask, voxels: Index3, grid: Grid) -> BoxedMask | None:
    """Return a mask moved by whole voxels; what leaves the grid is cut off, None if nothing is left."""
    away = BoxedMask(mask.box.shifted(voxels), mask.voxels)
    part = away.box.intersection(Box((0, 0, 0), grid.shape))
    return None if part is None else BoxedMask(part, away.cut(part)).cropped()


def _likeness(grey: Float64, counts: Marked, other: Float64, seen: Marked, reach: Index3) -> Float64:
    """Return how well samples that count agree with those of another image, for each shift up to `reach`; -1..1.

    Where too little of them lies within the other image, it is -1.
    """
    middle = grey[counts].mean()
    there = np.where(seen, other - middle, 0.0)
    here = np.where(counts, grey - middle, 0.0)
    fields = [np.fft.rfftn(each) for each in (seen.astype(np.float64), there, there**2)]
    counted = np.conj(np.fft.rfftn(counts.astype(np.float64)))
    first, second = np.conj(np.fft.rfftn(here)), np.conj(np.fft.rfftn(here**2))

    def at_shifts(product: npt.NDArray[np.complex128]) -> Float64:
        whole = np.fft.irfftn(product, grey.shape, axes=(0, 1, 2))
        shifts = [np.arange(-n, n + 1) % size for n, size in zip(reach, grey.shape, strict=True)]
        result: Float64 = whole[np.ix_(*shifts)]
        return result

    number = np.maximum(at_shifts(counted * fields[0]), 1.0)
    sums, squares = at_shifts(counted * fields[1]), at_shifts(counted * fields[2])
    own, own_squares = at_shifts(first * fields[0]), at_shifts(second * fields[0])
    both = at_shifts(first * fields[1])
    spread = (own_squares - own**2 / number) * (squares - sums**2 / number)
    certain = spread > 1e-9 * float(own_squares.max()) * float(squares.max())
    likeness = np.where(certain, (both - own * sums / number) / np.sqrt(np.where(certain, spread, 1.0)), -1.0)
    return np.where(number < LEAST_SEEN * np.count_nonzero(counts), -1.0, likeness)


def _vertex(likeness: Float64, best: Index3, axis: int) -> float:
    """Return where along an axis a parabola through the best sample and its two neighbours is highest."""
    at = best[axis]
    if not 0 < at < likeness.shape[axis] - 1:
        return float(at)
    i, j, k = best
    line: Float64 = (likeness[:, j, k], likeness[i, :, k], likeness[i, j])[axis]
    low, top, high = line[at - 1 : at + 2].tolist()
    bend = low - 2 * top + high
    return at + (0.5 * (low - high) / bend if bend < 0 else 0.0)


def _sampled(volume: Volume, box: Box, factors: Index3) -> tuple[Float64, Float64]:
    """Return means of the voxels of a box that lie in the image, and which share of them does; slab by slab."""
    i, j, k = box.begin
    slabs = []
    for begin in range(k, box.end[2], factors[2]):
        slab = Box((i, j, begin), (*box.end[:2], begin + factors[2]))
        voxels = np.zeros(slab.shape, np.float32)
        inside = slab.intersection(Box((0, 0, 0), volume.grid.shape))
        if inside is not None:
            voxels[inside.within(slab)] = volume.array[inside.slices]
        slabs.append(_pooled(voxels, factors))
    lines = []
    for first, end, size, factor in zip(box.begin, box.end, volume.grid.shape, factors, strict=True):
        at = np.arange(first, end)
        lines.append(((at >= 0) & (at < size)).reshape(-1, factor).mean(axis=1))
    shares = lines[0][:, None, None] * lines[1][None, :, None] * lines[2][None, None, :]
    return np.concatenate(slabs, axis=2) / np.maximum(shares, 1e-9), shares


def _pooled(field: Float32, factors: Index3) -> Float64:
    """Return means of blocks."""
    (a, b, c), (i, j, k) = field.shape, factors
    result: Float64 = field.reshape(a // i, i, b // j, j, c // k, k).mean(axis=(1, 3, 5), dtype=np.float64)
    return result


def _between(field: Float64, left: Float64) -> Float64:
    """Interpolate samples at places that lie by a share of a sample farther along each axis."""
    for axis, share in enumerate(left.tolist()):
        field = (1 - abs(share)) * field + abs(share) * np.roll(field, -1 if share > 0 else 1, axis)
    return field


def _as_smooth(field: Float64, left: Float64) -> Float64:
    """Smooth samples as much as `_between` does, in their places."""
    for axis, share in enumerate(np.abs(left).tolist()):
        beside = share * (1 - share) / 2
        field = (1 - 2 * beside) * field + beside * (np.roll(field, 1, axis) + np.roll(field, -1, axis))
    return field


def _means(field: Float64, marked: Marked, around: Index3) -> Float64:
    """Return for each sample the mean of the marked ones within so many samples along each axis; 0 for none."""
    number, total = marked.astype(np.float64), np.where(marked, field, 0.0)
    for axis, reach in enumerate(around):
        shifts = range(-reach, reach + 1)
        number = np.sum([np.roll(number, n, axis) for n in shifts], axis=0)
        total = np.sum([np.roll(total, n, axis) for n in shifts], axis=0)
    return total / np.maximum(number, 1.0)


def _grown(marked: Marked, by: Index3) -> Marked:
    """Mark what lies within so many samples along each axis, too; there is that much room on all sides."""
    for axis, reach in enumerate(by):
        marked = np.logical_or.reduce([np.roll(marked, n, axis) for n in range(-reach, reach + 1)])
    return marked


def _index(numbers: npt.NDArray[np.int_]) -> Index3:
    i, j, k = (int(n) for n in numbers)
    return i, j, k


def _box(begin: npt.NDArray[np.int_], end: npt.NDArray[np.int_]) -> Box:
    return Box(_index(begin), _index(end))
