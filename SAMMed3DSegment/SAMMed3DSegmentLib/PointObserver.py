"""Notices what happens to point lists: placed, dragged, deleted, moved by a table or a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import slicer

from SAMMed3DSegmentLib import PointList

POSTPONED_ATTRIBUTE = "SAMMed3DSegment.Postponed"
"""Node attribute of a point list that changed while something else was chosen."""


class PointObserver:
    """Call back when a point list has changed for good: not while a point follows the mouse, and once for each drag.

    A point has its kind before anybody is called back: Slicer says that a point was modified before it says that it
    was placed, so neither of both events is waited for.

    Args:
        onChanged: called with the point list.
    """

    def __init__(self, onChanged: Callable[[PointList.PointListNode], None]) -> None:
        self._onChanged = onChanged
        self._positive = True
        self._observations: list[tuple[PointList.PointListNode, int]] = []
        self._dragged: set[str] = set()
        self._quiet = 0

    @property
    def positive(self) -> bool:
        """Which kind the next placed point is."""
        return self._positive

    @positive.setter
    def positive(self, positive: bool) -> None:
        self._positive = positive
        for points, _ in self._observations:
            self.settlePolarity(points)

    def observe(self, points: PointList.PointListNode) -> None:
        """Observe a point list; once is enough."""
        if any(points is node for node, _ in self._observations):
            return
        markups = slicer.vtkMRMLMarkupsNode
        for event, handler in (
            (markups.PointAddedEvent, self._onAdded),
            (markups.PointPositionDefinedEvent, self._onEvent),
            (markups.PointRemovedEvent, self._onEvent),
            (markups.PointModifiedEvent, self._onEvent),
            (markups.PointStartInteractionEvent, self._onDragStart),
            (markups.PointEndInteractionEvent, self._onDragEnd),
        ):
            self._observations.append((points, points.AddObserver(event, handler)))

    def observeAll(self) -> None:
        """Observe all point lists of this module in the scene."""
        for points in PointList.pointLists():
            self.observe(points)

    def forget(self, points: PointList.PointListNode | None = None) -> None:
        """Observe a point list no more, or none at all."""
        for node, tag in self._observations:
            if points is None or node is points:
                node.RemoveObserver(tag)
        self._observations = [] if points is None else [entry for entry in self._observations if entry[0] is not points]
        self._dragged = set() if points is None else self._dragged - {points.GetID()}

    def postpone(self, points: PointList.PointListNode) -> None:
        """Note, also for a later session, that a list changed while its volume or its segmentation was not chosen."""
        points.SetAttribute(POSTPONED_ATTRIBUTE, "1")

    def takePostponed(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode | None,
        segmentationNode: slicer.vtkMRMLSegmentationNode | None,
    ) -> list[PointList.PointListNode]:
        """Return the point lists of a volume and a segmentation that changed meanwhile; their notes are gone then."""
        taken = [
            points
            for points in PointList.pointLists()
            if points.GetAttribute(POSTPONED_ATTRIBUTE)
            and points.GetNodeReference(PointList.VOLUME_ROLE) is volumeNode
            and PointList.segmentationOf(points) is segmentationNode
        ]
        for points in taken:
            points.RemoveAttribute(POSTPONED_ATTRIBUTE)
        return taken

    @property
    def quiet(self) -> bool:
        """Whether what changes now was changed by the module itself."""
        return self._quiet > 0

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Change points without being called back."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    def settlePolarity(self, points: PointList.PointListNode) -> None:
        """Give the kind that is switched on to points that have none, and to the one that follows the mouse."""
        with self.quietly():
            for index in range(points.GetNumberOfControlPoints()):
                status, kind = (
                    points.GetNthControlPointPositionStatus(index),
                    points.GetNthControlPointDescription(index),
                )
                if status == points.PositionPreview or (status == points.PositionDefined and not kind):
                    PointList.setPolarity(points, index, self._positive)

    def followVolume(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, hardened: bool = False) -> None:
        """Put the point lists of a volume under its transform; see `PointList.followVolume`."""
        with self.quietly():
            for points in PointList.pointLists():
                if points.GetNodeReference(PointList.VOLUME_ROLE) is volumeNode:
                    PointList.followVolume(points, volumeNode, hardened=hardened)

    def _onAdded(self, points: PointList.PointListNode, _event: str) -> None:
        if not self._quiet:
            self.settlePolarity(points)

    def _onEvent(self, points: PointList.PointListNode, _event: str) -> None:
        if self._quiet:
            return
        self.settlePolarity(points)
        if points.GetID() not in self._dragged:
            self._onChanged(points)

    def _onDragStart(self, points: PointList.PointListNode, _event: str) -> None:
        self._dragged.add(points.GetID())

    def _onDragEnd(self, points: PointList.PointListNode, _event: str) -> None:
        self._dragged.discard(points.GetID())
        self._onEvent(points, _event)
