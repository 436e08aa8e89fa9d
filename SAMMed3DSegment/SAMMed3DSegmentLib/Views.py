"""The slice views: where they look, and what of the world they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import slicer


def jumpTo(world: Sequence[float]) -> None:
    """Centre all slice views on a world position (RAS mm)."""
    mode = slicer.vtkMRMLSliceNode.CenteredJumpSlice
    r, a, s = world
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, r, a, s, mode)


def shownSliceNodes() -> Iterator[slicer.vtkMRMLSliceNode]:
    """Yield the slice views of the layout."""
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLSliceNode")
    nodes.UnRegister(None)
    for index in range(nodes.GetNumberOfItems()):
        node = nodes.GetItemAsObject(index)
        if node.IsMappedInLayout() and min(node.GetDimensions()[:2]) > 0:
            yield node
