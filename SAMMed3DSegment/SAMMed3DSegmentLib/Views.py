"""The slice views: where they look, and what of the world they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import slicer


def jumpTo(world: Sequence[float]) -> None:
    """Centre all slice views on a world position (RAS mm)."""
    mode = slicer.vtkMRMLSliceNode.CenteredJumpSlice
    r, a, s = world
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, r, a, s, mode)


def show(volumeNode: slicer.vtkMRMLVolumeNode) -> None:
    """Show a volume in the slice views, but for those in which it is shown already."""
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    nodes.UnRegister(None)
    for index in range(nodes.GetNumberOfItems()):
        composite = nodes.GetItemAsObject(index)
        if volumeNode.GetID() not in (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()):
            composite.SetBackgroundVolumeID(volumeNode.GetID())


def shownSliceNodes() -> Iterator[slicer.vtkMRMLSliceNode]:
    """Yield the slice views of the layout."""
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLSliceNode")
    nodes.UnRegister(None)
    for index in range(nodes.GetNumberOfItems()):
        node = nodes.GetItemAsObject(index)
        if node.IsMappedInLayout() and min(node.GetDimensions()[:2]) > 0:
            yield node
