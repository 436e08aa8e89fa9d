"""Painting and erasing by hand between clicks, with trame-slicer's brush. The next click goes on from there."""

from __future__ import annotations

from typing import Any

from trame_slicer.segmentation import (
    SegmentationEffectErase,
    SegmentationEffectPaint,
    SegmentationOverwriteMode,
)
from trame_slicer.segmentation.paint_effect_parameters import BrushDiameterMode

from sammed3d.web.work import Work

MIN_DIAMETER, MAX_DIAMETER = 1.0, 60.0
"""Of the brush, mm."""
LARGER = 1.2
"""Ratio of a step to the next larger brush, as in Slicer."""
TOOLS = {"paint": SegmentationEffectPaint, "erase": SegmentationEffectErase}


class HandEdits:
    """A brush on the selected segment. Undo takes strokes back one by one, as it does clicks; redo brings them back.

    Args:
        editor: trame-slicer's.
        work: whose selected segment is painted on.

    Attributes:
        tool: "paint", "erase", or "" for none.
        diameter: of the brush, mm.
    """

    def __init__(self, editor: Any, work: Work) -> None:
        self._editor, self._work = editor, work
        self._target: tuple[Any, str] = (None, "")
        self.tool = ""
        self.diameter = 10.0
        editor.segmentation_modified.connect(self._painted)

    def use(self, tool: str) -> None:
        """Take a tool up; the same again, or "", puts it down."""
        if self._work.volume_node is None or tool not in TOOLS or tool == self.tool:
            self.stop()
        else:
            self._work.place("")
            self._start(tool)

    def follow(self) -> None:
        """Paint on the selected segment, whichever it is now; place no clicks and paint at once."""
        if self.tool and self._work.placing:
            self.stop()
        elif self.tool and self._target != (self._work.segmentation_node, self._work.segment_id):
            self._start(self.tool)

    def resize(self, diameter: float) -> None:
        """Give the brush another diameter, mm."""
        self.diameter = min(max(diameter, MIN_DIAMETER), MAX_DIAMETER)
        if self.tool:
            self._editor.active_effect.set_brush_diameter(self.diameter, BrushDiameterMode.Absolute)

    def next_diameter(self, larger: bool) -> float:
        """Return the diameter that is a step larger or smaller than now, in whole mm."""
        now = round(self.diameter)
        step = max(round(now * LARGER) - now, 1) if larger else min(round(now / LARGER) - now, -1)
        return min(max(now + step, MIN_DIAMETER), MAX_DIAMETER)

    def drop(self) -> None:
        """Leave out the stroke that is being drawn."""
        for reference in self._editor.active_effect.pipelines if self.tool else ():
            pipeline = reference()
            if pipeline is not None and pipeline.widget is not None:
                pipeline.widget.clear()
                pipeline.widget.stop_painting()  # with nothing in it

    def stop(self) -> None:
        """Put the tool down."""
        self.tool = ""
        self._target = None, ""
        self._editor.deactivate_effect()

    def _painted(self, *_: Any) -> None:
        """Make a stroke a step of undo."""
        segmentation, segment_id = self._target
        if segmentation is not None and segmentation is self._work.segmentation_node:
            self._work.segmenter.takeEdit(segment_id)
        self._work.on_changed()

    def _start(self, tool: str) -> None:
        work, editor = self._work, self._editor
        work.segmenter.pointsFor(work.segment_id)  # from now on what is painted can be undone
        if self._target[0] is not work.segmentation_node:
            editor.set_active_segmentation(work.segmentation_node, work.volume_node)
            editor.show_3d(work.picture is None)  # it would remove the surfaces; a picture has none
        editor.set_overwrite_mode(SegmentationOverwriteMode.ALLOW_OVERLAP)  # as clicks do
        editor.set_active_segment_id(work.segment_id)
        editor.set_active_effect_type(TOOLS[tool])
        self.tool, self._target = tool, (work.segmentation_node, work.segment_id)
        self.resize(self.diameter)
