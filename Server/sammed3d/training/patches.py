"""Patches round structures, made by the preset of the model that is trained. Cropping and flipping are torchio's.

Source: SAM-Med3D `data_loader.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torchio
from torch import Tensor
from torch.utils.data import Dataset

from sammed3d.errors import VolumeError
from sammed3d.inference.patch import adjust_intensities, normalised
from sammed3d.inference.preset import Preset
from sammed3d.training.images import LabelMap, ScalarImage
from sammed3d.training.prepared import Sample
from sammed3d.training.recipe import Recipe

TRIES = 20


class Patches(Dataset[dict[str, Any]]):
    """Patches round structures.

    Args:
        samples: the samples, prepared at the preset's spacing.
        preset: the preprocessing.
        recipe: augmentation; with normalisation "batch" a z-score is left to `pooled`.
        augment: whether to flip.

    An item is asked for by (index, seed), so that the same seed gives the same patch in whatever process. It holds
    "image" (1, *patch_shape) float32, "mask" of the same shape, 1 inside, "seed" and "index".
    """

    def __init__(self, samples: Sequence[Sample], preset: Preset, recipe: Recipe, augment: bool) -> None:
        self.samples, self._preset, self._recipe, self._augment = list(samples), preset, recipe, augment

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, which: tuple[int, int]) -> dict[str, Any]:
        index, seed = which
        rng = np.random.default_rng(seed)
        for _ in range(TRIES):
            patch = self._patch(self.samples[index], int(rng.integers(2**31)))
            if int(patch["mask"].sum()) > self._recipe.smallest_voxels or not self._augment:
                break
            index = int(rng.integers(len(self.samples)))
        return patch | {"seed": seed, "index": index}

    def _patch(self, sample: Sample, seed: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            image = ScalarImage(sample.image)
            if self._preset.clamp is not None:
                image.set_data(torch.from_numpy(adjust_intensities(image.data.numpy(), self._preset)))
            subject = torchio.Subject(image=image, mask=LabelMap(sample.label))
            steps = [
                torchio.ToCanonical(),
                torchio.CropOrPad(mask_name="mask", target_shape=self._preset.patch_shape),
            ]
            if self._augment:
                steps.append(torchio.RandomFlip(axes=(0, 1, 2), flip_probability=self._recipe.flip))
            cut = torchio.Compose(steps)(subject)
        return {
            "image": self._normalised(cut["image"].data.float(), sample.case),
            "mask": (cut["mask"].data > 0).float(),
        }

    def _normalised(self, image: Tensor, name: str) -> Tensor:
        if self._recipe.normalisation == "batch":
            return image
        try:
            return torch.from_numpy(normalised(image[0].numpy(), self._preset, name))[None].contiguous()
        except VolumeError:  # nothing in it varies: no example, but no reason to stop a run either
            return torch.zeros_like(image)


def pooled(images: Tensor, preset: Preset, recipe: Recipe) -> Tensor:
    """Return a batch with its z-score over the positive voxels of all its images, where the recipe says so.

    That is what the published training does; use, and "sample", normalise each patch by itself.
    """
    if recipe.normalisation != "batch" or preset.normalisation != "zscore_positive":
        return images
    positive = images[images > 0]
    deviation = positive.std() if positive.numel() > 1 else images.new_zeros(())
    return (images - positive.mean()) / deviation if float(deviation) > 0 else images * 0
