"""The frames of a series that Slicer's Sequences plays: their images, and a segmentation for each.

A sequence browser shows one frame at a time in proxy nodes of the scene; the frames themselves are nodes inside of
sequences. A segmentation becomes the proxy of one here, with Slicer's *save changes*: it shares its segments with
the frame that is shown, so what is clicked or painted there is kept there, and it plays with the images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import slicer
from slicer.i18n import tr as _

from sammed3d import Volume, VolumeError
from SAMMed3DSegmentLib.SegmentReader import digestOfSegment, heldMask
from SAMMed3DSegmentLib.SegmentVoxels import setVoxels
from SAMMed3DSegmentLib.VolumeBridge import imageOf

CARRIED_TAG = "SAMMed3DSegment.Carried"
"""Segment tag of a frame: digest of what was carried into it from another one. What differs, somebody made here."""


@dataclass(frozen=True)
class FrameSequence:
    """A volume node that shows the frames of a sequence.

    Attributes:
        browser: plays the sequence.
        volumeNode: shows its images, a proxy node.
    """

    browser: slicer.vtkMRMLSequenceBrowserNode
    volumeNode: slicer.vtkMRMLScalarVolumeNode

    @classmethod
    def of(cls, volumeNode: slicer.vtkMRMLScalarVolumeNode | None) -> FrameSequence | None:
        """Return the series that a volume node shows; None where it shows none, or one of a single frame."""
        if volumeNode is None or not slicer.mrmlScene.IsNodePresent(volumeNode):
            return None
        browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(volumeNode)
        if browser is None or browser.GetMasterSequenceNode() is None or browser.GetNumberOfItems() < 2:
            return None
        return cls(browser, volumeNode)

    @property
    def count(self) -> int:
        """How many frames there are."""
        return self.browser.GetNumberOfItems()

    @property
    def shown(self) -> int:
        """Which one is shown, from 0; -1 for none."""
        return self.browser.GetSelectedItemNumber()

    def show(self, number: int) -> None:
        """Show a frame."""
        self.browser.SetSelectedItemNumber(number)

    def image(self, number: int) -> Callable[[], Volume]:
        """Return what makes the volume of a frame, see `VolumeBridge.imageOf`; nothing is copied.

        Raises:
            VolumeError: the sequence has no image for this frame, or none that can be segmented.
        """
        name = f"{self.volumeNode.GetName()}, frame {number + 1}"
        node = self._item(self.browser.GetSequenceNode(self.volumeNode), number)
        if node is None:
            raise VolumeError(f"{name}: the sequence has no image there. Choose a range of frames without it.")
        return imageOf(node, name)

    def segmentations(
        self, segmentationNode: slicer.vtkMRMLSegmentationNode | None
    ) -> slicer.vtkMRMLSequenceNode | None:
        """Return the sequence of which a segmentation is the proxy; None where it is none of this browser's."""
        return None if segmentationNode is None else self.browser.GetSequenceNode(segmentationNode)

    def segmentation(
        self, segmentationNode: slicer.vtkMRMLSegmentationNode, number: int
    ) -> slicer.vtkMRMLSegmentationNode:
        """Return the segmentation of a frame; it is in the sequence, not in the scene."""
        return self._item(self.segmentations(segmentationNode), number)

    def adopt(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> slicer.vtkMRMLSequenceNode:
        """Give every frame a segmentation of its own, and let the node show that of the frame that is shown.

        A frame that had none gets a copy, in which one segment is empty and the others count as carried there. Slicer's
        *save changes* is switched on.
        """
        sequence = self.segmentations(segmentationNode)
        isNew = sequence is None
        if isNew:
            sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", self._name(segmentationNode))
            master = self.browser.GetMasterSequenceNode()
            sequence.SetIndexName(master.GetIndexName())
            sequence.SetIndexUnit(master.GetIndexUnit())
            sequence.SetIndexType(master.GetIndexType())
        elif not self.browser.GetSaveChanges(sequence):  # what was done on this frame was to be forgotten
            sequence.SetDataNodeAtValue(segmentationNode, self._index(self.shown))
        for number in range(self.count):
            if self._item(sequence, number) is None:
                copy = sequence.SetDataNodeAtValue(segmentationNode, self._index(number))
                if number != self.shown:
                    _empty(copy, segmentId)
        if isNew:
            self.browser.AddSynchronizedSequenceNode(sequence)
        if isNew or not self.browser.GetSaveChanges(sequence):
            self.browser.SetSaveChanges(sequence, True)
            self.browser.SetOverwriteProxyName(sequence, False)
            if isNew:
                self.browser.AddProxyNode(segmentationNode, sequence, False)
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self.browser)
        self.agree(segmentationNode, set())
        return sequence

    def agree(self, segmentationNode: slicer.vtkMRMLSegmentationNode, removed: set[str]) -> None:
        """Let all frames have the segments of the node: new ones are empty in the others, removed ones go there too."""
        segmentation = segmentationNode.GetSegmentation()
        for number in range(self.count):
            frame = self._item(self.segmentations(segmentationNode), number)
            if frame is None or frame.GetSegmentation() is segmentation:
                continue
            for segmentId in segmentation.GetSegmentIDs():
                own, segment = frame.GetSegmentation().GetSegment(segmentId), segmentation.GetSegment(segmentId)
                if own is None:
                    own = slicer.vtkSegment()
                    own.DeepCopyMetadata(segment)
                    own.RemoveTag(CARRIED_TAG)
                    frame.GetSegmentation().AddSegment(own, segmentId)
                elif own.GetName() != segment.GetName() or own.GetColor() != segment.GetColor():
                    own.SetName(segment.GetName())
                    own.SetColor(*segment.GetColor())
            for segmentId in removed:
                frame.GetSegmentation().RemoveSegment(segmentId)

    def changed(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
        """Say that frames were written, so that they are saved with the scene."""
        self.segmentations(segmentationNode).StorableModified()

    def _name(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> str:
        name = _("{segmentation} sequence").format(segmentation=segmentationNode.GetName())
        return slicer.mrmlScene.GenerateUniqueName(name)

    def _index(self, number: int) -> str:
        return self.browser.GetMasterSequenceNode().GetNthIndexValue(number)

    def _item(self, sequence: slicer.vtkMRMLSequenceNode, number: int):
        return sequence.GetDataNodeAtValue(self._index(number), True)


def _empty(frame: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
    """Empty a segment of a frame's segmentation; the others count as carried there."""
    matrix, held = heldMask(frame, segmentId)
    setVoxels(frame, segmentId, matrix, held, False)
    segmentation = frame.GetSegmentation()
    for each in segmentation.GetSegmentIDs():
        segmentation.GetSegment(each).SetTag(CARRIED_TAG, digestOfSegment(frame, each))
