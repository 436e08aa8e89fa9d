"""Segments kept as cases to train on: what the scene holds of them, and the files.

In two parts, since an image takes seconds to write: `gather` takes from the scene what is needed, on the main thread;
`sammed3d.files.kept_cases` writes it and touches no scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sammed3d import ObjectPrompts, Volume, VolumeError
from sammed3d.files.segmentation import Segment
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.SegmentFacts import terminologyOf
from SAMMed3DSegmentLib.SegmentReader import maskOfSegment
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode


@dataclass(frozen=True, eq=False)
class Gathered:
    """What the scene says.

    Attributes:
        volume: the image; its voxels are a view of the node's.
        segments: masks on its grid, by segment id.
        prompts: those of segments that have some, by segment id.
    """

    volume: Volume
    segments: dict[str, Segment]
    prompts: dict[str, ObjectPrompts]


def gather(segmenter: Segmenter, segmentIds: Sequence[str]) -> Gathered:
    """Take segments and their prompts from the scene.

    Raises:
        VolumeError: there is nothing to keep, or the volume cannot be segmented.
    """
    node, volumeNode = segmenter.segmentationNode, segmenter.volumeNode
    if node is None or volumeNode is None or not segmentIds:
        raise VolumeError("There is no segment to keep. Select one, or tick 'All segments'.")
    segments = {
        segmentId: Segment(
            segment.GetName(),
            maskOfSegment(node, segmentId, volumeNode),
            segment.GetColor(),
            terminologyOf(segment),
        )
        for segmentId in segmentIds
        for segment in (node.GetSegmentation().GetSegment(segmentId),)
    }
    prompts = dict(zip(segmentIds, segmenter.objectPrompts(segmentIds), strict=True))
    known = {key: each for key, each in prompts.items() if each.clicks or each.box is not None or each.drawings}
    return Gathered(volumeFromNode(volumeNode), segments, known)
