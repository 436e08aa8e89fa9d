"""Pictures of masks over their image, for reports."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from sammed3d.core.geometry import canonical_axes
from sammed3d.core.prompts import Click
from sammed3d.files.volume import Volume

FOUND, TRUTH = (255, 159, 10), (48, 209, 88)
"""Colours of the mask's filling and the reference's outline."""
EDGE = 360
"""Pixels of a picture's longer edge."""


def png(
    volume: Volume, mask: npt.NDArray[np.generic], truth: npt.NDArray[np.generic], clicks: Sequence[Click] = ()
) -> bytes:
    """Draw the axial slice in which the reference is largest: mask filled, reference outlined, clicks as dots.

    Args:
        volume: the image.
        mask: the mask that was found, (I, J, K).
        truth: the reference.
        clicks: small where they lie on other slices.

    Returns:
        A PNG file. Right is on the left, anterior on top, as radiologists look at it.
    """
    axes = canonical_axes(volume.grid.index_to_world)
    image, found, wanted = (axes.apply(array) for array in (volume.array, mask, truth))
    level = int(np.argmax(wanted.reshape(-1, wanted.shape[2]).astype(bool).sum(axis=0)))
    spacing = np.array(volume.grid.spacing)[list(axes.source)]
    pixels = _grey(image[:, :, level])
    inside, outline = found[:, :, level] != 0, wanted[:, :, level] != 0
    pixels[inside] = (0.6 * pixels[inside] + 0.4 * np.array(FOUND)).astype(np.uint8)
    scale = EDGE / max(image.shape[0] * spacing[0], image.shape[1] * spacing[1])
    size = (
        max(1, round(image.shape[0] * spacing[0] * scale)),
        max(1, round(image.shape[1] * spacing[1] * scale)),
    )
    picture = _upright(pixels).resize(size, Image.Resampling.BILINEAR)
    edge = np.array(_upright(outline.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)) > 0
    border = edge & ~(np.roll(edge, 1, 0) & np.roll(edge, -1, 0) & np.roll(edge, 1, 1) & np.roll(edge, -1, 1))
    drawn = np.array(picture)
    drawn[border] = TRUTH
    picture = Image.fromarray(drawn)
    _dots(picture, volume, clicks, axes, image.shape, level)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _grey(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    low, high = np.percentile(plane.astype(np.float32), [1, 99])
    grey = np.clip((plane.astype(np.float32) - low) / max(float(high - low), 1e-6), 0, 1)
    return np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)


def _upright(plane: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(plane[::-1, ::-1].swapaxes(0, 1)))


def _dots(
    picture: Image.Image, volume: Volume, clicks: Sequence[Click], axes: Any, shape: tuple[int, ...], level: int
) -> None:
    pen = ImageDraw.Draw(picture)
    for click in clicks:
        index = volume.grid.to_index(click.world)
        r, a, s = (
            shape[n] - 1 - index[source] if flip else index[source]
            for n, (source, flip) in enumerate(zip(axes.source, axes.flipped, strict=True))
        )
        x = picture.width - (r + 0.5) / shape[0] * picture.width
        y = picture.height - (a + 0.5) / shape[1] * picture.height
        radius = 5 if round(s) == level else 2
        fill = "#0a84ff" if click.positive else "#ff453a"
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline="black", fill=fill)
