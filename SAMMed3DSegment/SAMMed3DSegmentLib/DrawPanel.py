"""The buttons that draw: scribble, lasso, whether what is drawn takes away, and whether it holds exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slicer.i18n import tr as _

from sammed3d import SAMMed3DError
from sammed3d.core.drawings import Lasso, Scribble
from SAMMed3DSegmentLib import DrawingNodes
from SAMMed3DSegmentLib.ClicksPanel import ClicksPanel
from SAMMed3DSegmentLib.FreeHand import FreeHand
from SAMMed3DSegmentLib.PointList import GREEN, RED
from SAMMed3DSegmentLib.Segmenter import Segmenter


class DrawPanel:
    """Draw strokes and loops in the selected segment, with the left button held in a slice view.

    Args:
        ui: the widgets.
        segmenter: does the work.
        clicks: places points; only one of both is on.
        selected: returns the id of the selected segment; "" for none.
        ensureSegment: makes segmentation and segment where there is none.
        objection: returns why nothing can be predicted now; "" if all is well.
        say: shows a text.
        onChanged: called when there is something new to show.

    Attributes:
        freeHand: follows the mouse.
    """

    def __init__(
        self,
        ui,
        segmenter: Segmenter,
        clicks: ClicksPanel,
        selected: Callable[[], str],
        ensureSegment: Callable[[], None],
        objection: Callable[[], str],
        say: Callable[[str], None],
        onChanged: Callable[[], None],
    ) -> None:
        self.ui, self._segmenter, self._clicks, self._selected = ui, segmenter, clicks, selected
        self._ensureSegment, self._objection = ensureSegment, objection
        self._say, self._onChanged = say, onChanged
        self._kind: type[Scribble] | type[Lasso] = Scribble
        self.freeHand = FreeHand(self._onDrawn)
        self._connections = [
            (ui.scribbleButton, "clicked(bool)", lambda on: self._onButton(Scribble, on)),
            (ui.lassoButton, "clicked(bool)", lambda on: self._onButton(Lasso, on)),
            (ui.takesAwayCheckBox, "toggled(bool)", lambda _on: self._prepare()),
            (ui.honourCheckBox, "clicked(bool)", lambda on: self._segmenter.setHonour(self._selected(), on)),
            (ui.pointsButton, "toggled(bool)", self._onShow),
        ]
        for sender, signal, function in self._connections:
            sender.connect(signal, function)

    def draw(self, kind: type[Scribble] | type[Lasso], positive: bool = True) -> None:
        """Switch drawing on; makes segmentation and segment where there is none."""
        objection = self._objection()
        self._say(objection)
        if objection:
            self.stop()
            return
        self._clicks.placeMode.stop()
        self._kind = kind
        self.ui.takesAwayCheckBox.checked = not positive
        try:
            self._ensureSegment()
            self._prepare()
            self.freeHand.start()
        except SAMMed3DError as error:
            self._say(str(error))
        self._onChanged()

    def stop(self) -> None:
        """Switch drawing off."""
        self.freeHand.stop()
        self._onChanged()

    def toggle(self, kind: type[Scribble] | type[Lasso], positive: bool) -> None:
        """Switch drawing of a kind on, or off where it is on already; for keys."""
        same = self._kind is kind and self.ui.takesAwayCheckBox.checked != positive
        if self.freeHand.active and same:
            self.stop()
        else:
            self.draw(kind, positive)

    def update(self) -> None:
        """Offer only what can be done."""
        ui, segmenter = self.ui, self._segmenter
        if self.freeHand.active and (self._clicks.placeMode.active or segmenter.volumeNode is None):
            self.freeHand.stop()
        drawing = self.freeHand.active
        for name in ("scribbleButton", "lassoButton", "takesAwayCheckBox"):
            getattr(ui, name).enabled = segmenter.volumeNode is not None
        ui.scribbleButton.checked = drawing and self._kind is Scribble
        ui.lassoButton.checked = drawing and self._kind is Lasso
        ui.honourCheckBox.enabled = bool(self._selected()) and segmenter.volumeNode is not None
        ui.honourCheckBox.checked = segmenter.honours(self._selected())
        if drawing:
            ui.hintLabel.setText(
                _("Hold the left button in a slice view and draw along the structure.")
                if self._kind is Scribble
                else _("Hold the left button in a slice view and draw round the structure.")
            )

    def close(self) -> None:
        """The module goes away."""
        self.freeHand.stop()
        for sender, signal, function in self._connections:
            sender.disconnect(signal, function)

    def _prepare(self) -> None:
        self.freeHand.closed = self._kind is Lasso
        self.freeHand.colour = RED if self.ui.takesAwayCheckBox.checked else GREEN

    def _onButton(self, kind: type[Scribble] | type[Lasso], on: bool) -> None:
        if on:
            self.draw(kind, not self.ui.takesAwayCheckBox.checked)
        else:
            self.stop()

    def _onDrawn(self, world: Sequence[Sequence[float]]) -> None:
        """Take what was drawn; a loop that is none is said, and drawing goes on."""
        segmenter, positive = self._segmenter, not self.ui.takesAwayCheckBox.checked
        if segmenter.volumeNode is None:
            return
        try:
            self._ensureSegment()
            drawing = DrawingNodes.fromWorld(self._kind, world, positive, segmenter.volumeNode)
            segmenter.draw(self._selected(), drawing)
            self._onShow(self.ui.pointsButton.checked)
        except SAMMed3DError as error:
            self._say(str(error))

    def _onShow(self, shown: bool) -> None:
        for node in DrawingNodes.drawingNodes():
            node.SetDisplayVisibility(shown)
