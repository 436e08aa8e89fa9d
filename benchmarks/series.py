"""Dice in the frames of a series whose object moves in a known way: is a mask carried to where the object is?

    python benchmarks/series.py DATASET [--model default] [--frames 3] [--every 8] [--smallest 5] [--ways NAME ...]

The frames are made of one volume: it is moved, or the surroundings of an object are, farther and farther; each frame
has noise of its own (2 % of the grey values). The mask of the first frame is given, with a click where it is thickest.
One line of JSON for each object and way, as it ends, then the means. `--only NAME ...` takes these structures alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from labelled import structures
from scipy.ndimage import distance_transform_edt, map_coordinates

import sammed3d
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import Click, ObjectPrompts
from sammed3d.evaluation.metrics import dice
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.series import propagate

Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Way:
    """How an object moves from frame to frame.

    Attributes:
        shift: mm along the axes of the file.
        scale: how many times as wide it is in the next frame.
        local: whether what lies farther away stays where it is.
    """

    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0
    local: bool = True


WAYS = {
    "still": Way(),
    "4 mm, all": Way((0, 0, 4), local=False),
    "12 mm, all": Way((7, 7, 7), local=False),
    "8 mm": Way((0, 5, 6)),
    "8 mm and smaller": Way((0, -5, 6), 0.93),
    "larger": Way(scale=1.08),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--every", type=int, default=8, help="take every n-th structure of a case only")
    parser.add_argument("--smallest", type=float, default=5.0, help="ml")
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    parser.add_argument("--only", nargs="*", default=[], help="names of structures")
    options = parser.parse_args()
    predictor = sammed3d.load_predictor(options.model, "cpu")
    rows: dict[str, list[list[float]]] = {}
    for each in structures(options.dataset, options.smallest, options.every, options.only):
        for way in options.ways:
            frames = list(moved(each.volume, each.truth, WAYS[way], options.frames))
            row, remarks, seconds = carried(frames, predictor)
            rows.setdefault(way, []).append(row)
            found = {"dice": [round(v, 3) for v in row], "remarks": remarks, "seconds": round(seconds, 2)}
            print(json.dumps(each.told | {"way": way} | found), flush=True)
    for way, found in rows.items():
        print(f"{way}, {len(found)} structures: {np.round(np.mean(found, axis=0), 3).tolist()}")


def moved(volume: Volume, truth: Mask, way: Way, count: int) -> Iterator[tuple[Volume, Mask]]:
    """Yield frames and the object's mask in each."""
    spacing = np.array(volume.grid.spacing)
    places = np.argwhere(truth) * spacing
    middle, reach = places.mean(axis=0), max(25.0, float(np.linalg.norm(np.ptp(places, axis=0))) / 2)
    index = np.moveaxis(np.indices(truth.shape), 0, -1)
    grey = np.asarray(volume.array, np.float32)
    spread = 0.02 * float(np.ptp(np.percentile(grey, (1, 99))))
    random = np.random.default_rng(0)
    for number in range(count):
        shift, scale = np.multiply(way.shift, number), way.scale**number
        away = index * spacing - middle
        share = np.exp(-((away - shift) ** 2).sum(axis=-1, keepdims=True) / (2 * reach**2)) if way.local else 1.0
        source = np.moveaxis(((away - share * shift) * (1 + share * (1 / scale - 1)) + middle) / spacing, -1, 0)
        image = map_coordinates(grey, source, order=1, mode="nearest") + random.normal(0, spread, grey.shape)
        inside = map_coordinates(truth.astype(np.float32), source, order=1) > 0.5
        yield Volume(image.astype(np.float32), volume.grid, f"frame {number + 1}"), inside.astype(np.uint8)


def carried(frames: list[tuple[Volume, Mask]], predictor: Predictor) -> tuple[list[float], list[str], float]:
    """Return Dice and remarks of each frame but the first, whose mask is given, and the mean of their seconds."""
    volume, truth = frames[0]
    depth = distance_transform_edt(truth, sampling=volume.grid.spacing)
    thickest = np.unravel_index(int(np.argmax(depth)), truth.shape)
    prompts = {0: ObjectPrompts("", (Click(tuple(volume.grid.to_world(thickest).tolist())),))}
    given = BoxedMask.of(truth)
    if given is None:
        raise SystemExit("An object is empty.")
    found = list(
        propagate(lambda number: frames[number][0], predictor, prompts, 0, range(len(frames)), kept={0: given})
    )
    row = [
        dice(np.zeros_like(truth) if each.mask is None else each.mask.full(truth.shape), frames[each.frame][1])
        for each in found[1:]
    ]
    return row, [each.remark for each in found[1:]], float(np.mean([each.seconds for each in found[1:]]))


if __name__ == "__main__":
    main()
