"""A segment's object carried through the frames of a series, in the background; all of it is one step of undo.

A frame that somebody corrected, by clicks or by hand, stays as it is, and those after it go on from there; one that is
empty is made anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import slicer
import vtk
from slicer.i18n import tr as _

from sammed3d import PromptError, Volume, VolumeError
from sammed3d.core.mask import BoxedMask
from sammed3d.inference import series
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.series import FrameMask
from SAMMed3DSegmentLib import FramePrompts, MaskGrids, SegmentWriter
from SAMMed3DSegmentLib.FrameSequence import CARRIED_TAG, FrameSequence
from SAMMed3DSegmentLib.SegmentDigests import WRITTEN_TAG
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.SegmentReader import clipped, digestOfSegment, heldMask
from SAMMed3DSegmentLib.SegmentWriter import Frame, Holdings
from SAMMed3DSegmentLib.Task import Task


@dataclass
class Step:
    """What was carried, to be undone and done again.

    Attributes:
        frames: the series.
        segmentationNode, segmentId: which segment.
        first: the frame from which it was carried.
        prompts: those of the segment that were in force; they tell whether something was done since.
        names: of segmentation, volume, browser and segment when it began.
        before, after: by frame, what the segment held before and after.
        digests: by frame, what it held when it began.
        undone: whether it was taken back.
        newest: the newest prompts of the segment when it was taken back, which may be undone ones; what is done after
            that ends it, as it ends all that was undone.
        left: frames that somebody changed meanwhile, and that were left as they are.
        repaired: frames whose images have NaN or infinite voxels, which were treated as the smallest value.
    """

    frames: FrameSequence
    segmentationNode: slicer.vtkMRMLSegmentationNode
    segmentId: str
    first: int
    prompts: PromptState | None
    names: tuple[str, str, str, str]
    before: dict[int, Holdings] = field(default_factory=dict)
    after: dict[int, Holdings] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    undone: bool = False
    newest: PromptState | None = None
    left: list[int] = field(default_factory=list)
    repaired: set[int] = field(default_factory=set)

    @property
    def isThere(self) -> bool:
        """Whether all that it is about is still in the scene."""
        return not self.missing

    @property
    def missing(self) -> str:
        """What it is about and is not in the scene any more, by its name; "" where all is there."""
        nodes = (self.segmentationNode, self.frames.volumeNode, self.frames.browser)
        for node, name in zip(nodes, self.names[:3], strict=True):
            if slicer.mrmlScene.GetNodeByID(node.GetID() or "") is not node:
                return name
        if self.segmentationNode.GetSegmentation().GetSegment(self.segmentId) is None:
            return self.names[-1]
        return self.names[0] if self.frames.segmentations(self.segmentationNode) is None else ""


class Propagation:
    """Carry the object of a segment from the frame that is shown to others.

    Args:
        segmenter: knows volume, segmentation and prompts, and lends its model.

    Attributes:
        step: the newest one, also while it is under way; None for none.
        found: the frames that are done, in their order in time.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self.step: Step | None = None
        self.found: list[FrameMask] = []
        self._arrived: deque[FrameMask] = deque()
        self._images: dict[int, Callable[[], Volume]] = {}

    def start(self, model: Hashable, segmentId: str, chosen: range) -> Task[None]:
        """Begin; call `write` from time to time until the task has ended, and once after.

        Args:
            model: what `Background.modelChoice` returns.
            segmentId: the segment.
            chosen: the frames, from 0; that which is shown is among them.

        Raises:
            VolumeError: the volume shows no series, or a frame has no image that can be segmented.
            PromptError: the frame that is shown is not among them or holds nothing of the segment, or nobody clicked.
        """
        frames, node = FrameSequence.of(self._segmenter.volumeNode), self._segmenter.segmentationNode
        if frames is None:
            raise VolumeError("The chosen volume is no series in time. Choose one that a sequence browser shows.")
        name, first = node.GetSegmentation().GetSegment(segmentId).GetName(), frames.shown
        if first not in chosen:
            raise PromptError(f"Frame {first + 1} is shown, which is not among those chosen. Show one of them.")
        if heldMask(node, segmentId)[1] is None:
            raise PromptError(f"{name} is empty in frame {first + 1}, which is shown. Click inside it first.")
        images = {number: frames.image(number) for number in chosen}
        own = FramePrompts.shown(self._segmenter, segmentId)
        known = FramePrompts.kept(frames, node, segmentId) | ({} if own is None else {first: own})
        prompts = FramePrompts.told(known, first, chosen, name)
        frames.adopt(node, segmentId)
        names = node.GetName(), frames.volumeNode.GetName(), frames.browser.GetName(), name
        self.step = Step(frames, node, segmentId, first, self._segmenter.promptsInForce(segmentId), names)
        self.found, self._arrived, self._images = [], deque(), images
        FramePrompts.keep(frames, node, segmentId, known)
        kept = self._kept(self.step, chosen)
        predictorFor, arrived, repaired = self._segmenter.predictorFor, self._arrived, self.step.repaired

        def image(number: int) -> Volume:
            volume = images[number]()
            if volume.non_finite:
                repaired.add(number)
            return volume

        def work(task: Task[None]) -> None:
            predictor = predictorFor(model, task.cancellation)
            task.total = len(chosen)
            way = series.propagate(image, predictor, prompts, first, chosen, task.cancellation, kept)
            for number, mask in enumerate(way, start=1):
                arrived.append(mask)
                task.done = number

        return Task(work, "SAMMed3DSegment series")

    def write(self) -> None:
        """Write the frames that are done by now.

        Raises:
            VolumeError: a frame cannot be written, see `SegmentWriter.write`; those after it stay as they are.
        """
        try:
            while self._arrived and self.step is not None:
                mask = self._arrived.popleft()
                if not mask.kept and self.step.isThere:
                    self._write(self.step, mask)
                self.found = sorted([*self.found, mask], key=lambda each: each.frame)
        finally:
            if self.step is not None and self.step.isThere:
                self.step.frames.changed(self.step.segmentationNode)

    @property
    def canUndo(self) -> bool:
        """Whether there is something to take back."""
        return self.step is not None and bool(self.step.after) and not self.step.undone and self.step.isThere

    @property
    def canRedo(self) -> bool:
        """Whether there is something to do again."""
        return self.step is not None and self.step.undone and self.step.isThere

    def isNewest(self, segmentId: str) -> bool:
        """Tell whether nothing was done in a segment since it was carried, or since that was taken back."""
        step, segmenter = self.step, self._segmenter
        if step is None or (step.segmentationNode, step.segmentId) != (segmenter.segmentationNode, segmentId):
            return False
        if step.undone and segmenter.newestPrompts(segmentId) is not step.newest:
            return False
        return segmenter.promptsInForce(segmentId) is step.prompts

    def undo(self) -> None:
        """Let all frames hold again what they held before; those that somebody changed since stay.

        Raises:
            VolumeError: a frame cannot be written; once more goes on with it.
        """
        if self.canUndo:
            self._restore(self.step.after, self.step.before)
            self.step.undone, self.step.newest = True, self._segmenter.newestPrompts(self.step.segmentId)

    def redo(self) -> None:
        """Carry the object again, without asking the model; errors as `undo`."""
        if self.canRedo:
            self._restore(self.step.before, self.step.after)
            self.step.undone = False

    def forget(self) -> None:
        """Forget the step, the frames and their images."""
        self.step, self.found, self._images = None, [], {}
        self._arrived = deque()

    def release(self) -> None:
        """Let go of the images; what was done stays known."""
        self._images = {}

    def _kept(self, step: Step, chosen: range) -> dict[int, BoxedMask]:
        """Return the masks, on the volume's grid, of the frame that is shown and of those that somebody corrected."""
        kept = {}
        for number in chosen:
            frame = step.frames.segmentation(step.segmentationNode, number)
            matrix, held = heldMask(frame, step.segmentId)
            step.digests[number] = digestOfSegment(frame, step.segmentId)
            if held is None or (number != step.first and _tag(frame, step.segmentId) == step.digests[number]):
                continue
            volumeNode = step.frames.volumeNode
            transform = MaskGrids.transformBetween(step.segmentationNode, volumeNode)
            mask = clipped(MaskGrids.onGrid(held, matrix, MaskGrids.matrixOfVolume(volumeNode), transform), volumeNode)
            if mask is not None:
                kept[number] = mask
        return kept

    def _write(self, step: Step, mask: FrameMask) -> None:
        frame = step.frames.segmentation(step.segmentationNode, mask.frame)
        before = Holdings.of(frame, step.segmentId)
        if before.digest != step.digests[mask.frame]:  # somebody was there first
            step.left.append(mask.frame)
            return
        shown, volumeNode = Frame(step.segmentationNode, self._images[mask.frame]), step.frames.volumeNode
        with _othersStayCarried(frame, step.segmentId):
            after = SegmentWriter.write(frame, step.segmentId, volumeNode, mask.mask, before, frame=shown)
        step.before[mask.frame], step.after[mask.frame] = before, after
        _mark(frame, step.segmentId, after.digest)

    def _restore(self, now: dict[int, Holdings], wanted: dict[int, Holdings]) -> None:
        step = self.step
        step.left = []
        for number in sorted(now):
            frame = step.frames.segmentation(step.segmentationNode, number)
            digest = digestOfSegment(frame, step.segmentId)
            if digest == wanted[number].digest:  # as it should be, perhaps since the first try
                continue
            if digest != now[number].digest:
                step.left.append(number)
                continue
            try:
                with _othersStayCarried(frame, step.segmentId):
                    held = SegmentWriter.restore(frame, step.segmentId, wanted[number], now[number])
            except VolumeError as error:
                step.frames.changed(step.segmentationNode)
                raise VolumeError(f"Frame {number + 1}: {error} Press again to go on.") from error
            _mark(frame, step.segmentId, held.digest)
        step.frames.changed(step.segmentationNode)


