"""What the module keeps in the scene."""

from dataclasses import dataclass

import slicer
from slicer.parameterNodeWrapper import parameterNodeWrapper

from SAMMed3DSegmentLib.SegmentWriter import overwriteMode, setOverwriteMode


@parameterNodeWrapper
class SAMMed3DSegmentParameterNode:
    """Saved with the scene.

    volume: what is segmented.
    segmentation: where the segments go.
    segmentId: the selected segment.
    model: name of the chosen model.
    """

    volume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    segmentId: str = ""
    model: str = "default"


@dataclass(frozen=True)
class Choices:
    """What a user works on, and how; a scene that is added brings choices of its own in place of them.

    Attributes:
        volume, segmentation, segmentId, model: see `SAMMed3DSegmentParameterNode`.
        overwriteMode: see `SegmentWriter.overwriteMode`.
    """

    volume: slicer.vtkMRMLScalarVolumeNode | None
    segmentation: slicer.vtkMRMLSegmentationNode | None
    segmentId: str
    model: str
    overwriteMode: int

    @classmethod
    def of(cls, node: SAMMed3DSegmentParameterNode) -> "Choices | None":
        """Return the scene's; None where neither a volume nor a segmentation is chosen."""
        if node.volume is None and node.segmentation is None:
            return None
        return cls(node.volume, node.segmentation, node.segmentId, node.model, overwriteMode())

    def restore(self, node: SAMMed3DSegmentParameterNode) -> None:
        """Let them be the scene's again."""
        node.volume, node.segmentation, node.segmentId = self.volume, self.segmentation, self.segmentId
        node.model = self.model
        setOverwriteMode(self.overwriteMode)
