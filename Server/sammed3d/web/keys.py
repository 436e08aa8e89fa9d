"""What the page's keys do: those of Slicer, where it has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def actions_of(page: Any) -> dict[str, Callable[[], object]]:
    """Return the page's keys, as browsers call them, and what they do."""
    work, edits, drawings = page.work, page.edits, page.drawings

    def other_kind() -> None:
        if drawings.kind:
            drawings.turn(not drawings.positive)
        else:
            work.toggle()

    return {
        "p": lambda: work.place("positive"),
        "n": lambda: work.place("negative"),
        "t": other_kind,
        "s": lambda: page.draw("scribble", True),
        "S": lambda: page.draw("scribble", False),
        "l": lambda: page.draw("lasso", True),
        "L": lambda: page.draw("lasso", False),
        "b": page.draw_box,
        "c": page.candidates.ask,
        "h": page.toggle_points,
        "u": work.undo,
        "U": work.redo,
        "e": work.add,
        "j": page.tour.next,
        "R": work.reset,
        "D": lambda: work.remove(work.segment_id),
        "2": lambda: edits.use("paint"),
        "4": lambda: edits.use("erase"),
        "+": lambda: page.resize_brush(True),
        "=": lambda: page.resize_brush(True),  # the same key without Shift
        "-": lambda: page.resize_brush(False),
        "Escape": page.look_around,
    }
