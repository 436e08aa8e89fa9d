"""The buttons round clicks: positive, negative, a box, undo, redo, reset, and the hint that says what comes next."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from sammed3d import SAMMed3DError
from SAMMed3DSegmentLib import PointList
from SAMMed3DSegmentLib.BoxRoi import newestRoi
from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.PlaceMode import PlaceMode
from SAMMed3DSegmentLib.PropagatePanel import PropagatePanel
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.Views import jumpTo


class ClicksPanel:
    """Place clicks in the selected segment, and take them back.

    Args:
        ui: the widgets.
        segmenter: does the work.
        selected: returns the id of the selected segment; "" for none.
        ensureSegment: makes segmentation and segment where there is none; asks before it converts them.
        objection: returns why nothing can be predicted now; "" if all is well.
        say: shows a text.
        onChanged: called when there is something new to show.

    Attributes:
        placeMode: whether the next click in a view places a point.
        wider: takes back and does again what went beyond a segment's own prompts, where that is the newest step.
    """

    def __init__(
        self,
        ui,
        segmenter: Segmenter,
        selected: Callable[[], str],
        ensureSegment: Callable[[], None],
        objection: Callable[[], str],
        say: Callable[[str], None],
        onChanged: Callable[[], None],
    ) -> None:
        self.ui, self._segmenter, self._selected = ui, segmenter, selected
        self._ensureSegment, self._objection = ensureSegment, objection
        self._say, self._onChanged = say, onChanged
        self.placeMode = PlaceMode(onChanged)
        segmenter.pointsShown = lambda: bool(ui.pointsButton.checked)
        self.wider: PropagatePanel | None = None
        self._connections = Connections(
            (ui.positiveButton, "clicked(bool)", lambda on: self._onPolarity(True, on)),
            (ui.negativeButton, "clicked(bool)", lambda on: self._onPolarity(False, on)),
            (ui.undoButton, "clicked(bool)", self.undo),
            (ui.redoButton, "clicked(bool)", self.redo),
            (ui.resetButton, "clicked(bool)", self.reset),
            (ui.boxButton, "clicked(bool)", self.useBox),
            (ui.pointsButton, "toggled(bool)", self._onShowPoints),
            (ui.clickSelector, "activated(int)", self._onClick),
        )

    def place(self, positive: bool) -> None:
        """Switch placing of positive or negative points on; makes segmentation and segment where there is none."""
        self._segmenter.positive = positive
        objection = self._objection()
        self._say(objection)
        if objection:
            self.stop()
            return
        try:
            self._ensureSegment()
            self.placeMode.start(self._pointsToPlaceIn)
        except SAMMed3DError as error:
            self._say(str(error))
        self._onChanged()

    def toggle(self) -> None:
        """Change the kind of clicks that are placed; begins with positive ones where none are."""
        self.place(not self._segmenter.positive if self.placeMode.active else True)

    def stop(self) -> None:
        """Switch placing off."""
        self.placeMode.stop()
        self._onChanged()

    def follow(self) -> None:
        """Another segment was selected: points go to it from now on."""
        if not self.placeMode.active:
            return
        if self._selected():
            self.placeMode.start(self._pointsToPlaceIn)
        else:
            self.placeMode.stop()

    def undo(self) -> None:
        """Take the newest step of the selected segment back."""
        if self.wider is not None and self.wider.canUndo(self._selected()):
            self.wider.undo()
        else:
            self._segmenter.undo(self._selected())

    def redo(self) -> None:
        """Do again what was undone last."""
        if self.wider is not None and self.wider.canRedo(self._selected()):
            self.wider.redo()
        else:
            self._segmenter.redo(self._selected())

    def reset(self) -> None:
        """Ask, then empty the selected segment."""
        node, segmentId = self._segmenter.segmentationNode, self._selected()
        if not slicer.util.confirmYesNoDisplay(_("Empty this segment and drop its clicks? You can undo this.")):
            return
        if (self._segmenter.segmentationNode, self._selected()) != (node, segmentId):  # scripts run in between
            self._say(_("Nothing was emptied: the segment is not selected any more."))
        else:
            self._segmenter.reset(segmentId)

    def useBox(self) -> None:
        """Take the newest ROI of the scene as a box round the selected segment's object."""
        roiNode = newestRoi()
        if roiNode is None:
            self._say(_("Draw a ROI round the object first (Markups toolbar) and keep it shown, then press Box."))
            return
        try:
            self._ensureSegment()
            self._segmenter.setBox(self._selected(), roiNode)
        except SAMMed3DError as error:
            self._say(str(error))

    def update(self) -> None:
        """Offer only what can be done, and say what comes next."""
        ui, segmenter, segmentId = self.ui, self._segmenter, self._selected()
        hasVolume = segmenter.volumeNode is not None
        ready = hasVolume and bool(segmentId)
        for name in ("positiveButton", "negativeButton"):
            getattr(ui, name).enabled = hasVolume
        ui.pointsButton.enabled = bool(segmentId)
        wider = self.wider
        ui.undoButton.enabled = ready and (
            segmenter.canUndo(segmentId) or (wider is not None and wider.canUndo(segmentId))
        )
        ui.redoButton.enabled = ready and (
            segmenter.canRedo(segmentId) or (wider is not None and wider.canRedo(segmentId))
        )
        ui.boxButton.enabled = ui.resetButton.enabled = ready
        placing = self.placeMode.active
        ui.positiveButton.checked = placing and segmenter.positive
        ui.negativeButton.checked = placing and not segmenter.positive
        ui.hintLabel.setText(self._hint(placing))
        self._listClicks()

    def readScene(self) -> None:
        """Show what the scene says of the clicks: whether they are shown."""
        shown = [bool(points.GetDisplayVisibility()) for points in PointList.pointLists()]
        self.ui.pointsButton.setChecked(any(shown) if shown else True)

    def close(self) -> None:
        """The module goes away."""
        self._segmenter.pointsShown = lambda: None
        self.placeMode.close()
        self._connections.close()

    def _hint(self, placing: bool) -> str:
        if self._segmenter.volumeNode is None:
            return _("1. Load a CT or MR and choose it, or try the sample.")
        if objection := self._objection():
            return objection
        if not placing:
            return _("2. Press Positive, then click in the middle of a structure.")
        points = PointList.pointListOf(self._segmenter.segmentationNode, self._selected())
        if points is None or points.GetNumberOfDefinedControlPoints() == 0:
            return _("2. Click in the middle of the structure, in any view.")
        return _(
            "3. Something wrong? Click there: Positive adds, Negative takes away. Next (E) starts another structure."
        )

    def _listClicks(self) -> None:
        """List the clicks of the selected segment, to jump to; the first line counts them."""
        points = PointList.pointListOf(self._segmenter.segmentationNode, self._selected()) if self._selected() else None
        kinds = [] if points is None else PointList.kinds(points)
        texts = [_("{count} clicks").format(count=len(kinds)) if len(kinds) != 1 else _("1 click")]
        for number, positive in enumerate(kinds, start=1):
            text = _("Go to {number}, positive") if positive else _("Go to {number}, negative")
            texts.append(text.format(number=number))
        selector = self.ui.clickSelector
        if [selector.itemText(index) for index in range(selector.count)] != texts:
            selector.clear()
            selector.addItems(texts)
        selector.enabled = bool(kinds)

    def _onClick(self, index: int) -> None:
        """Centre the slice views on a click."""
        points = PointList.pointListOf(self._segmenter.segmentationNode, self._selected())
        if index > 0 and points is not None:
            jumpTo(PointList.placed(points)[index - 1])
        self.ui.clickSelector.setCurrentIndex(0)

    def _pointsToPlaceIn(self) -> PointList.PointListNode:
        points = self._segmenter.pointsFor(self._selected())
        points.SetDisplayVisibility(self.ui.pointsButton.checked)  # one of another scene may be shown or not
        return points

    def _onPolarity(self, positive: bool, on: bool) -> None:
        if on:
            self.place(positive)
        else:
            self.stop()

    def _onShowPoints(self, shown: bool) -> None:
        for points in PointList.pointLists():
            points.SetDisplayVisibility(shown)
