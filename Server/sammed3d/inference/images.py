"""2-D images as SAM-Med2D sees them, and the way back to their own pixels.

Source: SAM-Med2D `utils.py` (`train_transforms`) and `test.py` (`postprocess_masks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sammed3d.core.interpolation import Float32, resize
from sammed3d.inference.preset import Preset
from sammed3d.inference.slices import OUTSIDE, nearest_pixels


@dataclass(frozen=True)
class ImageFrame:
    """Where an image lies in a model's input: resized by nearest pixels, or, if it is small, in the middle of nothing.

    Attributes:
        shape: rows and columns of the image.
        size: edge length of the model's input.
        pads: whether an image that is smaller in both directions is padded instead of enlarged.
    """

    shape: tuple[int, int]
    size: int
    pads: bool

    @classmethod
    def of(cls, shape: tuple[int, int], preset: Preset) -> ImageFrame:
        """Return the frame of an image by a model's preset."""
        return cls(shape, preset.patch_shape[0], preset.fit == "pad")

    @property
    def is_padded(self) -> bool:
        """Whether this image is padded."""
        return self.pads and max(self.shape) < self.size

    def image(self, pixels: npt.NDArray[np.uint8]) -> Float32:
        """(H, W, 3) 0..255 -> (3, size, size) float32, `OUTSIDE` in the padding."""
        return np.ascontiguousarray(self._placed(pixels, OUTSIDE, np.float32).transpose(2, 0, 1))

    def mask(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """(H, W) -> (size, size)."""
        return self._placed(mask, False, np.bool_)

    def paint(self, low_res: Float32) -> npt.NDArray[np.bool_]:
        """Turn low-res logits (n, n) into the image's mask (H, W)."""
        inner = resize(low_res[..., None], (self.size, self.size, 1))
        if self.is_padded:
            (top, left), (height, width) = self._corner, self.shape
            logits = inner[top : top + height, left : left + width]
        else:
            logits = resize(inner, (*self.shape, 1))
        return logits[..., 0] > 0

    @property
    def _corner(self) -> tuple[int, int]:
        return (self.size - self.shape[0]) // 2, (self.size - self.shape[1]) // 2

    def _placed(self, pixels: npt.NDArray[Any], outside: float, dtype: type[np.generic]) -> npt.NDArray[Any]:
        if not self.is_padded:
            return pixels[np.ix_(*(nearest_pixels(n, self.size) for n in self.shape))].astype(dtype)
        (top, left), (height, width) = self._corner, self.shape
        placed = np.full((self.size, self.size, *pixels.shape[2:]), outside, dtype)
        placed[top : top + height, left : left + width] = pixels
        return placed
