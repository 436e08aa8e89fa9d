"""Images that nobody took: random shapes with random contrasts, and structures found in unlabelled images.

A network that has seen every contrast, noise and resolution on shapes without anatomy generalises to images it has not
seen (the idea of SynthSeg and of supervoxel pretraining); real labels teach it what people call a structure.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from torch import Tensor
from torch.nn import functional

Labels = npt.NDArray[np.uint8]


def random_shapes(edge: int, rng: np.random.Generator) -> tuple[Tensor, Labels]:
    """Make an image of random shapes.

    Args:
        edge: edge of the cube, in voxels.
        rng: the only source of randomness.

    Returns:
        Intensities (edge, edge, edge) float32, and labels of the same shape; 0 is background.
    """
    labels = _blobs(edge, count=int(rng.integers(3, 14)), rng=rng)
    for _ in range(int(rng.integers(2, 12))):
        shape = _tube(edge, rng) if rng.random() < 0.35 else _ellipsoid(edge, rng)
        labels[shape] = int(labels.max()) + 1
    count = int(labels.max()) + 1
    if rng.random() < 0.5:  # a body in air
        labels[~_ellipsoid(edge, rng, smallest=0.35, largest=0.7, centred=True)] = 0
    means = torch.from_numpy(rng.uniform(0, 1, count).astype(np.float32))
    means[0] = float(rng.choice([0.0, rng.uniform(0, 1)]))
    texture = torch.from_numpy((rng.uniform(0, 0.12, count) * (rng.random(count) < 0.6)).astype(np.float32))
    grain = _smooth_noise(edge, int(rng.integers(edge // 8, edge // 2)), rng)
    index = torch.from_numpy(labels.astype(np.int64))
    return means[index] + texture[index] * grain, labels


def structure_at(image: npt.NDArray[np.float32], seed: tuple[int, int, int], rng: np.random.Generator) -> Labels | None:
    """Find the structure of even intensity around a voxel: a stand-in for a label where there is none.

    Args:
        image: (I, J, K) intensities.
        seed: the voxel.
        rng: chooses how even and how smooth.

    Returns:
        The mask of the same shape, holes closed; None if what is there is no structure (a speck, or almost all).
    """
    smooth = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(image.T), float(rng.uniform(0.8, 2.0)))
    array = sitk.GetArrayFromImage(smooth).T
    low, high = (np.clip(s - 6, 0, None) for s in seed), (s + 7 for s in seed)
    around = array[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
    width = float(rng.uniform(0.5, 1.6)) * float(around.std()) + 1e-6
    value = float(array[seed])
    even = sitk.BinaryThreshold(smooth, value - width, value + width)
    opened = sitk.BinaryErode(even, [int(rng.integers(1, 3))] * 3)
    point = sitk.GetArrayViewFromImage(opened).T
    if not point[seed]:
        return None
    part = sitk.ConnectedThreshold(opened, [list(map(int, seed))], 1, 1)
    grown = sitk.BinaryFillhole(sitk.And(sitk.BinaryDilate(part, [2, 2, 2]), even))
    mask = np.ascontiguousarray(sitk.GetArrayFromImage(grown).T).astype(np.uint8)
    share = mask.mean()
    return mask if mask.sum() > 60 and share < 0.25 else None


def _blobs(edge: int, count: int, rng: np.random.Generator) -> Labels:
    """Partition the cube: at each voxel the highest of several smooth random fields wins."""
    best = torch.full((edge, edge, edge), -torch.inf)
    labels = torch.zeros((edge, edge, edge), dtype=torch.uint8)
    for label in range(count):
        field = _smooth_noise(edge, int(rng.integers(3, 9)), rng)
        higher = field > best
        best = torch.where(higher, field, best)
        labels[higher] = label
    return labels.numpy()


def _smooth_noise(edge: int, coarse: int, rng: np.random.Generator) -> Tensor:
    values = torch.from_numpy(rng.standard_normal((1, 1, coarse, coarse, coarse), dtype=np.float32))
    return functional.interpolate(values, size=(edge, edge, edge), mode="trilinear")[0, 0]


def _ellipsoid(
    edge: int, rng: np.random.Generator, smallest: float = 0.03, largest: float = 0.25, centred: bool = False
) -> npt.NDArray[np.bool_]:
    """Return a rotated ellipsoid with radii between `smallest` and `largest` of the edge, its surface wavy."""
    centre = np.full(3, edge / 2) if centred else rng.uniform(0, edge, 3)
    radii = edge * np.exp(rng.uniform(np.log(smallest), np.log(largest), 3))
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    axis = np.arange(edge, dtype=np.float32)
    squared = np.zeros((edge, edge, edge), np.float32)
    for direction, radius in zip(rotation, radii, strict=True):
        d = ((axis - centre[i]) * np.float32(direction[i] / radius) for i in range(3))
        r, a, s = d
        squared += (r[:, None, None] + a[None, :, None] + s[None, None, :]) ** 2
    waves = _smooth_noise(edge, int(rng.integers(4, 10)), rng).numpy() * float(rng.uniform(0, 0.3))
    return squared < 1 + waves


def _tube(edge: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return a bent tube: a vessel, a gut, a bone."""
    points = [rng.uniform(0, edge, 3)]
    direction = rng.standard_normal(3)
    for _ in range(int(rng.integers(edge // 3, 2 * edge))):
        direction = direction / np.linalg.norm(direction) + 0.25 * rng.standard_normal(3)
        points.append(points[-1] + direction / np.linalg.norm(direction))
    index = np.round(points).astype(int)
    index = index[((index >= 0) & (index < edge)).all(axis=1)]
    line = np.ones((edge, edge, edge), np.uint8)
    line[tuple(index.T)] = 0
    far = sitk.SignedMaurerDistanceMap(sitk.GetImageFromArray(1 - line), squaredDistance=False, useImageSpacing=False)
    return np.asarray(sitk.GetArrayFromImage(far) < float(rng.uniform(1.5, 0.07 * edge)))
