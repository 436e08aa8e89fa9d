"""One training example: a simulated user clicks on a patch, pass by pass, and every pass is scored.

Source: SAM-Med3D `train.py` (`interaction`) and `click_method.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sammed3d.core.geometry import Index3
from sammed3d.simulation.clicks import random_click, ritm_click
from sammed3d.training.losses import hard_dice, mask_loss
from sammed3d.training.recipe import Recipe


class ClickLoop(nn.Module):
    """A network and its user.

    Args:
        network: 3-D; see `nets`.
        recipe: the recipe; it says how many clicks, where, and what is scored.
        low_res_shape: shape of the network's logits.

    The first pass gets a zero mask, later ones the previous low-res logits, through which gradients flow.
    """

    def __init__(self, network: Any, recipe: Recipe, low_res_shape: Index3) -> None:
        super().__init__()
        self.network = network
        self._low_res_shape = low_res_shape
        self._recipe = recipe
        self._all = recipe.all_clicks or network.sees_all_clicks

    def forward(
        self, images: Tensor, targets: Tensor, seeds: list[int], batch_seed: int, clicks: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Click on each patch of a batch.

        Args:
            images: (B, 1, n, n, n) normalised.
            targets: (B, 1, n, n, n), 1 inside.
            seeds: one for each patch: what its clicks are drawn from, whatever else is in the batch.
            batch_seed: seed of what all patches of a step share, in whatever processes they are.
            clicks: number of clicks; None for the recipe's, with the recipe's mask-only passes.

        Returns:
            The sum of the losses of all passes, and the Dice of each patch (B,) after the last.
        """
        training = clicks is None
        passes = clicks or self._recipe.clicks
        users = [np.random.RandomState(seed % 2**32) for seed in seeds]
        silent = {int(np.random.RandomState(batch_seed % 2**32).randint(2, 9)), passes - 1} if training else set()
        embedding = self.network.encode(images)
        low_res = images.new_zeros(len(images), 1, *self._low_res_shape)
        logits = torch.zeros_like(targets)
        coords, labels = images.new_zeros(len(images), 0, 3), images.new_zeros(len(images), 0).long()
        loss = images.new_zeros(())
        for n in range(passes):
            new_coords, new_labels = self._clicks(logits, targets, users)
            coords = torch.cat([coords, new_coords], 1) if self._all else new_coords
            labels = torch.cat([labels, new_labels], 1) if self._all else new_labels
            seen = coords, labels
            if self._recipe.mask_only and n in silent and not self.network.sees_all_clicks:
                seen = coords[:, :0], labels[:, :0]  # the click counts from the next pass on
            low_res = self.network.decode(embedding, *seen, low_res)[0]
            logits = functional.interpolate(low_res.float(), size=targets.shape[2:], mode="trilinear")
            loss = loss + mask_loss(logits, targets, self._recipe.loss)
        return loss, hard_dice(logits, targets)

    def _clicks(self, logits: Tensor, targets: Tensor, users: list[np.random.RandomState]) -> tuple[Tensor, Tensor]:
        """Draw a click in the error of each patch; in the structure where there is no error."""
        draw = ritm_click if self._recipe.click_method == "ritm" else random_click
        # "predicted" is where logits exceed 0.5, as published
        predicted, wanted = (logits.detach() > 0.5).cpu().numpy(), (targets > 0).cpu().numpy()
        voxels, signs = [], []
        for found, truth, user in zip(predicted[:, 0], wanted[:, 0], users, strict=True):
            drawn = draw(found, truth, user) or random_click(np.zeros_like(truth), truth, user) or ((0, 0, 0), False)
            voxels.append(drawn[0])
            signs.append(int(drawn[1]))
        coords = torch.tensor(voxels, dtype=torch.float32, device=logits.device)[:, None]
        return coords, torch.tensor(signs, device=logits.device)[:, None]
