"""Pictures of masks over their image, for reports."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from sammed3d.core.geometry import canonical_axes
from sammed3d.core.prompts import Click
from sammed3d.files.volume import Volume
from sammed3d.slice_views import SliceView, outline

FOUND, TRUTH = (255, 159, 10), (48, 209, 88)
"""Colours of the mask, and of the reference's outline."""
EDGE = 360
"""Pixels of a picture's longer edge."""


def png(
    volume: Volume, mask: npt.NDArray[np.generic], truth: npt.NDArray[np.generic], clicks: Sequence[Click] = ()
) -> bytes:
    """Draw the axial slice in which the reference is largest: mask tinted, reference outlined, clicks as dots.

    Args:
        volume: the image.
        mask: the mask that was found, (I, J, K).
        truth: the reference.
        clicks: small where they lie on other slices.

    Returns:
        A PNG file. Right is on the left, anterior on top, as radiologists look at it.
    """
    axes = canonical_axes(volume.grid.index_to_world)
    level = int(np.argmax((axes.apply(truth) != 0).sum(axis=(0, 1))))
    low, high = np.percentile(axes.apply(volume.array)[:, :, level].astype(np.float32), [1, 99])
    view = SliceView(volume, "axial", EDGE, (float(low), float(high)))
    drawn = view.pixels(level, [(mask, [each / 255 for each in FOUND])])
    drawn[outline(view.inside(level, truth))] = TRUTH
    picture = Image.fromarray(drawn)
    pen = ImageDraw.Draw(picture)
    for click in clicks:
        number, x, y = view.place(click.world)
        radius = 5 if number == level else 2
        fill = "#0a84ff" if click.positive else "#ff453a"
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline="black", fill=fill)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
