"""Where to click next in a segment: asked of the model, shown in the views, taken or skipped."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk

from sammed3d import Cancellation
from sammed3d.core.geometry import Point3
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.prompt_translation import TranslatingInferer
from sammed3d.inference.suggestion import Suggestion, suggestion_from
from sammed3d.inference.uncertainty import Uncertainty, uncertainty_of
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.UncertaintyOverlay import UncertaintyOverlay
from SAMMed3DSegmentLib.Views import jumpTo
from SAMMed3DSegmentLib.VolumeBridge import segmentableFromNode, volumeToWorld

RADIUS = 2.5
"""mm: of the marker."""
YELLOW = (1.0, 0.9, 0.0)

Answer = tuple[Uncertainty | None, Suggestion | None]


class NextPlace:
    """Ask where the next click would change most, and mark that place; nothing of it is saved with the scene.

    Args:
        segmenter: does the work.
        onChanged: called when there is an answer.

    Attributes:
        place: where to click next, in the volume's own frame; None where nothing was asked, or nothing is doubtful.
        overlay: how unsure the model is, over the image.
        answered: whether the answer is to what the segment shows now.
    """

    def __init__(self, segmenter: Segmenter, onChanged: Callable[[], None]) -> None:
        self._segmenter, self._onChanged = segmenter, onChanged
        self.place: Suggestion | None = None
        self.overlay = UncertaintyOverlay()
        self.answered = False
        self._asked: tuple[str, PromptState] | None = None
        self._skipped: tuple[str, tuple[Point3, ...]] = ("", ())
        self._found: Uncertainty | None = None
        self._marker: slicer.vtkMRMLModelNode | None = None

    def ask(self, segmentId: str) -> None:
        """Ask about a segment, in the background; places that were skipped in it are not suggested again."""
        state, volumeNode = self._segmenter.shownState(segmentId), self._segmenter.volumeNode
        known = self._found if self._isCurrent(segmentId) else None
        self.forget(keepSkipped=True)
        if self._skipped[0] != segmentId:
            self._skipped = (segmentId, ())
        skipped = self._skipped[1]
        self._asked = None if state is None else (segmentId, state)
        grid = None if state is None else segmentableFromNode(volumeNode).grid

        def question(inferer: TranslatingInferer, prompts: PromptState, cancellation: Cancellation) -> Answer:
            found = known or uncertainty_of(inferer, prompts, cancellation)
            places = (*(click.world for click in prompts.clicks), *skipped)
            return found, None if found is None or grid is None else suggestion_from(found, grid, places)

        self._segmenter.ask(segmentId, question, self._take)

    def accept(self, positive: bool) -> None:
        """Click at the place."""
        if self.place is None or self._asked is None or not self._isCurrent(self._asked[0]):
            return
        (segmentId, _), world = self._asked, volumeToWorld(self._segmenter.volumeNode, self.place.world)
        self.forget(keepSkipped=True)
        self._segmenter.click(segmentId, world, positive)

    def skip(self) -> None:
        """Ask for another place."""
        if self.place is None or self._asked is None:
            return
        segmentId = self._asked[0]
        self._skipped = (segmentId, (*self._skipped[1], self.place.world))
        self.ask(segmentId)

    def update(self, segmentId: str) -> None:
        """Take away what does not belong to what the selected segment shows any more; ask about no other segment."""
        another = self._asked is not None and self._asked[0] != segmentId
        if another or (self.answered and not self._isCurrent(segmentId)):
            self.forget(keepSkipped=self._skipped[0] == segmentId)

    def forget(self, keepSkipped: bool = False) -> None:
        """Take the marker and the overlay away, and ask no more."""
        if self._asked is not None and not self.answered:
            self._segmenter.endQuestion(self._asked[0])
        self.place = self._found = self._asked = None
        self.answered = False
        self._skipped = self._skipped if keepSkipped else ("", ())
        self.overlay.remove()
        if self._marker is not None and slicer.mrmlScene.IsNodePresent(self._marker):
            display = self._marker.GetDisplayNode()
            slicer.mrmlScene.RemoveNode(self._marker)
            slicer.mrmlScene.RemoveNode(display)
        self._marker = None

    def _isCurrent(self, segmentId: str) -> bool:
        if self._asked is None or self._asked[0] != segmentId:
            return False
        return self._segmenter.shownState(segmentId) is self._asked[1]

    def _take(self, answer: Answer) -> None:
        if self._asked is None:  # forgotten meanwhile
            return
        self._found, self.place = answer
        self.answered = True
        volumeNode = self._segmenter.volumeNode
        if self._found is not None:
            self.overlay.show(self._found, volumeNode)
        if self.place is not None:
            self._mark(self.place, volumeNode)
            jumpTo(volumeToWorld(volumeNode, self.place.world))
        self._onChanged()

    def _mark(self, place: Suggestion, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Show a ball: a model, since a point would become the list that Slicer places points in."""
        ball = vtk.vtkSphereSource()
        ball.SetRadius(RADIUS)
        ball.SetCenter(*place.world)
        ball.SetThetaResolution(24)
        ball.SetPhiResolution(24)
        ball.Update()
        node = slicer.vtkMRMLModelNode()
        node.SetName("Where next?")
        node.SetHideFromEditors(True)
        node.SetSelectable(False)
        node.SetSaveWithScene(False)
        self._marker = node = slicer.mrmlScene.AddNode(node)
        node.SetAndObservePolyData(ball.GetOutput())
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetColor(*YELLOW)
        display.SetVisibility2D(True)
        display.SetSliceIntersectionThickness(3)
