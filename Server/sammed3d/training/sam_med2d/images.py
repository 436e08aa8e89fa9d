"""Images of a list as a network learns from them: masks drawn from those of an image, each with a box and a point.

Source: SAM-Med2D `DataLoader.py` (`TrainingDataset`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from sammed3d.errors import VolumeError
from sammed3d.files.image_lists import ListedImage, check_sizes, read_mask, read_pixels
from sammed3d.inference.images import ImageFrame
from sammed3d.inference.preset import Preset
from sammed3d.simulation.image_prompts import box_of, first_points

TRIES = 20


class Images(Dataset[dict[str, Any]]):
    """Images with masks.

    Args:
        listed: the images.
        preset: its patch shape and fit are those of the network's input.
        masks: number of masks drawn from those of an image, some perhaps twice.

    An item is asked for by (index, seed), so that the same seed gives the same item in whatever process. It holds
    "image" (3, S, S) float32, blue first, 0..255 and below 0 in the padding; "masks" (M, 1, S, S) float32; "boxes"
    (M, 4), "points" (M, 1, 2) and "labels" (M, 1), in pixels of that image as x, y; and "seed".
    """

    def __init__(self, listed: Sequence[ListedImage], preset: Preset, masks: int) -> None:
        self.listed, self._preset, self._masks = list(listed), preset, masks

    def __len__(self) -> int:
        return len(self.listed)

    def __getitem__(self, which: tuple[int, int]) -> dict[str, Any]:
        index, seed = which
        rng = np.random.RandomState(seed % 2**32)
        for _ in range(TRIES):
            item = self._item(self.listed[index], rng)
            if item is not None:
                return item | {"seed": seed}
            index = rng.randint(len(self.listed))
        raise VolumeError(
            f"{TRIES} images one after the other show nothing of their masks at {self._preset.patch_shape[0]} pixels, "
            f"the last one {self.listed[index].image}. Leave images with empty masks out of the list."
        )

    def _item(self, listed: ListedImage, rng: np.random.RandomState) -> dict[str, Any] | None:
        """Make an item; None if one of the masks that were drawn is empty, or loses all its pixels by resizing."""
        pixels = read_pixels(listed.image)
        drawn = [listed.masks[rng.randint(len(listed.masks))] for _ in range(self._masks)]
        read = {file: read_mask(file) for file in set(drawn)}
        check_sizes(listed, pixels, read)
        frame = ImageFrame.of((pixels.shape[0], pixels.shape[1]), self._preset)
        masks = [frame.mask(read[file]) for file in drawn]
        if not all(mask.any() for mask in masks):
            return None
        points = [first_points(mask, 1, rng) for mask in masks]
        return {
            "image": torch.from_numpy(frame.image(pixels)),
            "masks": torch.from_numpy(np.stack(masks)[:, None].astype(np.float32)),
            "boxes": torch.from_numpy(np.stack([box_of(mask, rng) for mask in masks])),
            "points": torch.from_numpy(np.stack([coords for coords, _ in points])),
            "labels": torch.from_numpy(np.stack([labels for _, labels in points])),
        }
