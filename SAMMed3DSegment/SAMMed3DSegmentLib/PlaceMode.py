"""Placing points: on until switched off, in whatever segment is selected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import slicer
import vtk


@dataclass(frozen=True)
class _Before:
    """What place mode was like before it was ours."""

    className: str | None
    nodeId: str | None
    persistence: int


class PlaceMode:
    """Switch Slicer's place mode on a point list on and off, and notice when somebody else ends it or takes it over.

    It ends, too, when its point list is removed: Slicer would place the next click in a list of its own.

    However it ended, the active list, its class and the persistence are again what they were: another module's points
    must not become clicks, and another module's ROI must not be followed by a second one.

    Args:
        onChanged: called when the mode ended or began elsewhere.
    """

    def __init__(self, onChanged: Callable[[], None] = lambda: None) -> None:
        self._onChanged = onChanged
        self._points: slicer.vtkMRMLMarkupsFiducialNode | None = None
        self._before: _Before | None = None
        self._changing = False
        self._observations: list[tuple[vtk.vtkObject, int]] = []

    @property
    def active(self) -> bool:
        """Whether the next click places a point of ours."""
        interaction = _interactionNode()
        return (
            self._points is not None
            and interaction.GetCurrentInteractionMode() == slicer.vtkMRMLInteractionNode.Place
            and self._isOurs()
        )

    def start(self, pointsToPlaceIn: Callable[[], slicer.vtkMRMLMarkupsFiducialNode]) -> None:
        """Place points in a list until `stop`.

        Args:
            pointsToPlaceIn: returns the list; may make it, which by itself makes it Slicer's active one.
        """
        self._observe()
        selection, interaction = _selectionNode(), _interactionNode()
        before = self._before or _Before(
            selection.GetActivePlaceNodeClassName(),
            selection.GetActivePlaceNodeID(),
            interaction.GetPlaceModePersistence(),
        )
        self._changing = True
        try:
            self._points, self._before = pointsToPlaceIn(), before
            selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsFiducialNode")
            selection.SetReferenceActivePlaceNodeID(self._points.GetID())
            interaction.SetPlaceModePersistence(1)
            interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.Place)
        finally:
            self._changing = False

    def stop(self) -> None:
        """Go back to looking around."""
        if self.active:
            self._changing = True
            _interactionNode().SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)
            self._changing = False
        self._restore()

    def close(self) -> None:
        """Stop, and observe nothing any more."""
        self.stop()
        for node, tag in self._observations:
            node.RemoveObserver(tag)
        self._observations = []

    def _isOurs(self) -> bool:
        """Tell whether our list is the one that points would go to."""
        return self._points.GetID() is not None and _selectionNode().GetActivePlaceNodeID() == self._points.GetID()

    def _observe(self) -> None:
        if self._observations:
            return
        for node, event in (
            (_interactionNode(), slicer.vtkMRMLInteractionNode.InteractionModeChangedEvent),
            (_selectionNode(), slicer.vtkMRMLSelectionNode.ActivePlaceNodeIDChangedEvent),
        ):
            self._observations.append((node, node.AddObserver(event, self._onEvent)))

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def removed(_scene, _event, node):
            if node is self._points:
                self._onListRemoved()

        scene = slicer.mrmlScene
        self._observations.append((scene, scene.AddObserver(scene.NodeRemovedEvent, removed)))

    def _onEvent(self, _caller, _event: str) -> None:
        if self._changing:
            return
        if self._points is not None and not self.active:
            self._restore()
        self._onChanged()

    def _onListRemoved(self) -> None:
        nobodys = slicer.mrmlScene.GetNodeByID(_selectionNode().GetActivePlaceNodeID() or "") is None
        self._restore(nobodys)
        if nobodys:
            _interactionNode().SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)
        self._onChanged()

    def _restore(self, nobodys: bool = False) -> None:
        """Make place mode what it was, as far as nobody else has changed it in the meantime."""
        points, before = self._points, self._before
        if points is None or before is None:
            return
        self._changing = True
        if nobodys or self._isOurs():
            selection = _selectionNode()
            selection.SetReferenceActivePlaceNodeClassName(before.className)
            present = before.nodeId is not None and slicer.mrmlScene.GetNodeByID(before.nodeId) is not None
            selection.SetReferenceActivePlaceNodeID(before.nodeId if present else None)
        _interactionNode().SetPlaceModePersistence(before.persistence)
        self._changing = False
        self._points = self._before = None


def _interactionNode() -> slicer.vtkMRMLInteractionNode:
    return slicer.app.applicationLogic().GetInteractionNode()


def _selectionNode() -> slicer.vtkMRMLSelectionNode:
    return slicer.app.applicationLogic().GetSelectionNode()
