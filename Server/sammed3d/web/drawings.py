"""Scribbles and lassos in the selected segment, drawn in the slice views as in Slicer. MRML only, no trame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import slicer

from sammed3d.core.drawings import Lasso, Scribble
from sammed3d.web.work import Work
from SAMMed3DSegmentLib import DrawingNodes
from SAMMed3DSegmentLib.DrawMode import DrawMode

KINDS: dict[str, Any] = {Scribble.kind: Scribble, Lasso.kind: Lasso}
HINTS = {
    Scribble.kind: "Hold the left button in a slice view and draw along the structure.",
    Lasso.kind: "Hold the left button in a slice view and draw round the structure.",
}


@dataclass(frozen=True)
class DrawingRow:
    """A drawing as the page lists it.

    Attributes:
        id: of its curve in the scene.
        kind: "scribble" or "lasso".
        positive: whether it belongs to the structure.
    """

    id: str
    kind: str
    positive: bool


class Drawings:
    """What is drawn in the selected segment, in its order, and what draws.

    Args:
        work: whose selected segment it is.
        say: shows a line.
        views: returns interactors and slice nodes of the slice views.
    """

    def __init__(self, work: Work, say: Callable[[str], None], views: Callable[[], Iterable[tuple[Any, Any]]]) -> None:
        self._work, self._say = work, say
        self._mode = DrawMode(work.segmenter, lambda: work.segment_id, say, self._taken, views)

    @property
    def kind(self) -> str:
        """What is drawn: "scribble", "lasso", or "" while the mouse is left to others."""
        return "" if self._mode.kind is None else str(self._mode.kind.kind)

    @property
    def positive(self) -> bool:
        """Whether what is drawn next belongs to the structure."""
        return bool(self._mode.positive)

    def use(self, kind: str, positive: bool) -> None:
        """Draw from now on, in place of placing clicks; the same again, or "", goes back to looking around."""
        if self._work.volume_node is None or kind not in KINDS or (kind, positive) == (self.kind, self.positive):
            self.stop()
            return
        self._work.place("")
        self._mode.start(KINDS[kind], positive)
        if not self._mode.freeHand.hasViews:
            self.stop()
        self._work.prepare()
        self._say(HINTS[kind] if self.kind else "There is no slice view to draw in. Choose other views.")

    def turn(self, positive: bool) -> None:
        """Draw what belongs to the structure next, or what does not."""
        self._mode.positive = positive

    def follow(self) -> None:
        """Draw in the views that there are now."""
        if self.kind:
            self._mode.freeHand.start()

    def drop(self) -> None:
        """Leave out what is being drawn."""
        self._mode.freeHand.drop()

    def stop(self) -> None:
        """Draw no more."""
        self._mode.stop()

    @property
    def honour(self) -> bool:
        """Whether the selected segment is made to agree with its box and drawings, whatever the model says."""
        return bool(self._work.segmenter.honours(self._work.segment_id))

    def keep_to_them(self, honour: bool) -> None:
        """Make the selected segment agree with its box and drawings, or leave the model's answer as it is."""
        if honour != self._work.segmenter.honours(self._work.segment_id):  # the page says so when it begins, too
            self._work.segmenter.setHonour(self._work.segment_id, honour)

    def rows(self) -> list[DrawingRow]:
        """Return the drawings of the selected segment, in the order in which they were drawn."""
        drawn = [(node.GetID(), DrawingNodes.drawingOf(node)) for node in self._nodes()]
        return [DrawingRow(node_id, str(drawing.kind), drawing.positive) for node_id, drawing in drawn]

    def remove(self, row_id: str) -> None:
        """Take a drawing of the selected segment back; that can be undone."""
        for node in self._nodes():
            if node.GetID() == row_id:
                slicer.mrmlScene.RemoveNode(node)
                return

    def middle(self, row_id: str) -> tuple[float, float, float] | None:
        """Return a place on a drawing, half way along it (world RAS mm); None where there is no such drawing."""
        for node in self._nodes():
            if node.GetID() == row_id:
                r, a, s = node.GetNthControlPointPositionWorld(node.GetNumberOfControlPoints() // 2)
                return r, a, s
        return None

    def _taken(self) -> None:
        self._say("")  # what was said before is old

    def _nodes(self) -> list[Any]:
        work = self._work
        if work.segmentation_node is None or not work.segment_id:
            return []
        return list(DrawingNodes.drawingNodes(work.segmentation_node, work.segment_id))
