"""Sessions on pictures: the same prompts, undo and objects as on volumes, in pixels and with 2-D models.

A picture is one slice to the code that evaluates prompts, and a pixel's place on it stands for a place in the world.
That world ends here: prompts come in as columns and rows, and files get the grid that the picture has.

Source of preprocessing and prompts: SAM-Med2D `DataLoader.py`, `utils.py`, `test.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Point3
from sammed3d.core.interpolation import Float32
from sammed3d.errors import PromptError
from sammed3d.files.picture import PLANE, Picture, PictureVolume, write_picture_segments
from sammed3d.files.segmentation import Segment
from sammed3d.inference.picture_candidates import Candidate, candidates_of, flat, slices_asked, weighed
from sammed3d.inference.picture_search import FoundObject, PictureSearch, search
from sammed3d.inference.predictor import PatchClick, PatchPrompts, Prediction, Predictor
from sammed3d.inference.session import Session
from sammed3d.inference.session_object import Update, state_of


class PictureSession:
    """Segment objects of a picture by clicks and boxes, in pixels: column and row, the upper left pixel is 0, 0.

    Args:
        picture: the image.
        predictor: a 2-D model, SAM-Med2D or FT-SAM.

    Attributes:
        session: objects, undo, redo and all that has no coordinates.

    Raises:
        ModelError: the model works in 3-D.

    Example:
        >>> session = PictureSession(Picture.read("lesion.png"), load_predictor("sam_med2d"))
        >>> session.click(120, 80)
        >>> session.save("mask.png")
    """

    def __init__(self, picture: Picture, predictor: Predictor) -> None:
        self.picture = picture
        self.session = Session(PictureVolume.of(picture), predictor)
        self._inner = slices_asked(self.session.inferer)

    def click(self, column: float, row: float, positive: bool = True) -> Update:
        """Add a click on a pixel.

        Raises:
            PromptError: it lies outside the picture.
        """
        return self.session.click(self._place(column, row), positive)

    def set_box(self, left: float, top: float, right: float, bottom: float) -> Update:
        """Draw a box round the object, by the pixels in two opposite corners; it applies before all clicks.

        Raises:
            PromptError: a corner lies outside the picture.
        """
        return self.session.set_box(self._place(left, top), self._place(right, bottom))

    def start_from(self, mask: npt.NDArray[np.generic]) -> Update:
        """Start again from an existing mask (H, W), non-zero inside, which later clicks refine.

        Raises:
            VolumeError: it has another size.
        """
        return self.session.start_from(mask.T[..., None])

    def mask(self) -> npt.NDArray[np.uint8]:
        """Return the mask of the current object: uint8 0/1 (H, W)."""
        return flat(self.session.mask())

    def candidates(self, cancellation: Cancellation | None = None) -> tuple[Candidate, ...]:
        """Return the masks that the model weighed after the last prompt, the best (which `mask` is) first.

        Raises:
            ModelError: it weighs none, or runs on a server that does not tell.
            PromptError: there is no prompt yet.
        """
        return candidates_of(self.session.inferer, state_of(self.session.current), cancellation)

    def find(
        self,
        settings: PictureSearch | None = None,
        cancellation: Cancellation | None = None,
        progress: Callable[[int, int], None] | None = None,
        keep: bool = False,
    ) -> list[FoundObject]:
        """Find objects without a click, the best first; the session stays as it is.

        Args:
            settings: the settings that decide what counts as an object.
            cancellation: stops it.
            progress: called with the points done and their number.
            keep: whether a search that was stopped returns what it found so far.

        Raises:
            ModelError: the model weighs no masks, or runs on a server that does not tell.
            PredictionCancelled: `cancellation` was used, and `keep` not.
        """
        slices, patch = self._inner.slices, self._inner.slices.cut(self.session.volume, 0)

        def weigh(column: float, row: float, cancellation: Cancellation | None) -> tuple[Prediction, ...]:
            _, (x, y) = slices.place(self._place(column, row))
            prompts = PatchPrompts([PatchClick((x, y, 0.0), True)])
            return weighed(self.session.predictor, patch, prompts, cancellation)

        def paint(low_res: Float32) -> npt.NDArray[np.bool_]:
            painted: npt.NDArray[np.bool_] = flat(slices.paint(low_res)[..., None]) != 0
            return painted

        shape = self.picture.height, self.picture.width
        return search(settings or PictureSearch(), shape, weigh, paint, cancellation, progress, keep)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all objects as `.seg.nrrd` or a label map on the picture's own grid, or the only one as a PNG.

        Raises:
            VolumeError: a reason of `picture.write_picture_segments`.
        """
        segments = [Segment(o.name, o.mask, o.color) for o in self.session.objects]
        write_picture_segments(Path(path), segments, self.picture.grid)

    def _place(self, column: float, row: float) -> Point3:
        if not (-0.5 <= column <= self.picture.width - 0.5 and -0.5 <= row <= self.picture.height - 0.5):
            raise PromptError(
                f"The pixel {column:g},{row:g} lies outside {self.picture.name}, which has "
                f"{self.picture.width} x {self.picture.height} pixels (counted from 0,0, upper left)."
            )
        x, y, z, _ = (PLANE @ (column, row, 0.0, 1.0)).tolist()
        return x, y, z
