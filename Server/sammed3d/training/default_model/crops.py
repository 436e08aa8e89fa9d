"""Training crops: an image cube with the objects in it, real or made up, augmented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import IterableDataset, get_worker_info

from sammed3d.training.default_model.cases import CachedCase
from sammed3d.training.default_model.synthetic import random_shapes, structure_at

SMALLEST = 40
"""Voxels of the lattice that an object must have in a crop."""


@dataclass(frozen=True)
class CropSettings:
    """How crops are drawn.

    Attributes:
        edges: edge lengths of crops in voxels, and how often each.
        batch_edge: a batch holds as many crops as have together the voxels of four cubes of this edge, at least one.
        objects: largest number of objects of a crop.
        synthetic: share of crops made of random shapes.
        unlabelled: share of crops of real images whose objects are found by `structure_at`.
        zoom: a crop shows between 1 / zoom and zoom times its size.
        wide: share of the real crops that show between zoom and `widest` times their size: large structures whole.
        widest: largest factor by which such a crop shows more than its size.
        fused: share of the objects that are made one with some that they touch, so that one click has several right
            answers and the next ones decide.
        turned: whether axes are flipped and permuted at random; else left and right alone.
        degraded: how often, and how much, contrast, sharpness, evenness and noise are changed; 1 for widely.
    """

    edges: dict[int, float] = field(default_factory=lambda: {64: 0.5, 96: 0.35, 128: 0.15})
    batch_edge: int = 72
    objects: int = 3
    synthetic: float = 0.12
    unlabelled: float = 0.18
    zoom: float = 1.35
    wide: float = 0.4
    widest: float = 2.2
    fused: float = 0.15
    turned: bool = True
    degraded: float = 1.0


AS_SHOWN = CropSettings(
    edges={96: 0.4, 128: 0.6},
    synthetic=0.05,
    unlabelled=0.08,
    zoom=1.12,
    wide=0.35,
    widest=1.65,
    fused=0.05,
    turned=False,
    degraded=0.5,
)
"""Crops as the product shows patches: upright, of their size, hardly degraded. Anatomy can be learned from them."""


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops of one edge length and the objects in them.

    Attributes:
        images: (B, 1, E, E, E) float32 intensities.
        masks: (N, 1, E, E, E) float32, 1 inside the object.
        owners: (N,) which image each object is in.
    """

    images: Tensor
    masks: Tensor
    owners: Tensor


