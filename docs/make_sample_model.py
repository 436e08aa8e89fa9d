"""Train the small SAM-Med2D among the samples on slices of the sample CT: `python docs/make_sample_model.py FOLDER`.

Two cores need about a quarter of an hour. Stopped, it goes on from where it was.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from sammed3d import Volume, samples
from sammed3d.files.image_lists import ListedImage, pairs_in
from sammed3d.files.picture import write_png
from sammed3d.training.sam_med2d.recipe import Recipe2d
from sammed3d.training.sam_med2d.run import ImageRun
from sammed3d.zoo.load import load_model

RECIPE = Path("sam_med2d_small")
WINDOW = (-160.0, 240.0)
"""Values shown black and white: soft tissue."""
SMALLEST = 60
"""Pixels that a structure needs to have in a slice."""
KEPT_ASIDE = (6, 7, 8)
"""Of every 16 slices those that it never sees, so that the middle one has no neighbour that it knows."""


def pictures(folder: Path) -> list[ListedImage]:
    """Write axial slices of the sample CT, but those kept aside, and a mask of each structure that they show."""
    volume, labels = Volume.read(samples.CT_ABDOMEN), Volume.read(samples.CT_ABDOMEN_LABELS).array
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    grey = (np.clip((volume.array - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1) * 255).astype(np.uint8)
    for number in range(volume.grid.shape[2]):
        if number % 16 in KEPT_ASIDE:
            continue
        write_png(upright(grey, number), folder / "images" / f"slice{number:03d}.png")
        for name, value in samples.label_names().items():
            mask = upright(labels == value, number)
            if mask.sum() >= SMALLEST:
                write_png(mask.astype(np.uint8) * 255, folder / "masks" / f"slice{number:03d}_{name}_000.png")
    listed, _ = pairs_in(folder)
    return listed


def upright(array: np.ndarray, number: int) -> np.ndarray:
    """Return an axial slice (H, W) of the sample CT, whose axes run to right, front and head, as it is looked at."""
    return np.ascontiguousarray(array[::-1, ::-1, number].T)


def main(folder: Path) -> None:
    listed = pictures(folder)
    first = Recipe2d.read(RECIPE, iterations=0, epochs=60, schedule_steps=[40, 52])
    recipe = Recipe2d.read(RECIPE, start=str(folder / "first" / "best.safetensors"), lr=5e-4)
    for each, name in ((first, "first"), (recipe, "then")):
        ImageRun(each, listed, folder / name, "cpu").train(say=lambda line: print(line, flush=True))
    model = load_model(folder / "then")
    half = {key: value.half() for key, value in model.plain_network.state_dict().items()}
    replace(
        model,
        name="SAM-Med2D, small (a toy)",
        notes=("A toy: it learned from slices of one CT, the sample, and from nothing else.",),
        licence="Apache-2.0",
        origin="trained from random weights on slices of the sample CT by docs/make_sample_model.py",
    ).write(samples.SAM_MED2D_SMALL, half, recipe=replace(recipe, start="the first run").to_yaml())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
