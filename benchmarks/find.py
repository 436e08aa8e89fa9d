"""How well `find` counts with the default model: ten spheres in noise, and two that touch, with and without blobs.

An object counts as found by a mask with a Dice of at least 0.5, each by one mask at most.
"""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from sammed3d import Volume, load_predictor
from sammed3d.core.geometry import Grid
from sammed3d.inference.automatic import AutomaticMaskGenerator, AutomaticSettings

SPACING = 1.5
RADII = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 11.0, 13.0, 15.0)  # mm
COARSE = {"distance": 24, "smallest": 0.03, "largest": 30}
WAYS = {
    "grid alone": AutomaticSettings(**COARSE, blobs=0, split=False),
    "blobs, grid, split": AutomaticSettings(**COARSE),
    "blobs, grid, split, contrast 2": AutomaticSettings(**COARSE, contrast=2.0),
}


def phantom(centres: npt.NDArray[np.float64], radii: tuple[float, ...], size: int = 96) -> tuple[Volume, list]:
    """Return spheres of 60 HU in 0 HU, with a deviation of 20 HU, and their masks; centres in voxels, radii in mm."""
    places = np.stack(np.meshgrid(*3 * [np.arange(size)], indexing="ij"), axis=-1)
    masks = [np.linalg.norm((places - c) * SPACING, axis=-1) <= r for c, r in zip(centres, radii, strict=True)]
    image = 60.0 * np.logical_or.reduce(masks) + np.random.default_rng(0).normal(0, 20, 3 * (size,))
    return Volume(image.astype(np.int16), Grid(3 * (size,), np.diag(3 * [SPACING] + [1.0])), "spheres"), masks


def score(found: list, masks: list, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return how many masks were found, and how many true objects one of them matches."""
    answers = [instance.mask.full(shape) > 0 for instance in found]
    matched = [any(2 * (a & m).sum() / (a.sum() + m.sum()) >= 0.5 for a in answers) for m in masks]
    return len(answers), sum(matched)


def main() -> None:
    """Print a line for each phantom and way."""
    random = np.random.default_rng(3)
    ten = np.stack(np.meshgrid([18, 48, 78], [20, 50, 76], [25, 70], indexing="ij"), -1).reshape(-1, 3)
    ten = random.permutation(ten)[:10] + random.uniform(-2, 2, (10, 3))
    phantoms = {
        "ten spheres of 3 to 15 mm": phantom(ten, RADII),
        "two touching spheres": phantom(np.array([[40.0, 48, 48], [56.0, 48, 48]]), (12.0, 12.0)),
    }
    predictor = load_predictor("default")
    for title, (volume, masks) in phantoms.items():
        for way, settings in WAYS.items():
            begin = time.perf_counter()
            found = AutomaticMaskGenerator(predictor, settings).generate(volume)
            took = time.perf_counter() - begin
            count, hits = score(found, masks, volume.grid.shape)
            print(f"{title}, {way}: {hits} of {len(masks)} found among {count} masks, {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
