"""Draw the pictures of the documentation from the bundled CT: `python docs/make_pictures.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from sammed3d import Preset, Volume, samples
from sammed3d.demo import WINDOW, side_by_side
from sammed3d.simulation.clicks import next_click
from sammed3d.inference.lattice import Lattice

FOLDER = Path(__file__).parent / "pictures"
ZOOM = 4


def one_click() -> Image.Image:
    """Axial, coronal and sagittal slice through a click in the liver, with the patch that is cut round it."""
    volume, labels = Volume.read(samples.CT_ABDOMEN), Volume.read(samples.CT_ABDOMEN_LABELS)
    truth = labels.array == samples.label_names()["liver"]
    click = next_click(np.zeros(truth.shape, np.uint8), truth, volume.grid)
    if click is None:
        raise ValueError("The bundled labels hold no liver.")
    preset = Preset()
    lattice = Lattice(volume.grid, preset.spacing)
    window = lattice.window_at(click.world, preset.patch_shape)
    patch = lattice.grid.window(window.begin, window.shape)
    low, high = (volume.grid.to_index(patch.to_world(corner)) for corner in (np.full(3, -0.5), np.full(3, 127.5)))
    centre = volume.grid.to_index(click.world)
    grey = np.clip((volume.array - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1)
    views = ((2, "axial"), (1, "coronal"), (0, "sagittal"))
    panels = [_panel(grey, truth, centre, low, high, axis, name) for axis, name in views]
    return side_by_side(panels)


def _panel(grey, truth, centre, low, high, axis: int, name: str) -> Image.Image:
    row = round(centre[axis])
    across, up = [a for a in range(3) if a != axis]
    image = np.repeat((np.take(grey, row, axis) * 255).astype(np.uint8)[..., None], 3, axis=2)
    inside = np.take(truth, row, axis)
    image[inside] = (0.75 * image[inside] + 0.25 * np.array([255, 214, 10])).astype(np.uint8)
    image = image.repeat(ZOOM, 0).repeat(ZOOM, 1)
    picture = Image.fromarray(np.ascontiguousarray(image[::-1, ::-1].transpose(1, 0, 2)))
    pen = ImageDraw.Draw(picture)

    def place(point):
        return picture.width - ZOOM * (point[across] + 0.5), picture.height - ZOOM * (point[up] + 0.5)

    (x0, y0), (x1, y1) = place(high), place(low)
    pen.rectangle((x0, y0, x1, y1), outline="white", width=2)
    x, y = place(centre)
    pen.ellipse((x - 6, y - 6, x + 6, y + 6), fill="#30d158", outline="black")
    pen.text((8, 6), name, fill="white", stroke_width=1, stroke_fill="black")
    return picture


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    one_click().save(FOLDER / "one-click.png", optimize=True)
