"""How unsure a model is of a segment, as a volume with a colour table over the image in the slice views."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from sammed3d.inference.uncertainty import Uncertainty

SURE = 0.1
"""Bits of entropy below which nothing is shown."""
NAME = "Uncertainty"


class UncertaintyOverlay:
    """Show a volume as the foreground of the slice views, and give the views back what they had there.

    While the scene is saved the views have it back too: it is what the file shows.

    Attributes:
        visible: whether it is shown where there is one; off at first.
    """

    def __init__(self) -> None:
        self.visible = False
        self._opacity = 0.5
        self._node: slicer.vtkMRMLScalarVolumeNode | None = None
        self._colours: slicer.vtkMRMLColorTableNode | None = None
        self._before: dict[str, tuple[str | None, float]] = {}
        self._observations: list[int] = []

    @property
    def node(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume, which is not saved with the scene; None where there is none."""
        return self._node if self._node is not None and slicer.mrmlScene.IsNodePresent(self._node) else None

    @property
    def opacity(self) -> float:
        """0 to 1, where it is shown."""
        return self._opacity

    def show(self, found: Uncertainty, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Make the volume, under the transform of the image, in place of the one before."""
        self.remove()
        matrix = vtk.vtkMatrix4x4()
        volumeNode.GetIJKToRASMatrix(matrix)
        origin = matrix.MultiplyPoint((*found.box.begin, 1))
        for row in range(3):
            matrix.SetElement(row, 3, origin[row])
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(NAME)
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node.SetIJKToRASMatrix(matrix)
        node.SetAndObserveImageData(_image(found.entropy))
        self._node = node = slicer.mrmlScene.AddNode(node)
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetAndObserveColorNodeID(self._colourTable().GetID())
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(0.0, 1.0)
        display.AutoThresholdOff()
        display.SetThreshold(SURE, 1.0)
        display.ApplyThresholdOn()
        scene = slicer.mrmlScene
        self._observations = [
            scene.AddObserver(scene.StartSaveEvent, lambda *_: self._giveBack()),
            scene.AddObserver(scene.EndSaveEvent, lambda *_: self._lay()),
        ]
        self._lay()

    def setVisible(self, visible: bool) -> None:
        """Show it, or not."""
        self.visible = visible
        self._lay()

    def setOpacity(self, opacity: float) -> None:
        """Make it more or less opaque (0 to 1)."""
        self._opacity = opacity
        for composite in _composites():
            ours = self._node is not None and composite.GetForegroundVolumeID() == self._node.GetID()
            if ours and composite.GetID() in self._before:
                composite.SetForegroundOpacity(opacity)

    def remove(self) -> None:
        """Take it out of the scene."""
        self._giveBack()
        for tag in self._observations:
            slicer.mrmlScene.RemoveObserver(tag)
        self._observations = []
        for node in (self.node, self._colours):
            if node is not None and slicer.mrmlScene.IsNodePresent(node):
                display = node.GetDisplayNode() if node is self._node else None
                slicer.mrmlScene.RemoveNode(node)
                if display is not None:
                    slicer.mrmlScene.RemoveNode(display)
        self._node = self._colours = None

    def _lay(self) -> None:
        self._giveBack()
        if not self.visible or self.node is None:
            return
        for composite in _composites():
            self._before[composite.GetID()] = composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()
            composite.SetForegroundVolumeID(self._node.GetID())
            composite.SetForegroundOpacity(self._opacity)

    def _giveBack(self) -> None:
        """Give the views their foreground back, unless somebody chose another one meanwhile."""
        for composite in _composites():
            before = self._before.get(composite.GetID())
            if before is None or self._node is None or composite.GetForegroundVolumeID() != self._node.GetID():
                continue
            volumeId, opacity = before
            there = volumeId is not None and slicer.mrmlScene.GetNodeByID(volumeId) is not None
            composite.SetForegroundVolumeID(volumeId if there else None)
            composite.SetForegroundOpacity(opacity)
        self._before.clear()

    def _colourTable(self) -> slicer.vtkMRMLColorTableNode:
        node = slicer.vtkMRMLColorTableNode()
        node.SetTypeToIron()
        node.SetName(NAME)
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        self._colours = slicer.mrmlScene.AddNode(node)
        return self._colours


def _composites() -> list[slicer.vtkMRMLSliceCompositeNode]:
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    nodes.UnRegister(None)
    return [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]


def _image(field: np.ndarray) -> vtk.vtkImageData:
    """Return a field (I, J, K) as an image of its own."""
    image = vtk.vtkImageData()
    image.SetDimensions(field.shape)
    image.GetPointData().SetScalars(numpy_to_vtk(np.asarray(field, np.float32).ravel("F"), deep=True))
    return image
