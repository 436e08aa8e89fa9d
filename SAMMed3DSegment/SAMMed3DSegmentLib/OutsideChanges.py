"""Notices what others change of what is chosen, so that the panel offers what can be done now."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk

import qt
from SAMMed3DSegmentLib.FrameSequence import FrameSequence
from SAMMed3DSegmentLib.Segmenter import Segmenter


class OutsideChanges:
    """Call back once after others changed volume or segmentation, removed nodes, or opened slice views.

    A script, another module or a second window may do that at any time, and several times in a row: the call comes
    when the event loop is idle, after the change and not in the middle of it. While a series is played none comes.

    Args:
        segmenter: knows volume and segmentation.
        onChanged: called.
    """

    def __init__(self, segmenter: Segmenter, onChanged: Callable[[], None]) -> None:
        self._segmenter, self._onChanged = segmenter, onChanged
        self._active = False
        self._watched: tuple[object, object] = (None, None)
        self._observations: list[tuple[vtk.vtkObject, int]] = []
        self._sceneTags: list[int] = []
        self._later = qt.QTimer()
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.connect("timeout()", self._onLater)

    def start(self) -> None:
        """Call back from now on; once is enough."""
        if self._active:
            return
        self._active = True
        scene = slicer.mrmlScene

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def added(_scene, _event, node):
            if node.IsA("vtkMRMLSliceNode"):  # of a slice view in another layout
                self._later.start()

        self._sceneTags = [
            scene.AddObserver(scene.NodeRemovedEvent, self._onEvent),
            scene.AddObserver(scene.NodeAddedEvent, added),
        ]
        self.update()

    def stop(self) -> None:
        """Call back no more."""
        self._active = False
        self._later.stop()
        for tag in self._sceneTags:
            slicer.mrmlScene.RemoveObserver(tag)
        self._sceneTags = []
        self._observe(None, None)

    def update(self) -> None:
        """Watch what is chosen now."""
        chosen = self._segmenter.volumeNode, self._segmenter.segmentationNode
        if self._active and chosen != self._watched:
            self._observe(*chosen)

    def close(self) -> None:
        """The module goes away."""
        self.stop()
        self._later.disconnect("timeout()", self._onLater)

    def _observe(self, volumeNode, segmentationNode) -> None:
        for caller, tag in self._observations:
            caller.RemoveObserver(tag)
        self._watched, self._observations = (volumeNode, segmentationNode), []
        moved, segmentation = slicer.vtkMRMLTransformableNode.TransformModifiedEvent, slicer.vtkSegmentation
        events = {
            volumeNode: (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, moved),
            segmentationNode: (
                segmentation.SegmentAdded,
                segmentation.SegmentRemoved,
                segmentation.SegmentModified,
                segmentation.SourceRepresentationModified,
                moved,
            ),
        }
        for caller, each in events.items():
            if caller is not None:
                self._observations += [(caller, caller.AddObserver(event, self._onEvent)) for event in each]

    def _onEvent(self, _caller: vtk.vtkObject, _event: str) -> None:
        self._later.start()

    def _onLater(self) -> None:
        frames = FrameSequence.of(self._segmenter.volumeNode)
        if frames is None or not frames.browser.GetPlaybackActive():
            self._onChanged()
