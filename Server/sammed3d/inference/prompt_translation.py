"""What a model does not know, in words that it knows: drawings and boxes as clicks, chosen by what it answers.

- A scribble becomes clicks on it: the middle first, then the place farthest from those chosen, a few at first; then
  more where the answer misses parts of the stroke, until little is missing or there are `MOST` of them.
- A lasso becomes clicks inside it, the deepest place first, and negative ones round it where the answer leaves it. A
  2-D model is shown its inside as mask prompt where it was drawn on a slice that the model sees; the default 3-D model
  found less with it (docs/evaluation.md).
- A box, for a model without boxes, becomes a click in its middle; a 3-D model is shown the ellipsoid that touches the
  box's faces as mask prompt of a new object. Where the box is not honoured, negative clicks follow outside the faces
  at which the answer leaves it; where it is, they made the answers worse (docs/evaluation.md).

After that, `constraints.py` makes the mask agree with what was drawn, unless the user does not want that.

Which clicks are chosen depends on the prompts before and the model alone, so replaying gives the same, also in an image
that was saved and opened again: what only the rounding of its matrix tells apart is a tie, and the first place is
taken. They are told to whoever saves the prompts (`translations`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.drawings import Drawing, Scribble
from sammed3d.core.geometry import Box, Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt, Click, Translation
from sammed3d.core.rasterisation import TIE, Indices, voxels_of
from sammed3d.inference.constraints import agreement, honoured
from sammed3d.inference.flat_area import FlatArea
from sammed3d.inference.inferer import Inferer, PromptState
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.slices import Slices

FEW, MOST = 3, 8
"""Clicks that a stroke or an area becomes, at first and at most."""
MISSED = 0.05
"""The share of a drawing that may be missing from the answer before another click is added."""
ROUND, MOST_ROUND = 0, 6
"""Negative clicks round a lasso or a box, at first and at most."""
DEEP = 0.5
"""Clicks inside a lasso are at least this deep, as a share of its deepest place."""
NEAREST, FARTHEST_AWAY, AWAY = 4.0, 12.0, 0.3
"""Negative clicks are so far from what was drawn: mm, at least and at most; between, this share of its depth."""


@dataclass(frozen=True, eq=False)
class _Part:
    """Voxels of which some become clicks.

    Attributes:
        voxels: (N, 3), the best first, or along a stroke.
        positive: whether they are to be inside.
        few: least number of clicks.
        most: largest number of clicks.
        middle: whether the first click goes to the middle of the voxels that the answer has wrong, not to the first.
    """

    voxels: Indices
    positive: bool
    few: int
    most: int
    middle: bool = False


class TranslatingInferer:
    """Evaluate prompts of any kind with a model that knows some; see `inferer.Inferer`.

    Args:
        inner: evaluates clicks, and boxes where the model knows them.
        grid: the volume's grid.
        predictor: the model that `inner` asks.

    Attributes:
        inner, grid, predictor: see above.
    """

    def __init__(self, inner: Inferer, grid: Grid, predictor: Predictor) -> None:
        self.inner = inner
        self.grid = grid
        self.predictor = predictor
        self._slice_axis = Slices(grid, predictor.preset).axis if predictor.preset.by_slice else None
        self._known: dict[tuple[object, ...], Translation] = {}

    def mask_of(
        self, state: PromptState, cancellation: Cancellation | None = None
    ) -> tuple[BoxedMask | None, dict[str, float]]:
        """Return the mask of prompts, and the seconds spent by stage; errors as `Inferer.mask_of`."""
        if state.box is None and not state.drawings:
            return self.inner.mask_of(state, cancellation)
        asking = _Asking(self.inner, cancellation, {})
        translated, _ = self._translated(state, asking)
        mask = asking(translated)
        return honoured(mask, state, self.grid) if state.honour else mask, asking.seconds

    def goes_on(self, state: PromptState, cancellation: Cancellation | None = None) -> bool:
        """Whether there is a further patch to follow the object into; see `Inferer.goes_on`."""
        return self.inner.goes_on(self.known_prompts(state, cancellation), cancellation)

    def known_prompts(self, state: PromptState, cancellation: Cancellation | None = None) -> PromptState:
        """Return prompts with what the model does not know told in clicks; errors as `Inferer.mask_of`."""
        if state.box is None and not state.drawings:
            return state
        return self._translated(state, _Asking(self.inner, cancellation, {}))[0]

    def translations(self, state: PromptState) -> tuple[Translation, ...]:
        """Return what the model was told in place of box and drawings; asks it again if that was forgotten."""
        return self._translated(state, _Asking(self.inner, None, {}))[1]

    def _translated(self, state: PromptState, asking: _Asking) -> tuple[PromptState, tuple[Translation, ...]]:
        """Return prompts that the model knows, and how they came about."""
        done: list[Translation] = []
        now = replace(state, clicks=(), drawings=())
        if state.box is not None and not self.predictor.preset.boxes:
            now = replace(
                now, box=None, hint=state.box if state.base is None and not self.predictor.preset.by_slice else None
            )
            done.append(self._translation("box", state.box, now, asking))
            now = replace(now, clicks=done[-1].clicks)
        position = 0
        counts = {"scribble": 0, "lasso": 0}
        for drawing in state.drawings:
            now = replace(now, clicks=now.clicks + state.clicks[position : drawing.after])
            position = max(position, drawing.after)
            counts[drawing.kind] += 1
            area = self._area_of(drawing)
            now = now if area is None else replace(now, areas=(*now.areas, area))
            done.append(self._translation(f"{drawing.kind} {counts[drawing.kind]}", drawing, now, asking))
            now = replace(now, clicks=now.clicks + done[-1].clicks)
        return replace(now, clicks=now.clicks + state.clicks[position:]), tuple(done)

    def _translation(self, name: str, drawn: Drawing | BoxPrompt, before: PromptState, asking: _Asking) -> Translation:
        start = None if before.base is None else before.base.digest
        areas = tuple(area.digest for area in before.areas)
        key = (start, before.box, before.hint, before.honour, areas, before.clicks, drawn)
        known = self._known.get(key)
        if known is None:
            parts = self._parts(drawn, before)
            clicks: tuple[Click, ...] = ()
            missed = 0.0
            for part in parts:
                now = replace(before, clicks=before.clicks + clicks)
                chosen, missing = self._choose(part, now, asking)
                clicks, missed = clicks + chosen, max(missed, missing)
            shown = before.hint if isinstance(drawn, BoxPrompt) else self._area_of(drawn)
            known = self._known[key] = Translation(name, self.predictor.name, clicks, shown is not None, missed)
        return replace(known, prompt=name)

    def _area_of(self, drawing: Drawing) -> BoxedMask | None:
        """Return what a loop encloses, where the model is a 2-D one and the loop lies on a slice that it sees."""
        if self._slice_axis is None or isinstance(drawing, Scribble) or not drawing.positive:
            return None
        voxels = voxels_of(drawing, self.grid)
        if not len(voxels) or np.ptp(voxels[:, self._slice_axis]) > 0:
            return None
        first = voxels.min(axis=0)
        mask = np.zeros(voxels.max(axis=0) + 1 - first, np.uint8, order="F")
        mask[tuple((voxels - first).T)] = 1
        begin, end = tuple(first.tolist()), tuple((voxels.max(axis=0) + 1).tolist())
        return BoxedMask(Box(begin, end), mask)

    def _parts(self, drawn: Drawing | BoxPrompt, before: PromptState) -> Iterator[_Part]:
        if isinstance(drawn, BoxPrompt):
            return _parts_of_box(drawn, before.honour, self.grid)
        return _parts_of(drawn, self.grid)

    def _choose(self, part: _Part, before: PromptState, asking: _Asking) -> tuple[tuple[Click, ...], float]:
        """Return the clicks that a part becomes, and the share of it that the last answer has wrong."""
        clicks: tuple[Click, ...] = ()
        chosen: list[int] = []
        world = self.grid.to_world(part.voxels)
        while True:
            if not chosen or len(chosen) >= part.few:
                mask = asking(replace(before, clicks=before.clicks + clicks))
                wrong = ~agreement(mask, part.voxels, part.positive)
            missed = float(wrong.mean()) if len(wrong) else 0.0
            if len(chosen) >= part.few and (missed <= MISSED or len(chosen) >= part.most):
                return clicks, missed
            candidates = np.setdiff1d(np.flatnonzero(wrong), chosen)
            if not len(candidates):
                candidates = np.setdiff1d(np.arange(len(world)), chosen)
            if not len(candidates):
                return clicks, missed
            if chosen:
                away = np.linalg.norm(world[candidates, None] - world[None, chosen], axis=-1).min(axis=1)
                pick = candidates[int(away.astype(np.float32).argmax())]  # ties are ties, whatever the rounding
            else:
                pick = candidates[len(candidates) // 2 if part.middle else 0]
            chosen.append(int(pick))
            r, a, s = world[pick].tolist()
            clicks = (*clicks, Click((r, a, s), part.positive))


@dataclass
class _Asking:
    """Ask the model, on behalf of one evaluation."""

    inner: Inferer
    cancellation: Cancellation | None
    seconds: dict[str, float]

    def __call__(self, state: PromptState) -> BoxedMask | None:
        mask, seconds = self.inner.mask_of(state, self.cancellation)
        for name, value in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value
        return mask


def _parts_of(drawing: Drawing, grid: Grid) -> Iterator[_Part]:
    voxels = voxels_of(drawing, grid)
    if not len(voxels):  # an image was exchanged under it
        return
    if isinstance(drawing, Scribble):
        yield _Part(voxels, drawing.positive, FEW if drawing.positive else 1, MOST, middle=True)
        return
    area = FlatArea(voxels, grid, 2 * FARTHEST_AWAY)
    deepest = float(area.depths.max())
    inside = voxels[np.argsort(-area.depths, kind="stable")]
    deep = inside[: max(1, int((area.depths >= DEEP * deepest).sum()))]
    yield _Part(deep, drawing.positive, 1, MOST)
    if drawing.positive:
        yield _Part(area.ring(_away(deepest)), False, ROUND, MOST_ROUND)


def _parts_of_box(box: BoxPrompt, holds: bool, grid: Grid) -> Iterator[_Part]:
    middle = np.clip(_nearest(grid, box.middle), 0, np.array(grid.shape) - 1)
    yield _Part(middle[None], True, 1, 1)
    if holds:  # then the mask does not leave the box anyway
        return
    low, high = box.corners.min(axis=0), box.corners.max(axis=0)
    away = _away(float((high - low).min()) / 2)
    shares = np.stack(np.meshgrid([0.5, 0.3, 0.7, 0.1, 0.9], [0.5, 0.3, 0.7, 0.1, 0.9]), -1).reshape(-1, 2)
    places = []
    for axis in range(3):
        across = [n for n in range(3) if n != axis]
        for face in (low[axis] - away, high[axis] + away):
            points = np.empty((len(shares), 3))
            points[:, across] = low[across] + shares * (high - low)[across]
            points[:, axis] = face
            places.append(points)
    index = _nearest(grid, np.stack(places, axis=1).reshape(-1, 3))
    yield _Part(index[np.all((index >= 0) & (index < grid.shape), axis=1)], False, ROUND, MOST_ROUND)


def _nearest(grid: Grid, world: npt.ArrayLike) -> Indices:
    """Return the voxels nearest to places (..., 3); halfway the upper ones, whatever the rounding."""
    index: Indices = np.floor(grid.to_index(world) + 0.5 + TIE).astype(np.int64)
    return index


def _away(depth: float) -> float:
    """Return the distance of negative clicks (mm) from the edge of something so deep."""
    return float(np.clip(AWAY * depth, NEAREST, FARTHEST_AWAY))
