"""The search for objects without clicks, in the background, and what it found until somebody accepts it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import cast

import numpy as np
import slicer

from sammed3d import VolumeError
from sammed3d.inference.automatic import AutomaticMaskGenerator, AutomaticSettings, EachPredictor, Instance
from SAMMed3DSegmentLib import LabelmapSource, SegmentWriter
from SAMMed3DSegmentLib.SearchRegion import Limit, indexToWorld, regionMask
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.SegmentWriter import Holdings
from SAMMed3DSegmentLib.Task import Task
from SAMMed3DSegmentLib.VolumeBridge import VolumeImages, volumeDigest, volumeFromNode, volumeToWorld

PREVIEW_COLOR = (1.0, 0.9, 0.0)
MOST = 200
"""Objects that are offered, the best ones."""


class Finder:
    """Search a volume; nothing is written into a segmentation before `accept`.

    Args:
        segmenter: knows volume and segmentation, and lends the model that it has loaded.

    Attributes:
        found: the objects that were neither accepted nor rejected yet, best first.
        volumeNode: what was searched; None where nothing was.
        remark: what was done to its voxels, see `Volume.remark`; "" where nothing was.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self.found: list[Instance] = []
        self.volumeNode: slicer.vtkMRMLScalarVolumeNode | None = None
        self._image, self._name, self.remark = "", "", ""
        self._images = VolumeImages()
        self._preview: slicer.vtkMRMLSegmentationNode | None = None

    def search(self, model: Hashable, settings: AutomaticSettings, limits: Sequence[Limit]) -> Task[list[Instance]]:
        """Begin a search of the segmenter's volume; what was found before is forgotten.

        Args:
            model: what `Background.modelChoice` returns.
            settings: what counts as an object.
            limits: slabs that bound the region; none for the whole volume.

        Returns:
            The search under way; give its result to `take`. Where it was cancelled, that is what was found until then.

        Raises:
            VolumeError: the volume cannot be searched.
        """
        self.forget()
        volumeNode = self._segmenter.volumeNode
        volume = volumeFromNode(volumeNode)
        toWorld = indexToWorld(volumeNode) if limits else np.eye(4)
        self.volumeNode, self._image, self._name = volumeNode, volumeDigest(volume), volume.name
        self.remark = volume.remark
        predictorFor = self._segmenter.predictorFor

        def work(task: Task[list[Instance]]) -> list[Instance]:
            region = regionMask(limits, volume.grid.shape, toWorld)
            generator = AutomaticMaskGenerator(cast(EachPredictor, predictorFor(model, task.cancellation)), settings)

            def progress(done: int, total: int) -> None:
                task.done, task.total = done, total

            return generator.generate(volume, region, progress, task.cancellation, keep=True)

        return Task(work, "SAMMed3DSegment search")

    def take(self, found: Sequence[Instance]) -> None:
        """Offer what a search found."""
        self.found = list(found[:MOST])

    def world(self, instance: Instance) -> tuple[float, ...]:
        """Return where an object is (world RAS mm): a point inside it."""
        return volumeToWorld(self.volumeNode, instance.click.world)

    def show(self, instance: Instance | None) -> None:
        """Show an object in the views, in a node of its own that is not saved; None shows none."""
        if self._preview is not None and slicer.mrmlScene.IsNodePresent(self._preview):
            display = self._preview.GetDisplayNode()
            slicer.mrmlScene.RemoveNode(self._preview)
            slicer.mrmlScene.RemoveNode(display)
        self._preview = None
        if instance is None:
            return
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName("Found")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        self._preview = node = slicer.mrmlScene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetSaveWithScene(False)
        node.SetAndObserveTransformNodeID(self.volumeNode.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(self.volumeNode)
        segmentId = node.GetSegmentation().AddEmptySegment("", "Found", PREVIEW_COLOR)
        before = Holdings.of(node, segmentId)
        SegmentWriter.write(node, segmentId, self.volumeNode, instance.mask, before)

    def accept(self, instances: Sequence[Instance], segmentationNode: slicer.vtkMRMLSegmentationNode) -> list[str]:
        """Make objects segments, which further clicks refine; returns their ids.

        Raises:
            VolumeError: the volume was deleted, or holds another image by now; or segments are not kept as voxels, or
                these are too fine. The objects that are no segments by then are still those that were found.
        """
        self._check()
        LabelmapSource.check(segmentationNode)
        self.show(None)
        segmentation, ids = segmentationNode.GetSegmentation(), []
        for instance in instances:
            segmentId = segmentation.AddEmptySegment("", _freeName(segmentation))
            before = Holdings.of(segmentationNode, segmentId)
            try:
                SegmentWriter.write(segmentationNode, segmentId, self.volumeNode, instance.mask, before)
            except VolumeError:
                segmentation.RemoveSegment(segmentId)
                raise
            self.found.remove(instance)
            ids.append(segmentId)
        return ids

    def reject(self, instances: Sequence[Instance]) -> None:
        """Forget objects."""
        self.show(None)
        for instance in instances:
            self.found.remove(instance)

    def forget(self) -> None:
        """Forget all of them, and the volume."""
        self.show(None)
        self.found, self.volumeNode, self._image, self.remark = [], None, "", ""
        self._images.forget()

    @property
    def objection(self) -> str:
        """Why what was searched is not there any more, or is another image; "" if all is well, or nothing was."""
        if self.volumeNode is None:
            return ""
        if not slicer.mrmlScene.IsNodePresent(self.volumeNode):
            return f"{self._name} was removed."
        if self._images.digest(self.volumeNode) != self._image:
            return f"{self._name} holds another image by now."
        return ""

    def _check(self) -> None:
        if self.volumeNode is None or self.objection:
            raise VolumeError("The volume that was searched is gone, or holds another image by now. Search again.")


def _freeName(segmentation: slicer.vtkSegmentation) -> str:
    names = {segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())}
    return next(name for name in (f"Object {n}" for n in range(1, len(names) + 2)) if name not in names)
