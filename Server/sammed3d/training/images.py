"""torchio's images, made without a look through the whole call stack.

torchio 0.20 looks there for a loader of torch at each image that it makes, to warn of batches that are images. Our
patches are plain tensors, and the look takes longer than cutting a patch: a twentieth of a second below a deep stack.
"""

from __future__ import annotations

import torchio


class ScalarImage(torchio.ScalarImage):
    """`torchio.ScalarImage`; transforms make more of its kind."""

    @staticmethod
    def _check_data_loader() -> None:
        """Look for no loader."""


class LabelMap(torchio.LabelMap):
    """`torchio.LabelMap`; transforms make more of its kind."""

    @staticmethod
    def _check_data_loader() -> None:
        """Look for no loader."""
