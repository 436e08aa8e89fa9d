"""The masks that a 2-D model weighed for the last prompt on a picture, to choose from. MRML only, no trame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sammed3d.core.mask import BoxedMask
from sammed3d.inference.picture_candidates import Candidate, candidates_of, flat
from sammed3d.web.work import Work
from SAMMed3DSegmentLib import SegmentWriter
from SAMMed3DSegmentLib.SegmentReader import labelmapOfSegment, maskOfSegment
from SAMMed3DSegmentLib.SegmentWriter import Holdings


@dataclass(frozen=True)
class CandidateRow:
    """A candidate as the page shows it.

    Attributes:
        score: the model's own estimate of its IoU.
        pixels: how many it has.
        chosen: whether the segment holds it.
    """

    score: float
    pixels: int
    chosen: bool


class Candidates:
    """What the model weighed for the selected segment of a picture. One that is chosen is like an edit by hand.

    So undo takes it back, and the next click goes on from it.

    Args:
        work: whose selected segment it is.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self.forget()

    def forget(self) -> None:
        """Let go of them."""
        self._found: tuple[Candidate, ...] = ()
        self._asked: tuple[str, Any] = ("", None)
        self._seen: tuple[Any, int] = (None, 0)
        self._rows: list[CandidateRow] = []

    def ask(self) -> None:
        """Ask the model, in the background; the status line says what goes wrong."""
        work = self._work
        self.forget()
        if work.picture is None or not work.segment_id:
            return
        asked = work.segment_id, work.segmenter.promptsInForce(work.segment_id)

        def take(found: tuple[Candidate, ...]) -> None:
            self._found, self._asked = found, asked
            work.on_changed()

        work.segmenter.ask(work.segment_id, candidates_of, take)

    def rows(self) -> list[CandidateRow]:
        """Return them, the best first.

        None once another segment is selected, its prompts are others, or it holds something else: an edit by hand is
        not to be lost by choosing.
        """
        work = self._work
        if not self._found:
            return []
        if self._asked != (work.segment_id, work.segmenter.promptsInForce(work.segment_id)):
            self.forget()
            return []
        labelmap = labelmapOfSegment(work.segmentation_node, work.segment_id)
        seen = labelmap, 0 if labelmap is None else labelmap.GetMTime()
        if seen != self._seen or not self._rows:
            self._seen, self._rows = seen, self._look()
            if not any(row.chosen for row in self._rows):
                self.forget()
        return self._rows

    def choose(self, number: int) -> None:
        """Put one of them into the segment."""
        work = self._work
        if not 0 <= number < len(self.rows()):
            return
        mask = BoxedMask.of(self._found[number].mask.T[..., None])
        before = Holdings.of(work.segmentation_node, work.segment_id)
        SegmentWriter.write(work.segmentation_node, work.segment_id, work.volume_node, mask, before)
        work.on_changed()

    def _look(self) -> list[CandidateRow]:
        work = self._work
        held = maskOfSegment(work.segmentation_node, work.segment_id, work.volume_node)
        shape = work.volume_node.GetImageData().GetDimensions()
        now = flat(np.zeros(shape, np.uint8) if held is None else held.full(shape))
        return [
            CandidateRow(round(each.score, 2), int(np.count_nonzero(each.mask)), bool(np.array_equal(each.mask, now)))
            for each in self._found
        ]
