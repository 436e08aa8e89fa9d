"""One segment's prompts: its points, their timeline, and what the segment holds for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import slicer

from sammed3d import Click, VolumeError
from sammed3d.core.geometry import voxel_offset
from sammed3d.core.mask import changed_box
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.object_timeline import ObjectTimeline
from SAMMed3DSegmentLib import DrawingNodes, MaskGrids, PointList, SceneRecord, SegmentWriter
from SAMMed3DSegmentLib.Hardening import SegmentationPlace, movedState
from SAMMed3DSegmentLib.InferenceThread import InferenceThread
from SAMMed3DSegmentLib.Job import Job
from SAMMed3DSegmentLib.Neighbours import Trace
from SAMMed3DSegmentLib.PointObserver import PointObserver
from SAMMed3DSegmentLib.SegmentDigests import SegmentDigests
from SAMMed3DSegmentLib.SegmentReader import digestOf, heldMask, maskOfSegment
from SAMMed3DSegmentLib.SegmentWriter import NOTHING, Holdings
from SAMMed3DSegmentLib.VolumeBridge import placementOf, placementUnder


class SegmentPrompts:
    """Keep points, timeline and voxels of one segment in step.

    Args:
        segmentationNode: the segmentation.
        segmentId: the segment's id in it.
        volumeNode: the volume that is segmented.
        image: digest of its image.
        observer: observes the points; does not call back while they are changed here.
        digests: tell whether somebody else changed the segment.
        beforeWriting: called before the segment is changed.
        pointsShown: whether a new list of points is shown; None: as the others are.

    Attributes:
        segmentationNode, segmentId: which segment it is.
        points: the segment's point list, made if need be.
        timeline: states of its prompts, from the scene if they were saved there.
        job: what is being evaluated, if anything.
        question: what the model is being asked about what the segment shows, if anything.
    """

    def __init__(
        self,
        segmentationNode: slicer.vtkMRMLSegmentationNode,
        segmentId: str,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        image: str,
        observer: PointObserver,
        digests: SegmentDigests,
        beforeWriting: Callable[[], None] = lambda: None,
        pointsShown: bool | None = None,
    ) -> None:
        self.segmentationNode, self.segmentId = segmentationNode, segmentId
        self.job: Job | None = None
        self.question: Job | None = None
        self._written: PromptState | None = None
        self._hardened = False
        self._foreign = ("", "")  # what was written, and what the segment held that is not the same on another grid
        self._observer, self._digests, self._beforeWriting = observer, digests, beforeWriting
        self._held = Holdings.of(segmentationNode, segmentId, volumeNode)
        shown = maskOfSegment(segmentationNode, segmentId, volumeNode)
        points = PointList.pointListOf(segmentationNode, segmentId)
        record = None if points is None else SceneRecord.kept(points, segmentationNode, segmentId, volumeNode)
        if record is not None:
            edited = digests.differs(segmentationNode, segmentId)
            self.timeline = ObjectTimeline.restored(record.states, record.position, shown, record.image, edited)
            self._held = replace(self._held, placement=record.placement)
        else:
            self.timeline = ObjectTimeline(PromptState((), shown), image)
            digests.mark(segmentationNode, segmentId)
        self.timeline.kept = self._held
        with observer.quietly():
            self.points = points or PointList.createPointList(segmentationNode, segmentId, volumeNode, pointsShown)
        observer.observe(self.points)
        if record is None:
            self._keep(volumeNode)

    @property
    def key(self) -> tuple[str, str]:
        """Segmentation node id and segment id."""
        return self.segmentationNode.GetID(), self.segmentId

    @property
    def name(self) -> str:
        """The segment's name."""
        return self.segmentationNode.GetSegmentation().GetSegment(self.segmentId).GetName()

    @property
    def isThere(self) -> bool:
        """Whether all that they refer to is still in the scene."""
        scene = slicer.mrmlScene
        return all(scene.GetNodeByID(node.GetID() or "") is node for node in (self.points, self.segmentationNode)) and (
            self.segmentationNode.GetSegmentation().GetSegment(self.segmentId) is not None
        )

    def concerns(self, node: slicer.vtkMRMLNode) -> bool:
        """Tell whether what is being evaluated or asked needs a node: the volume, the segmentation, or the points."""
        jobs = [job for job in (self.job, self.question) if job is not None]
        sources = [slicer.mrmlScene.GetNodeByID(job.source) for job in jobs]
        return bool(jobs) and any(node is each for each in (*sources, self.segmentationNode, self.points))

    def endQuestion(self, thread: InferenceThread) -> None:
        """Ask no more about what the segment shows: nobody waits for the answer, or it shows something else soon."""
        if self.question is not None:
            self.question = None
            thread.cancel((*self.key, "question"))

    @property
    def edited(self) -> bool:
        """Whether somebody else changed the segment since it was written.

        Its tag tells that across sessions; undo of the Segment Editor brings back an older tag with the older voxels.
        """
        differs = self._digests.differs(self.segmentationNode, self.segmentId)
        return differs or self._digests.now(self.segmentationNode, self.segmentId) != self._held.digest

    def isOurs(self, image: str) -> bool:
        """Tell whether the segment holds what its prompts made of an image."""
        return image == self.timeline.image and not self.edited

    def isInPlace(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Tell whether the volume lies where it lay when the segment was written."""
        return placementOf(volumeNode, self.segmentationNode) == self._held.placement

    def takeOver(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, image: str) -> None:
        """Start from what the segment holds: somebody edited it, or it is of another image or another place."""
        self._hardened = False
        mask = maskOfSegment(self.segmentationNode, self.segmentId, volumeNode)
        if image == self.timeline.image:
            self.timeline.take_over(mask)
        else:  # earlier states are about another image, maybe on another grid
            self.timeline.other_image(image, mask)
        held = Holdings.of(self.segmentationNode, self.segmentId, volumeNode)
        self._hold(replace(held, taken=self._held.taken, trace=self._held.trace))

    def hardened(self, matrix: np.ndarray, image: str, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Follow the volume, into which a transform (4, 4) was hardened; tells whether prompts were taken back for it.

        Those are taken back that wait for a prediction. What neighbours lost is forgotten: they may be hardened or not.
        """
        self.job, self._hardened = None, True
        self.timeline.image_moved(image, lambda state: movedState(state, matrix))
        self._held = replace(self._held, taken={}, trace=Trace())
        pending = self.timeline.pending
        if pending:
            self.failed(volumeNode)
        else:
            self._keep(volumeNode)
        return pending

    def rejoin(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Take a segment as what its prompts made that only lies in another way, or on another grid.

        After a transform was hardened it lies on the volume as before; after *Specify geometry* it holds the same.
        """
        if self.edited and self._isResampled():
            held = Holdings.of(self.segmentationNode, self.segmentId, volumeNode)
            self._hold(replace(held, taken=self._held.taken, trace=self._held.trace, placement=self._held.placement))
            self._keep(volumeNode)
        if not self._hardened or not (self.edited or not self.isInPlace(volumeNode)):
            return
        mask = maskOfSegment(self.segmentationNode, self.segmentId, volumeNode)
        if changed_box(mask, self.timeline.mask) is None:
            self._hold(Holdings.of(self.segmentationNode, self.segmentId, volumeNode))
            self._keep(volumeNode)

    def _isResampled(self) -> bool:
        """Tell whether a segment holds what was written into it, on a grid of other voxels; compared but once."""
        compared = self._held.digest, self._digests.now(self.segmentationNode, self.segmentId)
        if compared == self._foreign:
            return False
        matrix, held = heldMask(self.segmentationNode, self.segmentId)
        written, grid = self._held.voxels.mask(), self._held.matrix
        both = held is not None and written is not None
        if both and voxel_offset(matrix, grid) is None and MaskGrids.isOnGrid(written, grid, held, matrix):
            return True
        self._foreign = compared
        return False

    def segmentationHardened(self, before: SegmentationPlace, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Follow the segmentation, into which the transform was hardened that it was under before.

        All masks are known on the volume's grid, which did not move; what the segment held for them lay elsewhere.
        """
        held, matrix = self._held, before.straight(self.segmentationNode)
        inPlace = placementUnder(volumeNode, before.parent) == held.placement
        self.timeline.image_moved(self.timeline.image, lambda state: state)
        if matrix is not None and inPlace and held.voxels.box is not None:
            moved = matrix @ held.matrix
            if digestOf(moved, held.voxels.mask()) == self._digests.now(self.segmentationNode, self.segmentId):
                self._hold(Holdings.of(self.segmentationNode, self.segmentId, volumeNode))
        self._keep(volumeNode)

    def newClicks(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> tuple[Click, ...] | None:
        """Return the clicks that the points make, or None where they are those in force."""
        clicks = PointList.clicksFromPointList(self.points, volumeNode)
        return None if PointList.same_clicks(clicks, self.timeline.now.clicks) else clicks

    def show(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Make the points those of the state in force, and keep the timeline in the scene."""
        with self._observer.quietly():
            PointList.setClicks(self.points, self.timeline.now.clicks, volumeNode)
            DrawingNodes.setDrawings(self.segmentationNode, self.segmentId, self.timeline.now.drawings, volumeNode)
        self._keep(volumeNode)

    def takeOut(self, refused: Sequence[Click], volumeNode: slicer.vtkMRMLScalarVolumeNode, image: str) -> None:
        """Take points out that cannot be clicks; where they were clicks before, they go back there."""
        if image == self.timeline.image:
            self.show(volumeNode)
            return
        clicks = PointList.clicksFromPointList(self.points, volumeNode)
        with self._observer.quietly():
            PointList.setClicks(self.points, [click for click in clicks if click not in refused], volumeNode)

    def recall(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Write the mask of the state in force, if it is known; tells whether it is.

        Raises:
            VolumeError: it cannot be written, see `SegmentWriter.write`; what was shown before is still shown.
        """
        wasShown = self.timeline.shown
        with self.timeline.showing():
            if not self.timeline.recall():
                return False
            if self.timeline.shown is not wasShown:
                held = self.timeline.kept
                if isinstance(held, Holdings):
                    self._beforeWriting()
                    restored = SegmentWriter.restore(self.segmentationNode, self.segmentId, held, self._held)
                    self._hold(replace(restored, placement=held.placement))
                else:
                    self._write(volumeNode)
        self._written = None
        return True

    def evaluated(self, job: Job, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Take the mask of a job; tells whether the segment shows it now.

        Raises:
            VolumeError: the mask cannot be written, see `SegmentWriter.write`; what was shown before is still shown.
        """
        grid = job.volume.grid.index_to_world
        SegmentWriter.check(self.segmentationNode, self.segmentId, volumeNode, job.mask, grid)
        followed = None if job.followed is None else job.followed.state
        with self.timeline.showing():
            if not self.timeline.evaluated(job.state, job.mask, followed):
                return False
            self._write(volumeNode, grid, more=self._written is job.state)
        self._written = job.state
        self._keep(volumeNode)
        return True

    def withdraw(self, state: PromptState, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Forget a state that turned out to change nothing."""
        self.timeline.withdraw(state)
        self._keep(volumeNode)

    def catchUp(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
        """Put the state in force whose voxels somebody brought back, as undo in the Segment Editor does.

        Tells whether there is one; what is being evaluated goes on, and so does an edit that no state made.
        """
        if self.timeline.pending or not self.edited:
            return False
        digest = self._digests.now(self.segmentationNode, self.segmentId)
        if not self.timeline.return_to(lambda held: isinstance(held, Holdings) and held.digest == digest):
            return False
        held = self.timeline.kept
        assert isinstance(held, Holdings)  # noqa: S101 - `return_to` has looked
        self._hold(held)
        self.show(volumeNode)
        return True

    def failed(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> int:
        """Go back to the state that the segment shows; returns how many prompts were taken back."""
        abandoned = self.timeline.failed()
        with suppress(VolumeError):  # refused again: the segment is as it was, and the next click or step tries again
            self.recall(volumeNode)
        self.show(volumeNode)
        boxes = int(abandoned.box is not None and abandoned.box != self.timeline.now.box)
        drawn = sum(drawing not in self.timeline.now.drawings for drawing in abandoned.drawings)
        return len(self.timeline.fresh(abandoned.clicks)) + boxes + drawn

    def _write(
        self, volumeNode: slicer.vtkMRMLScalarVolumeNode, grid: np.ndarray | None = None, more: bool = False
    ) -> None:
        """Write the mask that is shown; `more` of the same state is part of the same operation."""
        edited, mask, before = self.edited, self.timeline.mask, self._held
        if mask is None and self.timeline.shown.is_start:  # emptied, all of it
            before = replace(before, beyond=NOTHING)
        if not more:
            self._beforeWriting()
        held = SegmentWriter.write(self.segmentationNode, self.segmentId, volumeNode, mask, before, grid)
        held = replace(held, placement=placementOf(volumeNode, self.segmentationNode))
        self._hold(held, mark=not edited)  # an edit made meanwhile is still to be taken over, at the next click

    def _hold(self, held: Holdings, mark: bool = True) -> None:
        self._held = self.timeline.kept = held
        if mark:
            self._digests.mark(self.segmentationNode, self.segmentId, held.digest)

    def _keep(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        with self._observer.quietly():
            node, placement = self.segmentationNode, self._held.placement
            SceneRecord.keep(self.points, node, self.segmentId, volumeNode, self.timeline, placement)
