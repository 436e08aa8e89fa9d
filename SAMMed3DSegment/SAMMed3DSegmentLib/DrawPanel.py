"""The buttons that draw: scribble, lasso, whether what is drawn takes away, and whether it holds exactly."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from sammed3d import SAMMed3DError
from sammed3d.core.drawings import Lasso, Scribble
from SAMMed3DSegmentLib import DrawingNodes
from SAMMed3DSegmentLib.ClicksPanel import ClicksPanel
from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.DrawMode import DrawMode
from SAMMed3DSegmentLib.Segmenter import Segmenter


class DrawPanel:
    """Draw strokes and loops in the selected segment, with the left button held in a slice view.

    Args:
        ui: the widgets.
        segmenter: does the work.
        clicks: places points; only one of both is on.
        selected: returns the id of the selected segment; "" for none.
        ensureSegment: makes segmentation and segment where there is none; asks before it converts them.
        objection: returns why nothing can be predicted now; "" if all is well.
        say: shows a text.
        onChanged: called when there is something new to show.

    Attributes:
        mode: draws.
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
        self.mode = DrawMode(segmenter, self._segmentToDrawIn, say, lambda: self._onShow(ui.pointsButton.checked))
        self._connections = Connections(
            (ui.scribbleButton, "clicked(bool)", lambda on: self._onButton(Scribble, on)),
            (ui.lassoButton, "clicked(bool)", lambda on: self._onButton(Lasso, on)),
            (ui.takesAwayCheckBox, "toggled(bool)", self._onSign),
            (ui.honourCheckBox, "clicked(bool)", lambda on: self._segmenter.setHonour(self._selected(), on)),
            (ui.pointsButton, "toggled(bool)", self._onShow),
        )

    def draw(self, kind: type[Scribble] | type[Lasso], positive: bool = True) -> None:
        """Switch drawing on; makes segmentation and segment where there is none."""
        objection = self._objection()
        self._say(objection)
        if objection:
            self.stop()
            return
        self._clicks.placeMode.stop()
        self.ui.takesAwayCheckBox.checked = not positive
        try:
            self.mode.start(kind, positive)
        except SAMMed3DError as error:
            self._say(str(error))
        self._onChanged()

    def stop(self) -> None:
        """Switch drawing off."""
        self.mode.stop()
        self._onChanged()

    def toggle(self, kind: type[Scribble] | type[Lasso], positive: bool) -> None:
        """Switch drawing of a kind on, or off where it is on already; for keys."""
        if self.mode.kind is kind and self.mode.positive == positive:
            self.stop()
        else:
            self.draw(kind, positive)

    def update(self) -> None:
        """Offer only what can be done."""
        ui, segmenter = self.ui, self._segmenter
        if self.mode.kind is not None and (self._clicks.placeMode.active or segmenter.volumeNode is None):
            self.mode.stop()
        self.mode.findViews()
        kind = self.mode.kind
        for name in ("scribbleButton", "lassoButton", "takesAwayCheckBox"):
            getattr(ui, name).enabled = segmenter.volumeNode is not None
        ui.scribbleButton.checked = kind is Scribble
        ui.lassoButton.checked = kind is Lasso
        ui.honourCheckBox.enabled = bool(self._selected()) and segmenter.volumeNode is not None
        ui.honourCheckBox.checked = segmenter.honours(self._selected())
        if kind is not None:
            ui.hintLabel.setText(
                _("Hold the left button in a slice view and draw along the structure.")
                if kind is Scribble
                else _("Hold the left button in a slice view and draw round the structure.")
            )

    def close(self) -> None:
        """The module goes away."""
        self.mode.stop()
        self._connections.close()

    def _segmentToDrawIn(self) -> str:
        self._ensureSegment()
        return self._selected()

    def _onSign(self, takesAway: bool) -> None:
        self.mode.positive = not takesAway

    def _onButton(self, kind: type[Scribble] | type[Lasso], on: bool) -> None:
        if on:
            self.draw(kind, not self.ui.takesAwayCheckBox.checked)
        else:
            self.stop()

    def _onShow(self, shown: bool) -> None:
        for node in DrawingNodes.drawingNodes():
            node.SetDisplayVisibility(shown)