def _tag(frame: slicer.vtkMRMLSegmentationNode, segmentId: str) -> str | None:
    segment, found = frame.GetSegmentation().GetSegment(segmentId), vtk.mutable("")
    return str(found) if segment.GetTag(CARRIED_TAG, found) else None


@contextmanager
def _othersStayCarried(frame: slicer.vtkMRMLSegmentationNode, segmentId: str) -> Iterator[None]:
    """What a frame's neighbours lose to a segment, or get back, does not count as somebody's correction."""
    ids = [each for each in frame.GetSegmentation().GetSegmentIDs() if each != segmentId]
    carried = [each for each in ids if _tag(frame, each) == digestOfSegment(frame, each)]
    yield
    for each in carried:
        frame.GetSegmentation().GetSegment(each).SetTag(CARRIED_TAG, digestOfSegment(frame, each))


def _mark(frame: slicer.vtkMRMLSegmentationNode, segmentId: str, digest: str) -> None:
    segment = frame.GetSegmentation().GetSegment(segmentId)
    segment.SetTag(CARRIED_TAG, digest)
    segment.SetTag(WRITTEN_TAG, digest)


def inWords(found: list[FrameMask], step: Step, total: int) -> str:
    """Say what was done, and which frames are to be looked at."""
    numbers = ", ".join(str(mask.frame + 1) for mask in found if mask.remark)
    parts = [_("{count} of {total} frames are done.").format(count=len(found), total=total)]
    if numbers:
        parts.append(_("Look at frames: {numbers}.").format(numbers=numbers))
    if step.left:
        left = ", ".join(str(number + 1) for number in sorted(step.left))
        parts.append(_("Changed meanwhile, and left as they are: {numbers}.").format(numbers=left))
    if step.repaired:
        repaired = ", ".join(str(number + 1) for number in sorted(step.repaired))
        text = _("NaN or infinite voxels were treated as the smallest value in frames: {numbers}.")
        parts.append(text.format(numbers=repaired))
    return " ".join(parts)
