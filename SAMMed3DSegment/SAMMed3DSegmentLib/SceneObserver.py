"""Notices what goes away, moves or gets another name in the scene, so that nothing is kept that nobody needs."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk


class SceneObserver:
    """Call back when what is watched changes; observes nothing after `forget`.

    Args:
        onSceneCloses: the scene is about to be closed.
        onNodeLeaves: called with a node of any kind that is about to leave the scene, and is still in it.
        onNodeRemoved: called with a node of any kind that left the scene.
        onSegmentRemoved: called with a segmentation and the id of a segment that it had.
        onSegmentModified: called with a segmentation and the id of a segment: its name or colour may be another.
        onVolumeMoved: called with a volume that got another transform.
        onSegmentationMoved: called with a segmentation that got another transform.
    """

    def __init__(
        self,
        onSceneCloses: Callable[[], None],
        onNodeLeaves: Callable[[object], None],
        onNodeRemoved: Callable[[object], None],
        onSegmentRemoved: Callable[[slicer.vtkMRMLSegmentationNode, str], None],
        onSegmentModified: Callable[[slicer.vtkMRMLSegmentationNode, str], None],
        onVolumeMoved: Callable[[slicer.vtkMRMLScalarVolumeNode], None],
        onSegmentationMoved: Callable[[slicer.vtkMRMLSegmentationNode], None],
    ) -> None:
        self._onSceneCloses, self._onNodeLeaves, self._onNodeRemoved = onSceneCloses, onNodeLeaves, onNodeRemoved
        self._onSegmentRemoved, self._onSegmentModified = onSegmentRemoved, onSegmentModified
        self._onVolumeMoved, self._onSegmentationMoved = onVolumeMoved, onSegmentationMoved
        self._observations: list[tuple[vtk.vtkObject, int]] = []

    def watchScene(self) -> None:
        """Watch the scene itself; once is enough."""
        scene = slicer.mrmlScene
        if self._isWatched(scene):
            return
        self._observe(scene, scene.StartCloseEvent, lambda *_: self._onSceneCloses())

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def leaves(_scene, _event, node):
            self._onNodeLeaves(node)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def removed(_scene, _event, node):
            self._drop(node)
            self._onNodeRemoved(node)

        self._observe(scene, scene.NodeAboutToBeRemovedEvent, leaves)
        self._observe(scene, scene.NodeRemovedEvent, removed)

    def watchVolume(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Watch a volume's transform."""
        if not self._isWatched(volumeNode):
            event = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
            self._observe(volumeNode, event, lambda *_: self._onVolumeMoved(volumeNode))

    def watchSegmentation(self, segmentationNode: slicer.vtkMRMLSegmentationNode) -> None:
        """Watch a segmentation's segments and its transform."""
        if self._isWatched(segmentationNode):
            return

        @vtk.calldata_type(vtk.VTK_STRING)
        def removed(_node, _event, segmentId=""):  # without an id where a sequence exchanges all of them
            if segmentId:
                self._onSegmentRemoved(segmentationNode, segmentId)

        @vtk.calldata_type(vtk.VTK_STRING)
        def modified(_node, _event, segmentId=""):  # without an id where many changed
            for changed in [segmentId] if segmentId else segmentationNode.GetSegmentation().GetSegmentIDs():
                self._onSegmentModified(segmentationNode, changed)

        self._observe(segmentationNode, slicer.vtkSegmentation.SegmentRemoved, removed)
        self._observe(segmentationNode, slicer.vtkSegmentation.SegmentModified, modified)
        event = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        self._observe(segmentationNode, event, lambda *_: self._onSegmentationMoved(segmentationNode))

    def forget(self) -> None:
        """Observe nothing any more."""
        for caller, tag in self._observations:
            caller.RemoveObserver(tag)
        self._observations.clear()

    def _isWatched(self, caller: vtk.vtkObject) -> bool:
        return any(known is caller for known, _ in self._observations)

    def _observe(self, caller: vtk.vtkObject, event: int, function: Callable[..., None]) -> None:
        self._observations.append((caller, caller.AddObserver(event, function)))

    def _drop(self, caller: vtk.vtkObject) -> None:
        for known, tag in self._observations:
            if known is caller:
                known.RemoveObserver(tag)
        self._observations = [entry for entry in self._observations if entry[0] is not caller]
