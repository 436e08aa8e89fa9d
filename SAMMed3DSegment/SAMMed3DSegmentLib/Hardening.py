"""Transforms that were hardened into a volume: its prompts stay where they are in the world, in its new frame.

Into a segmentation: what its segments held for earlier prompts lies elsewhere then, see `SegmentPrompts`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
import vtk

from sammed3d import BoxPrompt
from sammed3d.core.geometry import Point3
from sammed3d.inference.inferer import PromptState
from SAMMed3DSegmentLib.MaskGrids import arrayFromMatrix, matrixOfVolume

TOLERANCE = 1e-4
"""mm, and of direction cosines: by how much a hardened matrix may differ from the product, by rounding."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a volume was.

    Attributes:
        parent: its parent transform; None for none.
        matrix: its IJK-to-RAS matrix (4, 4).
        image: its voxels; None for none.
        digest: digest of its image, see `VolumeBridge.volumeDigest`.
    """

    parent: slicer.vtkMRMLTransformNode | None
    matrix: np.ndarray
    image: vtk.vtkImageData | None
    digest: str

    @classmethod
    def of(cls, volumeNode: slicer.vtkMRMLScalarVolumeNode, digest: str) -> Place:
        """Note where a volume is now."""
        return cls(volumeNode.GetParentTransformNode(), matrixOfVolume(volumeNode), volumeNode.GetImageData(), digest)

    def hardenedInto(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Tell whether the transform that the volume was under is part of its geometry or voxels now."""
        now = volumeNode.GetParentTransformNode()
        if self.parent is None or now is self.parent:
            return False
        matrix = self.straight(volumeNode)
        if matrix is None:  # bent: the voxels were made anew
            return volumeNode.GetImageData() is not self.image
        moved = not np.allclose(matrix, np.eye(4), atol=TOLERANCE)
        return moved and np.allclose(matrixOfVolume(volumeNode), matrix @ self.matrix, atol=TOLERANCE)

    def straight(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray | None:
        """Return the matrix (4, 4) from the volume's frame of then to that of now; None where there is none."""
        return _straight(self.parent, volumeNode)


@dataclass(frozen=True)
class SegmentationPlace:
    """Where a segmentation was.

    Attributes:
        parent: its parent transform; None for none.
        geometry: its reference image geometry, as Slicer writes it; hardening changes that, too.
    """

    parent: slicer.vtkMRMLTransformNode | None
    geometry: str

    @classmethod
    def of(cls, segmentationNode: slicer.vtkMRMLSegmentationNode) -> SegmentationPlace:
        """Note where a segmentation is now."""
        name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
        geometry = segmentationNode.GetSegmentation().GetConversionParameter(name)
        return cls(segmentationNode.GetParentTransformNode(), geometry or "")

    def hardenedInto(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> bool:
        """Tell whether the transform that the segmentation was under is part of its geometry now."""
        now = self.of(segmentationNode)
        return self.parent is not None and now.parent is not self.parent and now.geometry != self.geometry

    def straight(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> np.ndarray | None:
        """Return the matrix (4, 4) from the segmentation's frame of then to that of now; None where there is none."""
        return _straight(self.parent, segmentationNode)


def _straight(parent: slicer.vtkMRMLTransformNode, node: slicer.vtkMRMLTransformableNode) -> np.ndarray | None:
    now = node.GetParentTransformNode()
    if not parent.IsTransformToNodeLinear(now):
        return None
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(parent, now, matrix)
    return arrayFromMatrix(matrix)


def movedPoint(point: Point3, matrix: np.ndarray) -> Point3:
    """Return where a matrix (4, 4) brings a point (RAS mm)."""
    r, a, s = (matrix[:3, :3] @ point + matrix[:3, 3]).tolist()
    return r, a, s


def movedBox(box: BoxPrompt, matrix: np.ndarray) -> BoxPrompt:
    """Return the box round where a matrix (4, 4) brings a box, which may be turned."""
    corners = np.array([movedPoint(corner, matrix) for corner in box.corners])
    (a, b, c), (d, e, f) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return BoxPrompt((a, b, c), (d, e, f))


def movedState(state: PromptState, matrix: np.ndarray) -> PromptState:
    """Return prompts where a matrix (4, 4) brings them; masks are in voxels, and stay."""
    return replace(
        state,
        clicks=tuple(replace(click, world=movedPoint(click.world, matrix)) for click in state.clicks),
        box=None if state.box is None else movedBox(state.box, matrix),
        drawings=tuple(
            replace(drawn, points=tuple(movedPoint(point, matrix) for point in drawn.points))
            for drawn in state.drawings
        ),
    )


def movedRecord(content: dict[str, Any], matrix: np.ndarray) -> dict[str, Any]:
    """Return what `SceneRecord` has written of states, where a matrix (4, 4) brings them."""
    return {**content, "states": [_movedEntry(entry, matrix) for entry in content["states"]]}


def _movedEntry(entry: list[Any], matrix: np.ndarray) -> list[Any]:
    shared, clicks, digest, corners, model, *rest = entry
    clicks = [[*movedPoint(click[:3], matrix), *click[3:]] for click in clicks]
    if corners is not None:
        box = movedBox(BoxPrompt(tuple(corners[:3]), tuple(corners[3:])), matrix)
        corners = [*box.begin, *box.end]
    if rest:
        drawings, honour = rest
        drawings = [{**each, "points": [movedPoint(point, matrix) for point in each["points"]]} for each in drawings]
        rest = [drawings, honour]
    return [shared, clicks, digest, corners, model, *rest]
