"""A box round the object, dragged by its handles in the views, as a prompt. MRML only, no trame."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from sammed3d.web.work import Work

SHARE = 1 / 3
"""Of the volume's extent, which a new box has along each axis."""
COLOUR = (1.0, 0.84, 0.04)


class BoxDrawing:
    """A box that is being drawn, a ROI of Slicer's. Used, it goes before all clicks of the selected segment.

    Args:
        work: whose selected segment it is for.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._node: Any = None

    @property
    def drawing(self) -> bool:
        """Whether there is one in the views."""
        return self._node is not None and bool(slicer.mrmlScene.IsNodePresent(self._node))

    def begin(self, middle: tuple[float, float, float]) -> None:
        """Show a box to be dragged; the same again takes it away unused.

        Args:
            middle: its centre, world RAS in mm.
        """
        if self._work.volume_node is None or self.drawing:
            self.stop()
            return
        self._work.place("")
        bounds = [0.0] * 6
        self._work.volume_node.GetRASBounds(bounds)
        low, high = np.array(bounds[::2]), np.array(bounds[1::2])
        self._node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
        self._node.SetCenter(*np.clip(middle, low, high).tolist())
        self._node.SetSize(*(SHARE * (high - low)).tolist())
        self._node.CreateDefaultDisplayNodes()
        display = self._node.GetDisplayNode()
        display.SetHandlesInteractive(True)
        display.SetSelectedColor(*COLOUR)
        display.SetFillVisibility(False)
        display.SetPropertiesLabelVisibility(False)

    def use(self) -> None:
        """Segment what is in the box.

        Raises:
            PromptError: its middle lies outside the volume; it stays to be dragged.
        """
        if self.drawing:
            self._work.segmenter.setBox(self._work.segment_id, self._node)
            self.stop()

    def stop(self) -> None:
        """Take the box away."""
        if self.drawing:
            slicer.mrmlScene.RemoveNode(self._node)
        self._node = None


def crossing(slice_nodes: list[Any]) -> tuple[float, float, float]:
    """Return the place (RAS, mm) that three slices share; of slices that are parallel the nearest to all."""
    planes = [
        np.array([[node.GetSliceToRAS().GetElement(i, j) for j in range(4)] for i in range(4)]) for node in slice_nodes
    ]
    normals = np.array([plane[:3, 2] for plane in planes])
    offsets = np.array([plane[:3, 2] @ plane[:3, 3] for plane in planes])
    r, a, s = np.linalg.lstsq(normals, offsets, rcond=None)[0].tolist()
    return r, a, s
