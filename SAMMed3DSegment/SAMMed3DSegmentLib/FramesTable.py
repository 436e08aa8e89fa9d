"""The table of frames through which a segment was carried, and which of them to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slicer.i18n import tr as _

import qt
from sammed3d.inference.series import FrameMask
from SAMMed3DSegmentLib.Connections import Connections

MOVED, OVERLAP, CHANGE, REMARK = 2, 3, 4, 5
"""Columns. Where no object moved in any frame, the first is hidden."""
SPARE = (MOVED, CHANGE, OVERLAP)
"""Columns that a narrow panel does without, the first one first: a remark says them, too, where they are remarkable."""
ROOM = 1.75
"""How much wider the column of remarks is at least than any with numbers."""


class FramesTable:
    """List frames; what somebody reads meanwhile stays where it is.

    A row's tooltip says all of it, also what a narrow panel has no column for.

    Args:
        table: the widget.
        onSelected: called with the number of the frame (from 0) whose row the user selected.
    """

    def __init__(self, table, onSelected: Callable[[int], None]) -> None:
        self._table, self._onSelected = table, onSelected
        self._found: Sequence[FrameMask] = ()
        self._items: list[qt.QTableWidgetItem] = []  # Python's share of what the table shows
        self._filling, self._width = False, 0
        self._titles = [_("Frame"), _("Volume\n(ml)"), _("Moved\n(mm)"), _("Overlap"), _("Change"), _("Look at it")]
        table.setHorizontalHeaderLabels(self._titles)  # in two lines: remarks need the width
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().hide()
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)  # a remark may be long
        self._connections = Connections(
            (table, "itemSelectionChanged()", self._onRow),
            (table.horizontalHeader(), "sectionResized(int,int,int)", self._onWidth),
            (table.horizontalScrollBar(), "rangeChanged(int,int)", self._onWidth),
        )

    def fill(self, found: Sequence[FrameMask], shown: int | None) -> None:
        """List frames, in this order, with the one selected that is shown, if it is among them."""
        table, self._found = self._table, list(found)
        scrolled = table.verticalScrollBar().value > 0
        top = table.item(table.rowAt(0), 0).text() if scrolled else ""
        self._filling = True
        table.setRowCount(0)
        table.setRowCount(len(found))
        self._items = []
        for row, mask in enumerate(found):
            texts = _texts(mask)
            titles = (title.replace("\n", " ") for title in self._titles)
            tip = "\n".join(f"{title}: {text}" for title, text in zip(titles, texts, strict=True) if text)
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(tip)
                self._items.append(item)
                table.setItem(row, column, item)
        self._filling = False
        self._fit()
        self.select(shown)
        table.scrollToTop()
        for row in range(table.rowCount):
            if table.item(row, 0).text() == top:
                table.scrollToBottom()  # from below, only so far that it is seen: it is the first one then
                table.scrollToItem(table.item(row, 0))

    def select(self, shown: int | None) -> None:
        """Select the row of the frame that is shown, if it is listed."""
        self._filling = True
        self._table.clearSelection()
        for row, mask in enumerate(self._found):
            if mask.frame == shown:
                self._table.selectRow(row)
        self._filling = False

    def close(self) -> None:
        """The module goes away."""
        self._connections.close()
        self._items = []

    def _fit(self) -> None:
        """Show the columns of numbers that leave room for remarks."""
        table = self._table
        self._filling, self._width = True, table.width
        for column in SPARE:
            table.showColumn(column)
        if not any(map(_moved, self._found)):
            table.hideColumn(MOVED)
        for column in range(REMARK):  # the last one has what is left
            table.resizeColumnToContents(column)
        widths = [table.columnWidth(column) for column in range(REMARK)]  # 0 for a hidden one
        for column in SPARE:
            if table.width - sum(widths) < ROOM * max(widths):
                table.hideColumn(column)
                widths[column] = 0
        self._filling = False

    def _onWidth(self, *_arguments) -> None:
        """Fit again where the panel got another width; not where a scroll bar came or went by that."""
        if not self._filling and self._table.width != self._width:
            self._fit()

    def _onRow(self) -> None:
        rows = [row for row in range(self._table.rowCount) if self._table.item(row, 0).isSelected()]
        if rows and not self._filling:
            self._onSelected(self._found[rows[0]].frame)


def _texts(mask: FrameMask) -> tuple[str, ...]:
    overlap = "" if mask.overlap is None else f"{mask.overlap:.2f}"
    remark = _("yours, kept") if mask.kept else mask.remark
    return str(mask.frame + 1), f"{mask.millilitres:.2f}", _moved(mask), overlap, mask.change, remark


def _moved(mask: FrameMask) -> str:
    return f"{mask.moved:.0f}" if mask.moved else ""
