"""The way of a click in Slicer: a point list changed, prompts are evaluated in the background, a segment is written.

MRML only. A front end calls `poll` from a timer while `busy`, and is told by `onChanged` when there is something new.

What a segment holds is never lost:
- A segment that was drawn, imported or edited by hand since the last click is the new starting point of its next click.
- So is one whose volume was exchanged, or moved on to another frame of a sequence.
- A prediction that fails or is cancelled takes its prompts back; the segment stays as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import slicer

from sammed3d import Click, ObjectPrompts, SAMMed3DError, Update, VolumeError
from sammed3d.core.mask import BoxedMask
from sammed3d.inference.history import PromptHistory
from sammed3d.inference.inferer import PromptState
from SAMMed3DSegmentLib import PointList, Surface
from SAMMed3DSegmentLib.BoxRoi import boxOf, keepBox, keptBox
from SAMMed3DSegmentLib.InferenceThread import InferenceThread, Job
from SAMMed3DSegmentLib.PointObserver import PointObserver
from SAMMed3DSegmentLib.SegmentDigests import SegmentDigests
from SAMMed3DSegmentLib.SegmentReader import maskOfSegment
from SAMMed3DSegmentLib.SegmentWriter import SegmentWriter
from SAMMed3DSegmentLib.StartingMasks import keepStartingMask, startingMask
from SAMMed3DSegmentLib.VolumeBridge import volumeDigest, volumeFromNode

IMAGE_ATTRIBUTE = "SAMMed3DSegment.Image"
"""Attribute of a point list: digest of the image that its clicks are about."""
CLICKS_ATTRIBUTE = "SAMMed3DSegment.Clicks"
"""Attribute of a point list: how many of its points made the segment, for a scene that is saved in the middle."""

Key = tuple[str, str]
"""Segmentation node id and segment id."""


@dataclass(eq=False)
class SegmentPrompts:
    """What is known of one segment's prompts.

    Attributes:
        points: its point list.
        history: of its prompts.
        evaluated: the history as it was when the segment was last written; what a failure goes back to.
        shown: the mask that the segment shows for that state.
        image: digest of the volume's image that the prompts are about.
        job: what is being evaluated, if anything.
    """

    points: PointList.PointListNode
    history: PromptHistory
    evaluated: PromptHistory
    shown: BoxedMask | None
    image: str
    job: Job | None = None


class Segmenter:
    """Keep the segments of a segmentation in step with their points.

    Args:
        thread: evaluates prompts.
        onChanged: called on the main thread whenever there is something new to show.

    Attributes:
        onChanged: see above.
        model: name of the model that evaluates the next prompts.
        modelName: from that to the name for the thread; asked at every click, since settings may change in between.
        message: what the user should know about the last operation; "" if all is well.
        seconds: time by stage of the last prediction.
    """

    def __init__(self, thread: InferenceThread, onChanged: Callable[[], None] = lambda: None) -> None:
        self._thread = thread
        self.onChanged = onChanged
        self.model = "default"
        self.modelName: Callable[[str], str] = str
        self.message = ""
        self.seconds: dict[str, float] = {}
        self.volumeNode: slicer.vtkMRMLScalarVolumeNode | None = None
        self.segmentationNode: slicer.vtkMRMLSegmentationNode | None = None
        self._segments: dict[Key, SegmentPrompts] = {}
        self._points = PointObserver(self._onPoints)
        self._digests = SegmentDigests()
        self._images: dict[str, tuple[tuple[int, int], object, str]] = {}
        self._surfacesToRefresh: set[Key] = set()

    # Input

    def setInput(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode | None,
        segmentationNode: slicer.vtkMRMLSegmentationNode | None,
    ) -> None:
        """Choose what is segmented and where the segments go."""
        self.volumeNode, self.segmentationNode = volumeNode, segmentationNode
        self._points.observeAll()

    @property
    def positive(self) -> bool:
        """Which kind of point is placed next."""
        return self._points.positive

    @positive.setter
    def positive(self, positive: bool) -> None:
        self._points.positive = positive

    def pointsFor(self, segmentId: str) -> PointList.PointListNode:
        """Return the point list of a segment of the current input, made if need be.

        Raises:
            VolumeError: there is no volume or segmentation, or the volume cannot be segmented.
        """
        return self._promptsFor(segmentId).points

    # Operations on a segment; each can be undone

    def click(self, segmentId: str, world: Sequence[float], positive: bool = True) -> None:
        """Add a click at a world position (RAS mm), as if the user had placed a point."""
        points = self.pointsFor(segmentId)
        with self._points.quietly():
            PointList.addClick(points, world, positive)
        self._onPoints(points)

    def setBox(self, segmentId: str, roiNode: slicer.vtkMRMLMarkupsROINode) -> None:
        """Draw a box round the object, copied from a ROI; it goes before all clicks.

        Raises:
            PromptError: the ROI has no size.
            VolumeError: there is no volume or segmentation, or the volume cannot be segmented.
        """
        prompts = self._promptsFor(segmentId)
        box = boxOf(roiNode, self.volumeNode)
        if not self._volume()[0].grid.contains(box.middle):
            self.message = f"The middle of {roiNode.GetName()} lies outside {self.volumeNode.GetName()}."
            self.onChanged()
            return
        self._takeEditsOver(segmentId, prompts)
        now = prompts.history.now
        prompts.history.push(PromptState(now.clicks, now.base, box))
        self._evaluate(segmentId, prompts)

    def undo(self, segmentId: str) -> None:
        """Take the newest operation back; a hand edit counts as one."""
        self._step(segmentId, -1)

    def redo(self, segmentId: str) -> None:
        """Do again what was undone."""
        self._step(segmentId, +1)

    def reset(self, segmentId: str) -> None:
        """Empty a segment and drop its clicks."""
        prompts = self._promptsFor(segmentId)
        self._takeEditsOver(segmentId, prompts)
        prompts.history.push(PromptState())
        self._evaluate(segmentId, prompts)

    def canUndo(self, segmentId: str) -> bool:
        """Tell whether there is something to undo; a change of the volume is the end of that."""
        prompts = self._known(segmentId)
        if prompts is None or self._image() != prompts.image:
            return False
        return prompts.history.can_undo or not self._isOurs(segmentId, prompts)

    def canRedo(self, segmentId: str) -> bool:
        """Tell whether there is something to redo."""
        prompts = self._known(segmentId)
        return prompts is not None and prompts.history.can_redo and self._isOurs(segmentId, prompts)

    def objectPrompts(self, segmentIds: Sequence[str]) -> list[ObjectPrompts]:
        """Return the prompts of segments, for saving as JSON."""
        result = []
        for segmentId in segmentIds:
            points = PointList.pointListOf(self.segmentationNode, segmentId)
            name = self.segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
            base = startingMask(self.segmentationNode, segmentId, self.volumeNode)
            clicks = () if points is None else PointList.clicksFromPointList(points, self.volumeNode)
            box = None if points is None else keptBox(points)
            result.append(ObjectPrompts(name, clicks, None if base is None else base.digest, box))
        return result

    # Background work

    @property
    def busy(self) -> bool:
        """Whether predictions are under way: call `poll` again soon."""
        return self._thread.busy

    @property
    def stage(self) -> str:
        """What the running prediction is doing; see `InferenceThread.stage`."""
        return self._thread.stage

    def poll(self) -> None:
        """Write the results that are ready. Call it from the main thread."""
        for job in self._thread.finished():
            self._finish(job)

    def cancel(self) -> None:
        """Stop all predictions; segments stay as they are, and the clicks that were not evaluated are taken back."""
        self._thread.cancel()
        self.poll()
        self.onChanged()

    def refreshSurfaces(self) -> None:
        """Make the 3-D surfaces anew of the segments that changed; call it when the clicks pause."""
        waiting, self._surfacesToRefresh = self._surfacesToRefresh, set()
        for segmentationId, segmentId in waiting:
            node = slicer.mrmlScene.GetNodeByID(segmentationId)
            if node is not None:
                Surface.refresh(node, segmentId)

    def forgetPredictors(self) -> None:
        """Load predictors anew at the next click: what they may do was changed."""
        self._thread.cancel()
        self._thread.forgetModel()

    @property
    def surfacesWait(self) -> bool:
        """Whether there are surfaces to refresh."""
        return bool(self._surfacesToRefresh)

    # Scene

    def forgetSegment(self, segmentId: str) -> None:
        """Drop what belongs to a segment that is being removed: its points and the mask it started from."""
        key = self._key(segmentId)
        self._thread.cancel(key)
        self._segments.pop(key, None)
        points = PointList.pointListOf(self.segmentationNode, segmentId)
        if points is not None:
            slicer.mrmlScene.RemoveNode(points)
        keepStartingMask(self.segmentationNode, segmentId, self.volumeNode, None)

    def forgetScene(self) -> None:
        """Drop everything that refers to the scene: it is being closed, or the module is."""
        self._thread.cancel()
        self._thread.finished()
        self._thread.forgetModel()
        self._points.forget()
        self._digests.forget()
        self._segments.clear()
        self._images.clear()
        self._surfacesToRefresh.clear()
        self.volumeNode = self.segmentationNode = None

    # How it works

    def _onPoints(self, points: PointList.PointListNode) -> None:
        """Bring the segment of a point list in step with it."""
        segmentationNode, segmentId = PointList.segmentationOf(points), points.GetAttribute(PointList.SEGMENT_ATTRIBUTE)
        if self.volumeNode is None:
            return
        if segmentationNode is None or segmentationNode is not self.segmentationNode:
            return
        if segmentationNode.GetSegmentation().GetSegment(segmentId) is None:
            return
        try:
            self._follow(points, segmentId)
        except SAMMed3DError as error:
            self.message = str(error)
            self.onChanged()

    def _follow(self, points: PointList.PointListNode, segmentId: str) -> None:
        prompts = self._promptsFor(segmentId)
        clicks = PointList.clicksFromPointList(points, self.volumeNode)
        before = prompts.history.now
        if PointList.sameClicks(clicks, before.clicks):
            return
        self.message = ""
        grid = self._volume()[0].grid
        if any(not grid.contains(click.world) for click in clicks):
            self.message = f"This click lies outside {self.volumeNode.GetName()}. Click inside the volume."
            self._showPoints(prompts)
            self.onChanged()
            return
        contained = prompts.evaluated.now.clicks
        if self._takeEditsOver(segmentId, prompts):
            clicks = tuple(c for c in clicks if not any(PointList.sameClick(c, old) for old in contained))
        now = prompts.history.now
        prompts.history.push(PromptState(clicks, now.base, now.box))
        self._evaluate(segmentId, prompts)

    def _evaluate(self, segmentId: str, prompts: SegmentPrompts) -> None:
        """Put the state in force before the user, and have it evaluated."""
        self.message = ""
        self._showPoints(prompts)
        (volume, image), model = self._volume(), self.modelName(self.model)
        prompts.job = Job(self._key(segmentId), volume, image, model, prompts.history.now, self.volumeNode.GetID())
        self._thread.submit(prompts.job)
        self.onChanged()

    def _finish(self, job: Job) -> None:
        prompts = self._segments.get(job.key)
        segmentationNode = slicer.mrmlScene.GetNodeByID(job.key[0])
        if prompts is None or job is not prompts.job or segmentationNode is None:
            return  # superseded, or what it was for is gone
        prompts.job = None
        volumeNode = slicer.mrmlScene.GetNodeByID(job.source)  # another one may be chosen by now
        segment = segmentationNode.GetSegmentation().GetSegment(job.key[1])
        if segment is None or volumeNode is None:
            return
        if job.cancelled or job.error is not None:
            self.message = job.error or ""
            prompts.history = prompts.evaluated.copy()
            self._showPoints(prompts)
        else:
            begin = time.perf_counter()
            self._write(segmentationNode, job.key[1], volumeNode, prompts, job)
            self.seconds = {**job.seconds, "write": time.perf_counter() - begin}
        self.onChanged()

    def _write(self, segmentationNode, segmentId: str, volumeNode, prompts: SegmentPrompts, job: Job) -> None:
        edited = self._digests.differs(segmentationNode, segmentId)
        update = Update.between(segmentId, prompts.shown, job.mask, job.seconds)
        SegmentWriter(segmentationNode, volumeNode).write(segmentId, update)
        if update.box is not None:
            self._surfacesToRefresh.add((segmentationNode.GetID(), segmentId))
        base = job.state.base
        if base is not prompts.evaluated.now.base:
            keepStartingMask(segmentationNode, segmentId, volumeNode, base)
        prompts.shown = job.mask
        prompts.evaluated = prompts.history.copy()
        prompts.image = job.volumeDigest
        prompts.points.SetAttribute(IMAGE_ATTRIBUTE, job.volumeDigest)
        if not edited:  # an edit made while the prediction ran is still to be taken over, at the next click
            self._digests.mark(segmentationNode, segmentId)

    def _step(self, segmentId: str, direction: int) -> None:
        prompts = self._promptsFor(segmentId)
        if direction < 0:
            self._takeEditsOver(segmentId, prompts)
        elif not self._isOurs(segmentId, prompts):
            return
        if prompts.history.at(direction) is None:
            return
        prompts.history.step(direction)
        self._evaluate(segmentId, prompts)

    # What a segment holds

    def _promptsFor(self, segmentId: str) -> SegmentPrompts:
        """Return what is known of a segment; the first time, from what the scene holds of it."""
        if self.volumeNode is None or self.segmentationNode is None:
            raise VolumeError("Choose a volume and a segmentation first.")
        prompts = self._known(segmentId)
        if prompts is None:
            prompts = self._segments[self._key(segmentId)] = self._promptsFromScene(segmentId)
        prompts.points.SetNodeReferenceID(PointList.VOLUME_ROLE, self.volumeNode.GetID())
        return prompts

    def _promptsFromScene(self, segmentId: str) -> SegmentPrompts:
        image = self._volume()[1]
        points = PointList.pointListOf(self.segmentationNode, segmentId)
        shown = maskOfSegment(self.segmentationNode, segmentId, self.volumeNode)
        if points is None:
            with self._points.quietly():
                points = PointList.createPointList(self.segmentationNode, segmentId, self.volumeNode)
            history = PromptHistory(PromptState((), shown))
            if shown is not None:
                keepStartingMask(self.segmentationNode, segmentId, self.volumeNode, shown)
            points.SetAttribute(CLICKS_ATTRIBUTE, "0")
            self._digests.mark(self.segmentationNode, segmentId)
        else:  # saved with the scene: every click is a step that can be undone
            base = startingMask(self.segmentationNode, segmentId, self.volumeNode)
            clicks, box = self._savedClicks(points), keptBox(points)
            history = PromptHistory(PromptState((), base))
            if box is not None:
                history.push(PromptState((), base, box))
            for count in range(1, len(clicks) + 1):
                history.push(PromptState(clicks[:count], base, box))
            image = points.GetAttribute(IMAGE_ATTRIBUTE) or image
        self._points.observe(points)
        return SegmentPrompts(points, history, history.copy(), shown, image)

    def _savedClicks(self, points: PointList.PointListNode) -> tuple[Click, ...]:
        """Return the clicks that made a segment; a point that was placed just now is not among them."""
        clicks = PointList.clicksFromPointList(points, self.volumeNode)
        count = points.GetAttribute(CLICKS_ATTRIBUTE)
        return clicks if count is None else clicks[: int(count)]

    def _known(self, segmentId: str) -> SegmentPrompts | None:
        prompts = self._segments.get(self._key(segmentId)) if self.segmentationNode is not None else None
        if prompts is not None and slicer.mrmlScene.GetNodeByID(prompts.points.GetID() or "") is not prompts.points:
            del self._segments[self._key(segmentId)]  # the user deleted the point list; the segment stays
            return None
        return prompts

    def _takeEditsOver(self, segmentId: str, prompts: SegmentPrompts) -> bool:
        """Make a segment that was edited by hand, or belongs to another image, its own starting point."""
        if self._isOurs(segmentId, prompts):
            return False
        image = self._volume()[1]
        mask = maskOfSegment(self.segmentationNode, segmentId, self.volumeNode)
        if image == prompts.image:
            prompts.history.push(PromptState((), mask))
        else:  # earlier states are about another image, maybe on another grid
            prompts.history = PromptHistory(PromptState((), mask))
        prompts.evaluated = prompts.history.copy()
        prompts.shown = mask
        prompts.image = image
        keepStartingMask(self.segmentationNode, segmentId, self.volumeNode, mask)
        self._digests.mark(self.segmentationNode, segmentId)
        return True

    def _isOurs(self, segmentId: str, prompts: SegmentPrompts) -> bool:
        """Tell whether a segment holds what its prompts made, of the image that is chosen."""
        return self._image() == prompts.image and not self._digests.differs(self.segmentationNode, segmentId)

    def _showPoints(self, prompts: SegmentPrompts) -> None:
        state = prompts.history.now
        with self._points.quietly():
            if not PointList.sameClicks(PointList.clicksFromPointList(prompts.points, self.volumeNode), state.clicks):
                PointList.setClicks(prompts.points, state.clicks, self.volumeNode)
            prompts.points.SetAttribute(CLICKS_ATTRIBUTE, str(len(state.clicks)))
            keepBox(prompts.points, state.box)

    def _volume(self):
        """Return the current volume and the digest of its image; read again only after it changed."""
        node = self.volumeNode
        imageData = node.GetImageData()
        times = (0 if imageData is None else imageData.GetMTime(), node.GetMTime())
        known = self._images.get(node.GetID())
        if known is None or known[0] != times:
            volume = volumeFromNode(node)
            known = self._images[node.GetID()] = times, volume, volumeDigest(volume)
        return known[1], known[2]

    def _image(self) -> str:
        """Return the digest of the current image; "" where there is none that could be segmented."""
        try:
            return self._volume()[1]
        except VolumeError:
            return ""

    def _key(self, segmentId: str) -> Key:
        return self.segmentationNode.GetID(), segmentId
