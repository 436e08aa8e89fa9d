"""Drawing with the left button held, in any slice view: what the mouse passes becomes a line in the world."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import slicer
import vtk

from SAMMed3DSegmentLib.DrawingNodes import showAsLine

Place = tuple[float, float, float]
BEFORE_OTHERS = 1.0
"""Priority of observers: before those of the view, which would move the slice or change the window."""


def sliceViews() -> Iterator[tuple[vtk.vtkRenderWindowInteractor, slicer.vtkMRMLSliceNode]]:
    """Yield interactor and slice node of each slice view of the application."""
    manager = slicer.app.layoutManager()
    for name in () if manager is None else manager.sliceViewNames():
        widget = manager.sliceWidget(name)
        yield widget.sliceView().interactor(), widget.mrmlSliceNode()


class FreeHand:
    """Follow the mouse while the left button is held; between `start` and `stop`.

    While somebody places points since then, and with Shift or Control held, the mouse is left to others.

    Args:
        onDrawn: called with the places that a stroke passed, RAS mm of the world.
        views: returns interactors and slice nodes.

    Attributes:
        views: returns interactors and slice nodes; may be set, for other views than the application's.
        closed: whether what is drawn closes by itself, for the line that is shown while it is drawn.
        colour: RGB (0..1) of that line.
    """

    def __init__(
        self,
        onDrawn: Callable[[Sequence[Place]], None],
        views: Callable[[], Iterable[tuple[vtk.vtkRenderWindowInteractor, slicer.vtkMRMLSliceNode]]] = sliceViews,
    ) -> None:
        self._onDrawn, self.views = onDrawn, views
        self.closed, self.colour = False, (1.0, 1.0, 1.0)
        self._active = False
        self._observations: list[tuple[vtk.vtkRenderWindowInteractor, int]] = []
        self._stroke: list[Place] = []
        self._view: slicer.vtkMRMLSliceNode | None = None
        self._line: slicer.vtkMRMLMarkupsCurveNode | None = None

    @property
    def active(self) -> bool:
        """Whether the left button draws."""
        return self._active

    @property
    def hasViews(self) -> bool:
        """Whether there are slice views to draw in."""
        return bool(self._observations)

    def start(self) -> None:
        """Draw from now on, in all slice views that there are; what somebody was placing ends."""
        self.stop()
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        if interaction.GetCurrentInteractionMode() == interaction.Place:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        self._active = True
        self.findViews()

    def findViews(self) -> None:
        """Draw in slice views, too, that were opened since the start; another layout may have more of them."""
        known = [interactor for interactor, _ in self._observations]
        for interactor, node in self.views() if self._active else ():
            if any(interactor is each for each in known):
                continue
            for event, act in (
                ("LeftButtonPressEvent", self._onPress),
                ("LeftButtonDoubleClickEvent", self._onPress),  # of two quick strokes, in place of the second press
                ("MouseMoveEvent", self._onMove),
                ("LeftButtonReleaseEvent", self._onRelease),
            ):
                self._observe(interactor, node, event, act)

    def stop(self) -> None:
        """Draw no more; what is being drawn is dropped."""
        self.drop()
        self._active = False
        for interactor, tag in self._observations:
            interactor.RemoveObserver(tag)
        self._observations = []

    def drop(self) -> None:
        """Leave out what is being drawn."""
        self._view, self._stroke = None, []
        if self._line is not None and self._line.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(self._line)
        self._line = None

    def _observe(self, interactor, node, event: str, act: Callable[..., bool]) -> None:
        tags: list[int] = []

        def called(*_arguments) -> None:
            if act(interactor, node):
                interactor.GetCommand(tags[0]).SetAbortFlag(1)  # nobody else acts on it

        tags.append(interactor.AddObserver(event, called, BEFORE_OTHERS))
        self._observations.append((interactor, tags[0]))

    def _onPress(self, interactor, node) -> bool:
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        placing = interaction.GetCurrentInteractionMode() == interaction.Place
        if placing or interactor.GetShiftKey() or interactor.GetControlKey():
            return False
        self.drop()
        self._view, self._stroke = node, [_placeOf(interactor, node)]
        self._line = _createLine(self.closed, self.colour)
        self._line.AddControlPointWorld(vtk.vtkVector3d(self._stroke[0]))
        return True

    def _onMove(self, interactor, node) -> bool:
        if node is not self._view:
            return False
        place = _placeOf(interactor, node)
        if place != self._stroke[-1]:
            self._stroke.append(place)
            self._line.AddControlPointWorld(vtk.vtkVector3d(place))
        return True

    def _onRelease(self, _interactor, node) -> bool:
        if node is not self._view:
            return False
        stroke = self._stroke
        self.drop()
        self._onDrawn(stroke)
        return True


def _placeOf(interactor: vtk.vtkRenderWindowInteractor, node: slicer.vtkMRMLSliceNode) -> Place:
    """Return where the mouse is in the world."""
    x, y = interactor.GetEventPosition()
    r, a, s, _ = node.GetXYToRAS().MultiplyPoint((x, y, 0.0, 1.0))
    return r, a, s


def _createLine(closed: bool, colour: Sequence[float]) -> slicer.vtkMRMLMarkupsCurveNode:
    """Add the line that is shown while it is drawn; it is saved with nothing."""
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLMarkupsClosedCurveNode" if closed else "vtkMRMLMarkupsCurveNode")
    node.UnRegister(None)
    node.SetName("drawing")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.SetCurveTypeToLinear()
    slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetSelectedColor(*colour)
    showAsLine(display)
    return node
