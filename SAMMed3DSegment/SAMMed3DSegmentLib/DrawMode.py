"""Drawing scribbles and lassos: on until switched off, in whatever segment is selected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import slicer
import vtk

from sammed3d import SAMMed3DError
from sammed3d.core.drawings import Lasso, Scribble
from SAMMed3DSegmentLib import DrawingNodes
from SAMMed3DSegmentLib.FreeHand import FreeHand, Place, sliceViews
from SAMMed3DSegmentLib.PointList import GREEN, RED
from SAMMed3DSegmentLib.Segmenter import Segmenter


class DrawMode:
    """What is drawn with the left button held becomes a scribble or a lasso of a segment.

    Args:
        segmenter: takes the drawings.
        segmentToDrawIn: returns the id of the segment; may make it.
        say: shows why something that was drawn is not taken; drawing goes on.
        onDrawn: called after a drawing was taken.
        views: returns interactors and slice nodes of the slice views; those of the application by default.

    Attributes:
        freeHand: follows the mouse.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        segmentToDrawIn: Callable[[], str],
        say: Callable[[str], None],
        onDrawn: Callable[[], None] = lambda: None,
        views: Callable[[], Iterable[tuple[vtk.vtkRenderWindowInteractor, slicer.vtkMRMLSliceNode]]] = sliceViews,
    ) -> None:
        self._segmenter, self._segmentToDrawIn = segmenter, segmentToDrawIn
        self._say, self._onDrawn = say, onDrawn
        self._kind: type[Scribble] | type[Lasso] = Scribble
        self._positive = True
        self.freeHand = FreeHand(self._take, views)

    @property
    def kind(self) -> type[Scribble] | type[Lasso] | None:
        """What is drawn; None while the mouse is left to others."""
        return self._kind if self.freeHand.active else None

    @property
    def positive(self) -> bool:
        """Whether what is drawn next belongs to the structure."""
        return self._positive

    @positive.setter
    def positive(self, positive: bool) -> None:
        self._positive = positive
        self.freeHand.colour = GREEN if positive else RED

    def start(self, kind: type[Scribble] | type[Lasso], positive: bool = True) -> None:
        """Draw from now on, in all slice views that there are.

        Raises:
            SAMMed3DError: there is no segment to draw in, and none can be made.
        """
        self._segmentToDrawIn()
        self._kind, self.positive = kind, positive
        self.freeHand.closed = kind is Lasso
        self.freeHand.start()

    def findViews(self) -> None:
        """Draw in slice views, too, that were opened since the start."""
        self.freeHand.findViews()

    def stop(self) -> None:
        """Draw no more; what is being drawn is dropped."""
        self.freeHand.stop()

    def _take(self, world: Sequence[Place]) -> None:
        """Take what was drawn; what is no scribble or loop is said."""
        segmenter = self._segmenter
        if segmenter.volumeNode is None:
            return
        try:
            segmentId = self._segmentToDrawIn()
            segmenter.draw(segmentId, DrawingNodes.fromWorld(self._kind, world, self._positive, segmenter.volumeNode))
        except SAMMed3DError as error:
            self._say(str(error))
            return
        self._onDrawn()
