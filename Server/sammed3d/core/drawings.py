"""What a user draws: strokes and loops, in world RAS mm, so that they mean the same on any grid.

Each drawing knows how many of the object's clicks were made before it, which is its place in the order of prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any, ClassVar

import numpy as np

from sammed3d.core.geometry import FARTHEST, Float64, Point3
from sammed3d.errors import PromptError

MOST_POINTS = 300_000
"""Points of a drawing that was painted voxel by voxel."""
MOST_CORNERS = 10_000
"""Points of a drawn line: a hand that draws for five minutes."""
FLAT = 0.05
"""How far a loop's points may lie from their plane, as a share of its size; transforms that bend move them."""
ONE_LINE = 1e-6


@dataclass(frozen=True)
class Scribble:
    """A stroke through an object, or through what it is not.

    Attributes:
        points: RAS mm, in the order in which they were drawn; at least one.
        positive: True where the object is, False where it is not.
        painted: whether the points are voxels that were painted one by one; else they are joined by straight lines.
        after: number of the object's clicks that were made before it.

    Raises:
        PromptError: a point is not three finite numbers; there is none, or too many.
    """

    points: tuple[Point3, ...]
    positive: bool = True
    painted: bool = False
    after: int = 0

    kind: ClassVar[str] = "scribble"

    def __post_init__(self) -> None:
        _freeze(self, 1)

    @property
    def array(self) -> Float64:
        """Its points: (N, 3), RAS mm."""
        return np.array(self.points)


@dataclass(frozen=True)
class Lasso:
    """A loop drawn on a plane: the object is what it encloses there, or is not.

    Attributes:
        points: RAS mm, along the loop, which closes by itself; at least three that are not on one line.
        positive: True where the object is, False where it is not.
        painted: whether the points are the voxels inside, painted one by one.
        after: number of the object's clicks that were made before it.

    Raises:
        PromptError: a point is not three finite numbers; there are fewer than three, all on one line, or not on one
            plane; or too many.
    """

    points: tuple[Point3, ...]
    positive: bool = True
    painted: bool = False
    after: int = 0

    kind: ClassVar[str] = "lasso"

    def __post_init__(self) -> None:
        _freeze(self, 1 if self.painted else 3)
        if self.painted:
            return
        length, width, height = plane_of(self.array)[2]
        if width <= ONE_LINE * max(length, 1.0):
            raise PromptError(f"The {len(self.points)} points of this lasso lie on one line. Draw a loop.")
        if height > FLAT * length:
            raise PromptError(
                f"This lasso does not lie on one plane: its points are up to {height:.1f} mm away from it. "
                "Draw it in one slice view."
            )

    @property
    def array(self) -> Float64:
        """Its points: (N, 3), RAS mm."""
        return np.array(self.points)


Drawing = Scribble | Lasso


def points_of(points: Iterable[Sequence[float]]) -> tuple[Point3, ...]:
    """Return points of any kind, (N, 3) RAS mm, as those of a drawing.

    Raises:
        PromptError: one has not three coordinates.
    """
    try:
        return tuple((float(r), float(a), float(s)) for r, a, s in points)
    except (TypeError, ValueError, OverflowError) as error:
        raise PromptError("What is drawn needs points with three coordinates R, A, S in mm.") from error


def plane_of(points: Float64) -> tuple[Float64, Float64, tuple[float, float, float]]:
    """Return the middle of points (N, 3), the unit normal of their plane, and how far they reach.

    That is along the plane's long axis, along its short one, and away from it, in the unit of the points.
    """
    middle = points.mean(axis=0)
    axes = np.linalg.eigh((points - middle).T @ (points - middle))[1].T[::-1]
    along = (points - middle) @ axes.T
    length, width, _ = np.ptp(along, axis=0).tolist()
    return middle, axes[2], (length, width, float(np.abs(along[:, 2]).max()))


def moved_places(drawings: Sequence[Drawing], before: Sequence[object], after: Sequence[object]) -> tuple[Drawing, ...]:
    """Return drawings with their places among clicks, where other clicks replace those there were.

    Each stays behind the clicks that it was drawn after and before those that came later, as far as both lists have
    them; among others it stays as near to its place as it can.
    """
    if not drawings:
        return ()
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    known = {block.a + n: block.b + n for block in blocks for n in range(block.size)}

    def place(count: int) -> int:
        last = max((n for n in known if n < count), default=-1)
        following = min((n for n in known if n >= count), default=None)
        behind = known.get(last, -1) + count - last  # with those that others took the place of
        return min(behind, len(after) if following is None else known[following])

    return tuple(replace(drawing, after=place(drawing.after)) for drawing in drawings)


def to_json(drawing: Drawing) -> dict[str, Any]:
    """Return a drawing as JSON types."""
    return {
        "kind": drawing.kind,
        "points": [list(point) for point in drawing.points],
        "positive": drawing.positive,
        "painted": drawing.painted,
        "after": drawing.after,
    }


def from_json(entry: dict[str, Any]) -> Drawing:
    """Read what `to_json` wrote.

    Raises:
        PromptError: it is malformed.
    """
    kinds: dict[object, type[Drawing]] = {"scribble": Scribble, "lasso": Lasso}
    kind = kinds.get(entry["kind"])
    if kind is None:
        raise PromptError(f"A drawing is a scribble or a lasso, not {entry['kind']!r}.")
    for name in ("positive", "painted"):
        if not isinstance(entry[name], bool):
            raise PromptError(f"A {kind.kind}'s {name!r} must be true or false, not {entry[name]!r}.")
    return kind(entry["points"], entry["positive"], entry["painted"], entry["after"])


def _freeze(drawing: Drawing, least: int) -> None:
    """Check the points of a drawing and keep them as tuples of numbers."""
    name = drawing.kind
    try:
        points = np.array([[float(v) for v in point] for point in drawing.points], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise PromptError(f"A {name} needs points with three coordinates R, A, S in mm.") from error
    if len(points) < least:
        raise PromptError(f"A {name} needs at least {least} point{'s' * (least > 1)}, not {len(points)}.")
    if points.shape != (len(points), 3):
        raise PromptError(f"A {name} needs points with three coordinates R, A, S in mm.")
    most = MOST_POINTS if drawing.painted else MOST_CORNERS
    if len(points) > most:
        raise PromptError(f"A {name} can have {most} points, not {len(points)}. Draw it in parts.")
    if not np.isfinite(points).all() or np.abs(points).max() > FARTHEST:
        raise PromptError(f"A {name} needs finite coordinates in mm.")
    if isinstance(drawing.after, bool) or not isinstance(drawing.after, int) or drawing.after < 0:
        raise PromptError(f"A {name}'s place is a number of clicks, not {drawing.after!r}.")
    object.__setattr__(drawing, "points", tuple((x, y, z) for x, y, z in points.tolist()))
    object.__setattr__(drawing, "positive", bool(drawing.positive))
