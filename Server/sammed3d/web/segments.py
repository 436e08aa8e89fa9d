"""The segments of a page's segmentation, as its list shows and changes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sammed3d.core.mask import millilitres
from SAMMed3DSegmentLib import Surface
from SAMMed3DSegmentLib.SegmentFacts import SegmentVolumes, addNext, middleOf

COLORS = ("#80ae80", "#f1d691", "#b17a65", "#6fb8d2", "#d8654f", "#dd8265", "#90ee90", "#c06858")
"""The first of Slicer's generic anatomy colours."""


@dataclass(frozen=True)
class SegmentRow:
    """A segment as the list shows it.

    Attributes:
        id: in the segmentation.
        name: people's.
        color: "#rrggbb".
        visible: in the views.
        ml: volume, of a picture's segments as if pixels were mm³; None where it is empty.
        size: the same in words, of a picture's segments in pixels; "" where it is empty.
        busy: whether a prediction for it is under way.
    """

    id: str
    name: str
    color: str
    visible: bool
    ml: float | None
    size: str
    busy: bool


class SegmentList:
    """The segments of a segmentation, in their order.

    Attributes:
        node: the segmentation; None before the first volume, and then there are no segments.
        in_pixels: whether it is one of a picture.
    """

    def __init__(self) -> None:
        self.node: Any = None
        self.in_pixels = False
        self._sizes = SegmentVolumes()

    def show_segmentation(self, node: Any, in_pixels: bool = False) -> None:
        """Show the segments of another segmentation; those of a picture have no 3-D surfaces."""
        self.node, self.in_pixels = node, in_pixels
        self._sizes.forget()

    def ids(self) -> list[str]:
        """Return their ids."""
        return [] if self.node is None else list(self.node.GetSegmentation().GetSegmentIDs())

    def __contains__(self, segment_id: str) -> bool:
        return segment_id in self.ids()

    def rows(self, under_way: Sequence[str] = ()) -> list[SegmentRow]:
        """Return what the list shows; `under_way` are ids of segments that are being predicted."""
        rows = []
        for segment_id in self.ids():
            segment, display = self._segment(segment_id), self.node.GetDisplayNode()
            color = "#" + "".join(f"{round(255 * c):02x}" for c in segment.GetColor())
            ml = self._sizes.of(self.node, segment_id) or None
            visible = bool(display.GetSegmentVisibility(segment_id))
            busy = segment_id in under_way
            rows.append(SegmentRow(segment_id, segment.GetName(), color, visible, ml, self._size(ml), busy))
        return rows

    def add(self, last: str = "") -> str:
        """Add an empty segment, of the kind of another one; returns its id."""
        segment_id: str = addNext(self.node.GetSegmentation(), last)
        taken = {row.color for row in self.rows()}
        if self._segment(segment_id).GetName().startswith("Segment_"):  # Slicer has a table for that, in its resources
            free = [color for color in COLORS if color not in taken]
            self.recolor(segment_id, (free or COLORS)[0])
        if not self.in_pixels and not Surface.isShown(self.node):
            Surface.show(self.node, True)
        return segment_id

    def remove(self, segment_id: str) -> None:
        """Remove a segment."""
        self.node.GetSegmentation().RemoveSegment(segment_id)

    def rename(self, segment_id: str, name: str) -> None:
        """Give a segment another name; an empty one is not taken."""
        if segment_id in self and name.strip():
            self._segment(segment_id).SetName(name.strip())

    def recolor(self, segment_id: str, color: str) -> None:
        """Give a segment another colour, "#rrggbb"."""
        if segment_id in self and re.fullmatch(r"#[0-9a-fA-F]{6}", color):
            self._segment(segment_id).SetColor(*(int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)))

    def show(self, segment_id: str, visible: bool) -> None:
        """Show or hide a segment."""
        if segment_id in self:
            self.node.GetDisplayNode().SetSegmentVisibility(segment_id, visible)

    def middle(self, segment_id: str) -> tuple[float, float, float] | None:
        """Return the place in a segment nearest to its middle (RAS mm); None for an empty one."""
        found = middleOf(self.node, segment_id) if segment_id in self else None
        return None if found is None else (found[0], found[1], found[2])

    def bounds(self) -> tuple[float, ...]:
        """Return the box round all segments (RAS mm): from, to along R, A and S."""
        box = [0.0] * 6
        if self.node is not None:
            self.node.GetRASBounds(box)
        return tuple(box)

    def _size(self, ml: float | None) -> str:
        if ml is None:
            return ""
        return f"{round(1000 * ml)} px" if self.in_pixels else millilitres(ml)

    def _segment(self, segment_id: str) -> Any:
        return self.node.GetSegmentation().GetSegment(segment_id)


def masks_of(node: Any) -> tuple[tuple[str, int], ...]:
    """Return what tells whether masks are still those of before: the segments, and when each was written.

    Args:
        node: the segmentation; None has none.
    """
    if node is None:
        return ()
    return tuple(
        (segment_id, int(labelmap.GetMTime()))
        for segment_id in node.GetSegmentation().GetSegmentIDs()
        if (labelmap := node.GetBinaryLabelmapInternalRepresentation(segment_id)) is not None
    )
