"""What the module keeps in the scene."""

import slicer
from slicer.parameterNodeWrapper import parameterNodeWrapper


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
