"""The segments that clicks were made in, in step with the scene: volumes and segmentations come, move and go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import slicer

from sammed3d import VolumeError
from sammed3d.inference.inferer import PromptState
from SAMMed3DSegmentLib import DrawingNodes, LabelmapSource, PointList, SceneRecord
from SAMMed3DSegmentLib.Background import Background
from SAMMed3DSegmentLib.Hardening import Place, SegmentationPlace
from SAMMed3DSegmentLib.InferenceThread import InferenceThread
from SAMMed3DSegmentLib.PointObserver import PointObserver
from SAMMed3DSegmentLib.SceneObserver import SceneObserver
from SAMMed3DSegmentLib.SegmentDigests import SegmentDigests
from SAMMed3DSegmentLib.SegmentPrompts import SegmentPrompts
from SAMMed3DSegmentLib.VolumeBridge import VolumeImages


class SegmentsInScene(Background):
    """Know the prompts of segments, and let go of what is not in the scene any more. What clicks do is a subclass's.

    Args:
        thread: evaluates prompts.
        onChanged: called on the main thread whenever there is something new to show.

    Attributes:
        model: name of the model that evaluates the next prompts.
        volumeNode: what is segmented.
        segmentationNode: where the segments are.
        beforeWriting: called before a segment is changed; for undo by others.
        pointsShown: tells whether new lists of points are shown; None: as the others are.
    """

    def __init__(self, thread: InferenceThread, onChanged: Callable[[], None] = lambda: None) -> None:
        super().__init__(thread, onChanged)
        self.model = "default"
        self.volumeNode: slicer.vtkMRMLScalarVolumeNode | None = None
        self.segmentationNode: slicer.vtkMRMLSegmentationNode | None = None
        self._segments: dict[tuple[str, ...], SegmentPrompts] = {}
        self._points = PointObserver(self._onPoints)
        self._scene = SceneObserver(
            self.forgetScene,
            self._onNodeLeaves,
            self._onNodeRemoved,
            self._onSegmentRemoved,
            PointList.followSegment,
            self._onVolumeMoved,
            self._onSegmentationMoved,
        )
        self._digests = SegmentDigests()
        self.beforeWriting: Callable[[], None] = lambda: None
        self.pointsShown: Callable[[], bool | None] = lambda: None
        self._images = VolumeImages()
        self._places: dict[str, Place] = {}
        self._segmentationPlaces: dict[str, SegmentationPlace] = {}

    # Input

    def setInput(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode | None,
        segmentationNode: slicer.vtkMRMLSegmentationNode | None,
    ) -> None:
        """Choose what is segmented and where the segments go."""
        self.volumeNode, self.segmentationNode = volumeNode, segmentationNode
        self._scene.watchScene()
        if volumeNode is not None:
            self._scene.watchVolume(volumeNode)
            self._notePlace(volumeNode)
        if segmentationNode is not None:
            self._scene.watchSegmentation(segmentationNode)
            self._segmentationPlaces[segmentationNode.GetID()] = SegmentationPlace.of(segmentationNode)
        self._points.observeAll()
        if volumeNode is not None:
            self._showDrawings(volumeNode)
        for points in self._points.takePostponed(volumeNode, segmentationNode):
            self._onPoints(points)

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
            VolumeError: there is no volume or segmentation, the volume cannot be segmented, or the segmentation is not
                kept as voxels.
        """
        return self._promptsFor(segmentId).points

    def isAbout(self, segmentId: str) -> bool:
        """Tell whether the prompts of a segment are about the image that the volume shows, and evaluated."""
        prompts = self._known(segmentId)
        if prompts is None or prompts.timeline.pending or prompts.job is not None:
            return False
        return prompts.timeline.image == self._images.digest(self.volumeNode)

    def promptsInForce(self, segmentId: str) -> PromptState | None:
        """Return the prompts of a segment, whatever image they are about; None where it has none."""
        prompts = self._known(segmentId)
        return None if prompts is None else prompts.timeline.now

    def newestPrompts(self, segmentId: str) -> PromptState | None:
        """Return the prompts of a segment that came last, also where they are undone; None where it has none."""
        prompts = self._known(segmentId)
        return None if prompts is None else prompts.timeline.states[-1]

    # Scene

    def forgetScene(self) -> None:
        """Drop everything that refers to the scene: it is being closed, or the module is."""
        self._thread.cancel()
        self._thread.finished()
        self._thread.forgetModel()
        self._thread.release()
        self._scene.forget()
        self._points.forget()
        self._digests.forget()
        self._segments.clear()
        self._images.forget()
        self._places.clear()
        self._segmentationPlaces.clear()
        self._surfaces.clear()
        self.volumeNode = self.segmentationNode = None

    def _onSegmentRemoved(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str) -> None:
        key = segmentationNode.GetID(), segmentId
        self._thread.cancel(key)
        prompts = self._segments.pop(key, None)
        if prompts is not None and prompts.job is not None:
            self.message = "The segment that was being segmented was removed; the prediction was stopped."
        elif prompts is not None and prompts.question is not None:
            self.message = "The segment that the model was asked about was removed; that was stopped."
        points = PointList.pointListOf(segmentationNode, segmentId)
        if points is not None:
            self._points.forget(points)
            slicer.mrmlScene.RemoveNode(points)
        with self._points.quietly():
            for drawn in list(DrawingNodes.drawingNodes(segmentationNode, segmentId)):
                slicer.mrmlScene.RemoveNode(drawn)
        SceneRecord.forget(segmentationNode, segmentId)

    def _onVolumeMoved(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        before = self._places.get(volumeNode.GetID())
        if before is not None and before.parent is volumeNode.GetParentTransformNode():
            return  # the transform itself changed, and all under it moved
        hardened = before is not None and before.hardenedInto(volumeNode)
        self._points.followVolume(volumeNode, hardened)
        for drawn in DrawingNodes.drawingNodes():
            if drawn.GetNodeReference(PointList.VOLUME_ROLE) is volumeNode:
                DrawingNodes.followVolume(drawn, volumeNode, hardened)
        matrix = before.straight(volumeNode) if hardened else None
        if matrix is not None:
            self._followHardened(volumeNode, before.digest, matrix)
        self._notePlace(volumeNode)

    def _followHardened(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, before: str, matrix: np.ndarray) -> None:
        """Bring prompts to where a transform brought their volume: its image is the same, and so are their masks."""
        image = self._images.digest(volumeNode)
        self._thread.forgetImage(before)
        self._thread.release()
        for points in PointList.pointLists():
            segmentationNode = PointList.segmentationOf(points)
            if points.GetNodeReference(PointList.VOLUME_ROLE) is not volumeNode or segmentationNode is None:
                continue
            SceneRecord.hardened(points, segmentationNode, (before, image), matrix)
            key = segmentationNode.GetID(), points.GetAttribute(PointList.SEGMENT_ATTRIBUTE)
            prompts = self._segments.get(key)
            if prompts is None or not prompts.isThere or prompts.timeline.image != before:
                continue
            self._thread.cancel(key)
            if prompts.hardened(matrix, image, volumeNode):
                self._say(
                    f"{volumeNode.GetName()}: its transform was hardened while {prompts.name} was being segmented, "
                    "which was cancelled. Redo goes on."
                )

    def _onSegmentationMoved(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
        """Where its transform was hardened into a segmentation, undo goes on with what masks are on the volume."""
        before = self._segmentationPlaces.get(segmentationNode.GetID())
        self._segmentationPlaces[segmentationNode.GetID()] = SegmentationPlace.of(segmentationNode)
        if before is None or not before.hardenedInto(segmentationNode):
            return
        for prompts in self._segments.values():
            volumeNode = prompts.points.GetNodeReference(PointList.VOLUME_ROLE)
            if prompts.segmentationNode is segmentationNode and prompts.isThere and volumeNode is not None:
                prompts.segmentationHardened(before, volumeNode)

    def _notePlace(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        role = PointList.VOLUME_ROLE
        has = any(points.GetNodeReference(role) is volumeNode for points in PointList.pointLists())
        digest = self._images.digest(volumeNode) if has else ""  # a large image is not read before it is clicked in
        self._places[volumeNode.GetID()] = Place.of(volumeNode, digest)

    def _onNodeLeaves(self, node) -> None:
        """Stop what is predicted for a node, and take its prompts back while all that they refer to is there."""
        if slicer.mrmlScene.IsClosing() or not any(prompts.concerns(node) for prompts in self._segments.values()):
            return
        self.poll()  # what is done by now is written
        waiting = [prompts for prompts in self._segments.values() if prompts.concerns(node)]
        segmented = [prompts for prompts in waiting if prompts.job is not None]
        for prompts in waiting:
            self._thread.cancel(prompts.key)
        if waiting:
            self.poll()
            names = ", ".join(prompts.name for prompts in segmented or waiting)
            what = f"{names} was segmented; what was not done is taken back."
            asked = f"the model had answered about {names}; that was stopped."
            self._say(f"{node.GetName()} was removed before {what if segmented else asked}")

    def _onNodeRemoved(self, node) -> None:
        if DrawingNodes.isDrawing(node):
            self._onDrawingRemoved(node)
            return
        self._places.pop(node.GetID() or "", None)
        self._segmentationPlaces.pop(node.GetID() or "", None)
        digest = self._images.forget(node.GetID() or "")
        if digest:
            self._thread.forgetImage(digest)
            self._thread.release()
        if node is self.volumeNode:
            self.volumeNode = None
        if node is self.segmentationNode:
            self.segmentationNode = None
        for key, prompts in list(self._segments.items()):
            if node is prompts.points or node is prompts.segmentationNode:
                self._points.forget(prompts.points)
                self._thread.cancel(key)
                del self._segments[key]
        scene = slicer.mrmlScene
        others = (scene.IsClosing, scene.IsImporting, scene.IsRestoring, scene.IsUndoing, scene.IsRedoing)
        if node.IsA("vtkMRMLSegmentationNode") and not any(other() for other in others):
            _removePromptsOf(node, self._points)

    def _onDrawingRemoved(self, node) -> None:
        """Take a drawing back that the user removed from the scene; that can be undone.

        While another volume is chosen, the mask that it made stays, as when a click is removed then.
        """
        image = self._images.digest(self.volumeNode)
        if self._points.quiet or self.segmentationNode is None or not image:
            return
        for prompts in self._segments.values():
            if prompts.isThere and DrawingNodes.isOf(node, prompts.segmentationNode, prompts.segmentId):
                self._settle(prompts)
                removed = DrawingNodes.drawingOf(node)
                if image != prompts.timeline.image or not prompts.isInPlace(self.volumeNode):
                    prompts.takeOver(self.volumeNode, image)
                prompts.timeline.remove_drawing(removed, self.model)
                self._evaluate(prompts)
                return

    def _showDrawings(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Show the drawings in force, also those whose curves were removed while no volume was chosen."""
        for prompts in self._segments.values():
            drawings = prompts.timeline.now.drawings
            if not drawings or not prompts.isThere or prompts.segmentationNode is not self.segmentationNode:
                continue
            if prompts.timeline.image == self._images.digest(volumeNode):
                with self._points.quietly():
                    DrawingNodes.setDrawings(prompts.segmentationNode, prompts.segmentId, drawings, volumeNode)

    # For subclasses

    def _promptsFor(self, segmentId: str) -> SegmentPrompts:
        """Return what is known of a segment; the first time, from what the scene holds of it."""
        if self.volumeNode is None or self.segmentationNode is None:
            raise VolumeError("Choose a volume and a segmentation first.")
        LabelmapSource.check(self.segmentationNode)
        image, key = self._images.of(self.volumeNode)[1], (self.segmentationNode.GetID(), segmentId)
        prompts = self._segments.get(key)
        if prompts is None or not prompts.isThere:  # the user may delete a point list; the segment stays
            prompts = self._segments[key] = SegmentPrompts(
                self.segmentationNode,
                segmentId,
                self.volumeNode,
                image,
                self._points,
                self._digests,
                lambda: self.beforeWriting(),  # noqa: PLW0108 - another one may be set by then
                self.pointsShown(),
            )
        with self._points.quietly():
            PointList.liftLimits(prompts.points)
            PointList.followVolume(prompts.points, self.volumeNode, image == prompts.timeline.image)
        self._notePlace(self.volumeNode)
        self._segmentationPlaces[key[0]] = SegmentationPlace.of(self.segmentationNode)
        prompts.rejoin(self.volumeNode)
        return prompts

    def _settled(self, segmentId: str) -> SegmentPrompts:
        """Return what is known of a segment, to change it; errors as `_promptsFor`."""
        prompts = self._promptsFor(segmentId)
        self._settle(prompts)
        return prompts

    def _settle(self, prompts: SegmentPrompts) -> None:
        """End the following that is under way for a segment, and take what it has reached."""
        if self._thread.stopFollowing(prompts.key):
            self.poll()

    def _known(self, segmentId: str) -> SegmentPrompts | None:
        """Return what is known of a segment that has points, here or in the scene; None for any other."""
        node = self.segmentationNode
        if node is None or node.GetSegmentation().GetSegment(segmentId) is None or not LabelmapSource.isLabelmap(node):
            return None
        if PointList.pointListOf(node, segmentId) is None or not self._images.digest(self.volumeNode):
            return None
        return self._promptsFor(segmentId)

    def _say(self, text: str) -> None:
        self.message = text
        self.onChanged()

    def _onPoints(self, points: PointList.PointListNode) -> None:
        """Bring the segment of a point list in step with it."""
        raise NotImplementedError

    def _evaluate(self, prompts: SegmentPrompts) -> None:
        """Put the state in force before the user, and have it evaluated if its mask is not known."""
        raise NotImplementedError


def _removePromptsOf(segmentationNode: slicer.vtkMRMLSegmentationNode, observer: PointObserver) -> None:
    """Remove clicks, drawings and starting masks of a segmentation that left the scene."""
    segmentationId = segmentationNode.GetID()
    role = PointList.SEGMENTATION_ROLE
    points = [node for node in PointList.pointLists() if node.GetNodeReferenceID(role) == segmentationId]
    drawn = [node for node in DrawingNodes.drawingNodes() if node.GetNodeReferenceID(role) == segmentationId]
    for clicks in points:
        observer.forget(clicks)
    with observer.quietly():
        for orphan in (*points, *drawn):
            slicer.mrmlScene.RemoveNode(orphan)
    SceneRecord.forgetAll(segmentationNode)
