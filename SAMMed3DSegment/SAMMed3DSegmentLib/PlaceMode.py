"""Placing points: on until switched off, in whatever segment is selected."""

from __future__ import annotations

from collections.abc import Callable

import slicer


class PlaceMode:
    """Switch Slicer's place mode on a point list on and off, and notice when somebody else switches it off.

    Args:
        onChanged: called when the mode ended or began elsewhere.
    """

    def __init__(self, onChanged: Callable[[], None] = lambda: None) -> None:
        self._onChanged = onChanged
        self._points: slicer.vtkMRMLMarkupsFiducialNode | None = None
        self._observation: tuple[slicer.vtkMRMLInteractionNode, int] | None = None

    @property
    def active(self) -> bool:
        """Whether the next click places a point of ours."""
        interaction, selection = _interactionNode(), _selectionNode()
        return (
            self._points is not None
            and interaction is not None
            and interaction.GetCurrentInteractionMode() == slicer.vtkMRMLInteractionNode.Place
            and selection.GetActivePlaceNodeID() == self._points.GetID()
        )

    def start(self, points: slicer.vtkMRMLMarkupsFiducialNode) -> None:
        """Place points in a list until `stop`."""
        self._observe()
        self._points = points
        selection, interaction = _selectionNode(), _interactionNode()
        selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsFiducialNode")
        selection.SetActivePlaceNodeID(points.GetID())
        interaction.SetPlaceModePersistence(1)
        interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.Place)

    def stop(self) -> None:
        """Go back to looking around."""
        if self.active:
            interaction = _interactionNode()
            interaction.SetPlaceModePersistence(0)
            interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)
        self._points = None

    def close(self) -> None:
        """Stop, and observe nothing any more."""
        self.stop()
        if self._observation is not None:
            node, tag = self._observation
            node.RemoveObserver(tag)
            self._observation = None

    def _observe(self) -> None:
        if self._observation is None:
            node = _interactionNode()
            event = slicer.vtkMRMLInteractionNode.InteractionModeChangedEvent
            self._observation = node, node.AddObserver(event, lambda *_: self._onChanged())


def _interactionNode() -> slicer.vtkMRMLInteractionNode:
    return slicer.app.applicationLogic().GetInteractionNode()


def _selectionNode() -> slicer.vtkMRMLSelectionNode:
    return slicer.app.applicationLogic().GetSelectionNode()
