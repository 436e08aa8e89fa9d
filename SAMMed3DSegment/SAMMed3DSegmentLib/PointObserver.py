"""Notices what happens to point lists: placed, dragged, deleted, moved by a table or a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import slicer

from SAMMed3DSegmentLib import PointList


class PointObserver:
    """Call back when a point list has changed for good: not while a point follows the mouse, and once for each drag.

    Args:
        onChanged: called with the point list.

    Attributes:
        positive: which kind the next placed point is.
    """

    def __init__(self, onChanged: Callable[[PointList.PointListNode], None]) -> None:
        self._onChanged = onChanged
        self.positive = True
        self._observations: list[tuple[PointList.PointListNode, int]] = []
        self._dragged: set[str] = set()
        self._quiet = 0

    def observe(self, points: PointList.PointListNode) -> None:
        """Observe a point list; once is enough."""
        if any(points is node for node, _ in self._observations):
            return
        markups = slicer.vtkMRMLMarkupsNode
        for event, handler in (
            (markups.PointPositionDefinedEvent, self._onPlaced),
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

    def forget(self) -> None:
        """Observe nothing any more."""
        for points, tag in self._observations:
            points.RemoveObserver(tag)
        self._observations.clear()
        self._dragged.clear()

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Change points without being called back."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    def _onPlaced(self, points: PointList.PointListNode, _event: str) -> None:
        if self._quiet:
            return
        with self.quietly():
            for index in range(points.GetNumberOfControlPoints()):
                if PointList.isPlaced(points, index) and not points.GetNthControlPointDescription(index):
                    PointList.setPolarity(points, index, self.positive)
        self._onChanged(points)

    def _onEvent(self, points: PointList.PointListNode, _event: str) -> None:
        if not self._quiet and points.GetID() not in self._dragged:
            self._colourPreview(points)
            self._onChanged(points)

    def _colourPreview(self, points: PointList.PointListNode) -> None:
        """Show the point that follows the mouse in the colour that it will have."""
        last = points.GetNumberOfControlPoints() - 1
        if last < 0 or PointList.isPlaced(points, last):
            return
        if bool(points.GetNthControlPointSelected(last)) != self.positive:
            with self.quietly():
                points.SetNthControlPointSelected(last, self.positive)

    def _onDragStart(self, points: PointList.PointListNode, _event: str) -> None:
        self._dragged.add(points.GetID())

    def _onDragEnd(self, points: PointList.PointListNode, _event: str) -> None:
        self._dragged.discard(points.GetID())
        self._onChanged(points)