class CropStream(IterableDataset[Crops]):
    """An endless stream of batches; the same seed gives the same stream (for each number of workers).

    Args:
        cases: the cases of real crops.
        weights: relative frequency of each case.
        settings: the settings of crops.
        seed: seed of the stream.
    """

    def __init__(
        self, cases: Sequence[CachedCase], weights: Sequence[float], settings: CropSettings, seed: int
    ) -> None:
        self.cases = list(cases)
        self.weights = np.asarray(weights, float) / np.sum(weights)
        self.settings = settings
        self.seed = seed
        self._voxels = [sample_voxels(case.label, np.random.default_rng(0)) for case in self.cases]
        self._shares = [shares_by_volume(case.label, voxels) for case, voxels in zip(cases, self._voxels, strict=True)]

    def __iter__(self) -> Iterator[Crops]:
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, 0 if worker is None else worker.id])
        torch.set_num_threads(1 if worker is not None else torch.get_num_threads())
        edges, shares = list(self.settings.edges), np.array(list(self.settings.edges.values()))
        while True:
            edge = int(rng.choice(edges, p=shares / shares.sum()))
            yield self.batch(edge, max(1, 4 * self.settings.batch_edge**3 // edge**3), rng)

    def batch(self, edge: int, count: int, rng: np.random.Generator) -> Crops:
        """Draw `count` crops of one edge length."""
        drawn: list[tuple[Tensor, Tensor]] = []
        while len(drawn) < count:
            crop = self.draw(edge, rng)
            if crop is not None:
                drawn.append(crop)
        owners = torch.repeat_interleave(torch.tensor([len(masks) for _, masks in drawn]))
        return Crops(
            torch.stack([image for image, _ in drawn])[:, None], torch.cat([m for _, m in drawn])[:, None], owners
        )

    def draw(self, edge: int, rng: np.random.Generator) -> tuple[Tensor, Tensor] | None:
        """Draw one crop (E, E, E) and its masks (N, E, E, E); None if it came out empty."""
        settings = self.settings
        kind = rng.random()
        if kind < settings.synthetic:
            image, labels = random_shapes(edge, rng)
            masks = some_objects(labels, settings.objects, rng, 0, settings.fused)
        else:
            number = int(rng.choice(len(self.cases), p=self.weights))
            unlabelled = kind < settings.synthetic + settings.unlabelled or not self._voxels[number]
            image, masks = self._real(number, edge, unlabelled, rng)
        if len(masks) == 0 or float(image.std()) < 1e-6:
            return None
        image, stacked = _turn(image, torch.from_numpy(np.stack(masks)).float(), rng, settings.turned)
        return degrade(image, rng, settings.degraded).contiguous(), stacked.contiguous()

    def _real(
        self, number: int, edge: int, unlabelled: bool, rng: np.random.Generator
    ) -> tuple[Tensor, list[npt.NDArray[np.uint8]]]:
        case, settings = self.cases[number], self.settings
        wide = rng.random() < settings.wide
        narrowest, widest = (settings.zoom, settings.widest) if wide else (1 / settings.zoom, settings.zoom)
        scale = rng.uniform(np.log(narrowest), np.log(widest))
        shown = np.round(edge * np.exp(rng.uniform(-1, 1, 3) * 0.12 + scale)).astype(int)
        label = 0
        if unlabelled:
            focus = (np.array(case.label.shape) * np.clip(rng.normal(0.5, 0.2, 3), 0.05, 0.95)).astype(int)
        else:
            label = int(rng.choice(list(self._voxels[number]), p=self._shares[number] if wide else None))
            focus = rng.choice(self._voxels[number][label])
        begin = focus - (shown * np.clip(rng.normal(0.5, 0.15, 3), 0.15, 0.85)).astype(int)
        image = torch.from_numpy(_cut(case.image, begin, shown).astype(np.float32))[None, None]
        mode = "area" if wide else "trilinear"  # a coarser lattice has the mean of what it leaves out
        resized = functional.interpolate(image, size=3 * (edge,), mode=mode)[0, 0]
        if unlabelled:
            return resized, _structures(resized, settings.objects, rng)
        labels = torch.from_numpy(_cut(case.label, begin, shown))[None, None].float()
        nearest = functional.interpolate(labels, size=3 * (edge,), mode="nearest-exact")[0, 0].to(torch.uint8).numpy()
        return resized, some_objects(nearest, settings.objects, rng, label, settings.fused)


def degrade(image: Tensor, rng: np.random.Generator, strength: float = 1.0) -> Tensor:
    """Change contrast, sharpness, evenness and noise of an image, (E, E, E); each with some probability."""
    edge = len(image)
    low, high = float(image.min()), float(image.max())
    x = (image - low) / max(high - low, 1e-6)
    if rng.random() < 0.3 * strength:  # slices thicker than voxels
        axis, factor = int(rng.integers(3)), float(rng.uniform(1.5, 5))
        size = [edge, edge, edge]
        size[axis] = max(4, round(edge / factor))
        thick = functional.interpolate(x[None, None], size=size, mode="area")
        x = functional.interpolate(thick, size=3 * (edge,), mode="trilinear")[0, 0]
    elif rng.random() < 0.3 * strength:
        kernel = functional.avg_pool3d(x[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
        x = torch.lerp(x, kernel, float(rng.uniform(0.2, 1)))
    if rng.random() < 0.3 * strength:
        coarse = torch.from_numpy(rng.uniform(-1, 1, (1, 1, 3, 3, 3)).astype(np.float32))
        bias = functional.interpolate(coarse, size=3 * (edge,), mode="trilinear")[0, 0]
        x = x * torch.exp(float(rng.uniform(0.1, 0.5)) * bias)
    if rng.random() < 0.4 * strength:
        x = x.clamp(min=0) ** float(np.exp(strength * rng.uniform(-0.7, 0.7)))
    if rng.random() < 0.1 * strength**2:
        x = 1 - x
    if rng.random() < 0.5:
        noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
        x = x + noise * float(rng.uniform(0, 0.08 * strength)) * float(x.std() * 3)
    return x


def sample_voxels(label: npt.NDArray[np.uint8], rng: np.random.Generator) -> dict[int, npt.NDArray[np.int_]]:
    """For each label some of its voxels, (at most 1000, 3)."""
    flat = np.asarray(label).ravel()
    voxels = {}
    for value in np.unique(flat[flat > 0]):
        inside = np.flatnonzero(flat == value)
        chosen = rng.choice(inside, min(1000, len(inside)), replace=False)
        voxels[int(value)] = np.stack(np.unravel_index(chosen, label.shape), axis=1)
    return voxels


def _cut(array: npt.NDArray[np.generic], begin: npt.NDArray[np.int_], shape: npt.NDArray[np.int_]) -> npt.NDArray[Any]:
    """Cut a window out of an array; zeros where it reaches beyond."""
    result = np.zeros(tuple(shape), array.dtype)
    low, high = np.maximum(begin, 0), np.minimum(begin + shape, array.shape)
    if (low < high).all():
        inner = tuple(slice(a - b, c - b) for a, b, c in zip(low, begin, high, strict=True))
        result[inner] = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return result


def shares_by_volume(label: npt.NDArray[np.uint8], voxels: dict[int, npt.NDArray[np.int_]]) -> npt.NDArray[np.float64]:
    """How often to take each label: by the root of its volume."""
    counts = np.bincount(np.asarray(label).ravel(), minlength=256)[list(voxels)]
    roots: npt.NDArray[np.float64] = np.sqrt(counts.astype(np.float64)) / max(np.sqrt(counts).sum(), 1e-9)
    return roots


def some_objects(
    labels: npt.NDArray[np.uint8], count: int, rng: np.random.Generator, wanted: int, fused: float
) -> list[npt.NDArray[np.uint8]]:
    """Return masks of some labels, the wanted one first; now and then several that touch as one object."""
    sizes = np.bincount(labels.ravel())
    large = [label for label, n in enumerate(sizes) if label and SMALLEST <= n < 0.6 * labels.size]
    rng.shuffle(large)
    if wanted in large:
        large.remove(wanted)
        large.insert(0, wanted)
    masks = []
    for label in large[:count]:
        members = [label]
        if rng.random() < fused:
            touching = [other for other in _touching(labels, label) if other in large]
            members += list(rng.permutation(touching)[: rng.integers(1, 4)])
        mask = np.isin(labels, members).astype(np.uint8)
        masks.append(mask if mask.mean() < 0.6 else (labels == label).astype(np.uint8))
    return masks


def _touching(labels: npt.NDArray[np.uint8], label: int) -> list[int]:
    """Labels within two voxels of a label, the background excepted."""
    thinned = labels[::2, ::2, ::2]
    mask = torch.from_numpy((thinned == label).astype(np.float32))[None, None]
    near = functional.max_pool3d(mask, 3, 1, 1)[0, 0].numpy() > 0
    return [int(other) for other in np.unique(thinned[near]) if other not in (0, label)]


def _structures(image: Tensor, count: int, rng: np.random.Generator) -> list[npt.NDArray[np.uint8]]:
    """Find some structures of a real image, at half its resolution."""
    array = functional.avg_pool3d(image[None, None], 2)[0, 0].numpy()
    masks: list[npt.NDArray[np.uint8]] = []
    for _ in range(count + 1):
        i, j, k = rng.integers(len(array) // 8, len(array) - len(array) // 8, 3).tolist()
        found = structure_at(array, (i, j, k), rng)
        if found is not None and len(masks) < count:
            masks.append(found.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    return masks


def _turn(image: Tensor, masks: Tensor, rng: np.random.Generator, freely: bool) -> tuple[Tensor, Tensor]:
    """Exchange left and right at random, or flip and permute all axes, image and masks alike."""
    flips = [axis for axis in ((-3, -2, -1) if freely else (-3,)) if rng.random() < 0.5]
    order = rng.permutation(3).tolist() if freely and rng.random() < 0.5 else [0, 1, 2]
    return image.flip(flips).permute(order), masks.flip(flips).permute(0, *(1 + o for o in order))
