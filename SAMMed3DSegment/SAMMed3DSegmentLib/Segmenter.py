"""The way of a click in Slicer: a point list changed, prompts are evaluated in the background, a segment is written.

MRML only. What undo, failures, hand edits and other models mean is said in `sammed3d.inference.object_timeline`; what
the scene keeps, in `SceneRecord`. What a segment holds is never lost:

- A segment that was drawn, imported or edited by hand since the last click is the new starting point of its next click.
- So is one whose volume was exchanged, or moved against it, or moved on to another frame of a sequence.
- A result about an image that was replaced meanwhile is not written; its prompts are taken back.
- What lies outside of the volume stays, until the segment is emptied.
- A prediction that fails or is cancelled takes its prompts back; the segment stays, and redo brings them again. What an
  object was followed into by then stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import slicer

from sammed3d import ObjectPrompts, SAMMed3DError, VolumeError
from sammed3d.core.drawings import Drawing
from sammed3d.inference.follow_limits import can_follow
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.object_timeline import same_click, same_clicks
from sammed3d.inference.prompt_checks import check_box, check_click, check_drawing
from SAMMed3DSegmentLib import PointList
from SAMMed3DSegmentLib.BoxRoi import boxOf
from SAMMed3DSegmentLib.Following import NEVER, FollowChoice
from SAMMed3DSegmentLib.Job import Job, Question
from SAMMed3DSegmentLib.ResultMessages import aboutFollowing, aboutOutdated, aboutResult, takenBack
from SAMMed3DSegmentLib.SegmentPrompts import SegmentPrompts
from SAMMed3DSegmentLib.SegmentReader import showsFrames
from SAMMed3DSegmentLib.SegmentsInScene import SegmentsInScene


class Segmenter(SegmentsInScene):
    """Keep the segments of a segmentation in step with their points.

    Args:
        thread: evaluates prompts.
        onChanged: called on the main thread whenever there is something new to show.

    Attributes:
        model, volumeNode, segmentationNode, beforeWriting: see `SegmentsInScene`.
    """

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
            PromptError: the ROI has no size, or its middle lies outside the volume.
            VolumeError: there is no volume or segmentation, or one that cannot be segmented; see `pointsFor`.
        """
        prompts = self._settled(segmentId)
        box, (volume, image) = boxOf(roiNode, self.volumeNode), self._images.of(self.volumeNode)
        check_box(box, volume.grid, f"{volume.name} ({roiNode.GetName()})")
        _startFromWhatIsThere(prompts, self.volumeNode, image)
        prompts.timeline.put_box(box, self.model)
        self._evaluate(prompts)

    def draw(self, segmentId: str, drawing: Drawing) -> None:
        """Add a scribble or a lasso, in the volume's own frame, after all clicks so far.

        Raises:
            PromptError: all of it lies outside the volume.
            VolumeError: there is no volume or segmentation, or one that cannot be segmented; see `pointsFor`.
        """
        prompts = self._settled(segmentId)
        volume, image = self._images.of(self.volumeNode)
        check_drawing(drawing, volume.grid, volume.name)
        _startFromWhatIsThere(prompts, self.volumeNode, image)
        prompts.timeline.add_drawing(drawing, self.model)
        self._evaluate(prompts)

    def follow(self, segmentId: str) -> None:
        """Follow the object beyond what was looked at, after its last click, whatever the settings say."""
        prompts = self._known(segmentId)
        if prompts is None or not self.canFollow(segmentId):
            self._say("There is no positive click to follow the object from. Click inside it first.")
            return
        prompts.timeline.push(replace(prompts.timeline.now))
        self._evaluate(prompts, FollowChoice("always", self.followChoice().patches, alone=True))

    def canFollow(self, segmentId: str) -> bool:
        """Tell whether the segment shows what a positive click made last, from which it can be followed."""
        state = self.shownState(segmentId)
        return state is not None and can_follow(state)

    def shownState(self, segmentId: str) -> PromptState | None:
        """Return the prompts that made what a segment shows; None where it shows something else, or waits."""
        prompts = self._known(segmentId)
        if prompts is None or prompts.timeline.pending or prompts.job is not None:
            return None
        there = prompts.isOurs(self._images.digest(self.volumeNode)) and prompts.isInPlace(self.volumeNode)
        return prompts.timeline.now if there else None

    def ask(self, segmentId: str, question: Question, answered: Callable[[Any], None]) -> None:
        """Ask the model something about what a segment shows, in the background.

        Args:
            segmentId: of the segment.
            question: called in the thread.
            answered: called on the main thread with what it returned, unless the prompts were changed meanwhile: then
                the question ends.
        """
        state = self.shownState(segmentId)
        if state is None:
            self._say("This segment does not show what clicks made. Click inside the object first.")
            return
        self.message = ""
        volume, image = self._images.of(self.volumeNode)
        prompts = self._promptsFor(segmentId)
        key = (*prompts.key, "question")
        model = self.modelChoice(state.model or self.model)
        source = self.volumeNode.GetID()
        prompts.question = Job(key, volume, image, model, state, source, question=question, answered=answered)
        self._thread.submit(prompts.question)
        self.onChanged()

    def endQuestion(self, segmentId: str) -> None:
        """Ask no more about a segment: nobody waits for the answer."""
        node = self.segmentationNode
        prompts = None if node is None else self._segments.get((node.GetID(), segmentId))
        if prompts is not None:
            prompts.endQuestion(self._thread)

    def setHonour(self, segmentId: str, honour: bool) -> None:
        """Make the segment agree with its box and drawings from now on, or leave the model's answer as it is."""
        try:
            prompts = self._settled(segmentId)  # made if need be: it may be said before anything is drawn
        except SAMMed3DError as error:
            self._say(str(error))
            return
        image = self._images.digest(self.volumeNode)
        if prompts.timeline.now.honour != honour:
            if image != prompts.timeline.image or not prompts.isInPlace(self.volumeNode):
                prompts.takeOver(self.volumeNode, image)
            prompts.timeline.honour(honour)
            self._evaluate(prompts)

    def honours(self, segmentId: str) -> bool:
        """Tell whether a segment is made to agree with its box and drawings."""
        prompts = self._known(segmentId)
        return prompts is None or prompts.timeline.now.honour

    def undo(self, segmentId: str) -> None:
        """Take the newest operation back; a hand edit counts as one."""
        self._step(segmentId, -1)

    def redo(self, segmentId: str) -> None:
        """Do again what was undone, or taken back by a failure."""
        self._step(segmentId, +1)

    def reset(self, segmentId: str) -> None:
        """Empty a segment and drop its clicks."""
        try:
            prompts = self._settled(segmentId)
        except SAMMed3DError as error:
            self._say(str(error))
            return
        image = self._images.digest(self.volumeNode)
        _startFromWhatIsThere(prompts, self.volumeNode, image)
        prompts.timeline.push(PromptState())
        self._evaluate(prompts)

    def canUndo(self, segmentId: str) -> bool:
        """Tell whether there is something to undo; a change of the volume is the end of that."""
        prompts = self._known(segmentId)
        if prompts is None or self._images.digest(self.volumeNode) != prompts.timeline.image:
            return False
        return prompts.timeline.can_undo or prompts.edited

    def canRedo(self, segmentId: str) -> bool:
        """Tell whether there is something to redo."""
        prompts = self._known(segmentId)
        image = self._images.digest(self.volumeNode)
        return prompts is not None and prompts.timeline.can_redo and prompts.isOurs(image)

    def takeEdit(self, segmentId: str) -> None:
        """Make what was just edited by hand an operation of its own, which undo takes back alone.

        Without this, all edits until the next operation are one. What waits for the network applies to them then.
        """
        prompts = self._known(segmentId)
        if prompts is None or prompts.timeline.pending or not prompts.edited:
            return
        image = self._images.digest(self.volumeNode)
        if image == prompts.timeline.image and prompts.isInPlace(self.volumeNode):
            self._settle(prompts)
            prompts.takeOver(self.volumeNode, image)
            prompts.show(self.volumeNode)
            self.onChanged()

    def catchUp(self, segmentId: str) -> None:
        """Follow undo of the Segment Editor: where it brought back what clicks had made, the clicks are back too."""
        prompts = self._known(segmentId)
        if prompts is None or not prompts.edited or self._images.digest(self.volumeNode) != prompts.timeline.image:
            return
        self._settle(prompts)
        if prompts.catchUp(self.volumeNode):
            self.onChanged()

    def objectPrompts(self, segmentIds: Sequence[str]) -> list[ObjectPrompts]:
        """Return the prompts of segments, for saving as JSON."""
        result = []
        for segmentId in segmentIds:
            prompts = self._known(segmentId)
            state = PromptState() if prompts is None else prompts.timeline.now
            name = self.segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
            base = None if state.base is None else state.base.digest
            result.append(ObjectPrompts(name, state.clicks, base, state.box, state.drawings, state.honour))
        return result

    # How it works

    def _onPoints(self, points: PointList.PointListNode) -> None:
        """Bring the segment of a point list in step with it."""
        segmentationNode, segmentId = PointList.segmentationOf(points), points.GetAttribute(PointList.SEGMENT_ATTRIBUTE)
        if segmentationNode is None:
            return
        if self.volumeNode is None or segmentationNode is not self.segmentationNode:
            self._points.postpone(points)
            return
        if segmentationNode.GetSegmentation().GetSegment(segmentId) is None:
            return
        try:
            self._takePoints(self._promptsFor(segmentId))
        except SAMMed3DError as error:
            self._say(str(error))

    def _takePoints(self, prompts: SegmentPrompts) -> None:
        timeline, (volume, image) = prompts.timeline, self._images.of(self.volumeNode)
        clicks = prompts.newClicks(self.volumeNode)
        if clicks is None:
            return
        self._settle(prompts)
        fresh = [click for click in clicks if not any(same_click(click, old) for old in timeline.now.clicks)]
        if image != timeline.image:  # those that are already there are about another image, and may lie anywhere
            clicks, fresh = tuple(fresh), fresh[-1:]
        try:
            for click in fresh:
                check_click(click, volume.grid, volume.name)
        except SAMMed3DError:
            prompts.takeOut(fresh, self.volumeNode, image)
            raise
        if not (prompts.isOurs(image) and prompts.isInPlace(self.volumeNode)):
            clicks = timeline.fresh(clicks)
            prompts.takeOver(self.volumeNode, image)
        before = timeline.now
        if not same_clicks(clicks, before.clicks):
            timeline.put_clicks(clicks, self.model)
        self._evaluate(prompts, self.followChoice() if len(clicks) > len(before.clicks) else NEVER)
        if before.model not in ("", timeline.now.model):
            self._say(f"{self.model} goes on from the mask that {before.model} made.")

    def _evaluate(self, prompts: SegmentPrompts, following: FollowChoice = NEVER) -> None:
        """Put the state in force before the user, and have it evaluated if its mask is not known."""
        self.message = ""
        prompts.endQuestion(self._thread)
        try:
            known = prompts.recall(self.volumeNode)
        except Exception as error:
            prompts.failed(self.volumeNode)
            if not isinstance(error, VolumeError):
                raise
            self._say(str(error))
            return
        prompts.show(self.volumeNode)
        self.seconds = {}
        if known:
            prompts.job = None
            self._thread.cancel(prompts.key)
            self._surfaces.add(prompts.key[0])
        else:
            (volume, image), state = self._images.of(self.volumeNode), prompts.timeline.now
            model = self.modelChoice(state.model or self.model)
            target = prompts.segmentationNode.GetSegmentation()
            prompts.job = Job(
                prompts.key, volume, image, model, state, self.volumeNode.GetID(), following, target=target
            )
            self._thread.submit(prompts.job)
        self.onChanged()

    def _finish(self, job: Job) -> str:
        prompts, volumeNode = self._segments.get(job.key[:2]), slicer.mrmlScene.GetNodeByID(job.source)
        if prompts is None or not prompts.isThere or volumeNode is None:  # what it was for is gone
            if prompts is not None:
                prompts.job = None if job is prompts.job else prompts.job
                prompts.question = None if job is prompts.question else prompts.question
            return ""
        if job.answered is not None:
            return self._takeAnswer(job, prompts)
        newest = job is prompts.job
        prompts.job = None if newest else prompts.job
        now = prompts.segmentationNode.GetSegmentation(), self._images.digest(volumeNode)
        outdated = not job.cancelled and (job.target, job.volumeDigest) != now  # another frame or image is shown
        if outdated or (job.followed is None and (job.cancelled or job.error is not None)):
            return self._takeBack(job, prompts, newest, outdated)
        if job.following.alone and job.followed is not None and not job.followed.patches:
            prompts.withdraw(job.state, volumeNode)
            return aboutFollowing(job)
        begin = time.perf_counter()
        try:
            shown = prompts.evaluated(job, volumeNode)
        except Exception as error:
            job.error = str(error)
            text = takenBack(job, prompts.name, prompts.failed(volumeNode)) if newest else ""
            if not isinstance(error, VolumeError):
                raise
            return text
        if shown:
            self.seconds = {**job.seconds, "write": time.perf_counter() - begin}
            self._surfaces.add(prompts.key[0])
        elif job.error is None:
            return ""
        return aboutResult(job) if newest else ""

    def _takeAnswer(self, job: Job, prompts: SegmentPrompts) -> str:
        """Hand an answer of the model to who asked, if it is about what the segment shows by now."""
        if job is not prompts.question:  # nobody waits for it any more
            return ""
        prompts.question = None
        if job.cancelled or job.error:
            return job.error or "Cancelled."
        if self.shownState(prompts.segmentId) is not job.state:
            return f"{prompts.name}, or its image, is another by now than the model was asked about. Ask again."
        job.answered(job.answer)
        return ""

    def _takeBack(self, job: Job, prompts: SegmentPrompts, newest: bool, outdated: bool) -> str:
        """Take back what a job came to nothing for, and say so; what is followed in an image that is gone ends."""
        volumeNode, text, when = slicer.mrmlScene.GetNodeByID(job.source), "", ""
        if outdated and job.partial and prompts.job is not None and prompts.job.state is job.state:
            self._thread.cancel(prompts.key)
        if outdated:
            frames = showsFrames(prompts.segmentationNode)
            job.error, when = aboutOutdated(volumeNode, prompts.name, self._images, frames)
        if newest:
            text = takenBack(job, prompts.name, prompts.failed(volumeNode), when)
        if job.following.alone and not job.partial:
            prompts.withdraw(job.state, volumeNode)
        return text

    def _step(self, segmentId: str, direction: int) -> None:
        try:
            prompts = self._settled(segmentId)
        except SAMMed3DError as error:
            self._say(str(error))
            return
        image = self._images.digest(self.volumeNode)
        if image != prompts.timeline.image or (direction > 0 and prompts.edited):
            return
        if prompts.edited:
            prompts.takeOver(self.volumeNode, image)
        if prompts.timeline.undo() if direction < 0 else prompts.timeline.redo():
            self._evaluate(prompts)


def _startFromWhatIsThere(prompts: SegmentPrompts, volumeNode: slicer.vtkMRMLScalarVolumeNode, image: str) -> None:
    """Take over what a segment holds, unless its prompts made that of this image, where it lies now."""
    if not (prompts.isOurs(image) and prompts.isInPlace(volumeNode)):
        prompts.takeOver(volumeNode, image)
