"""Which patch an object is followed into next: the decisions of `following.py`, on the way through its visits."""

from __future__ import annotations

from collections.abc import Callable

from sammed3d.core.cache import LRUCache
from sammed3d.core.geometry import Box
from sammed3d.core.interpolation import Float32
from sammed3d.inference.following import Exit, exits, points_inside, still_open, window_after
from sammed3d.inference.patch_visits import Chain, Visit, Walk
from sammed3d.inference.windows import Windows

LOOKS = 3
"""How often one wide patch is looked at; what it does not show by then, patches at full resolution have to."""
EXITS = 32 * 2**20
"""Bytes of the places in which objects leave patches that are kept."""


class PatchFollower:
    """Find the patch in which an object goes on; what was found is kept by the chain that led to it.

    Places in which an object leaves a patch, up to megabytes each, are kept in a bounded cache.

    Args:
        windows: boxes of the volume's lattice.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._next: dict[Chain, Visit | None] = {}
        self._exits: LRUCache[tuple[Exit, ...]] = LRUCache(EXITS, _bytes)

    def next_visit(self, walk: Walk, seen_in: Callable[[Walk, Box], Float32]) -> Visit | None:
        """Return the patch into which the object is followed next; None where it goes on nowhere.

        Args:
            walk: so far.
            seen_in: returns the object as it stands in a window, as low-res logits.
        """
        chain = walk.chain
        if chain not in self._next:
            self._next[chain] = self._wide(walk) or self._beyond(walk, seen_in)
        return self._next[chain]

    def wide_instead(self, walk: Walk, visit: Visit) -> Visit | None:
        """Return the visit that asks the clicks of another one in a wide patch that counts; None without one."""
        if visit.followed or visit.box is not None or self._windows.scale(visit.window) > 1:
            return None
        sample = walk.clicks[-1][0]
        wide = self._windows.wide_at(sample)
        window = self._windows.known([layer.window for layer in walk.layers], sample, wide.shape)
        if window is None:
            return None
        *earlier, last = self._windows.clicks_in(window, walk.clicks)
        return Visit(window, (last,), None, tuple(earlier))

    def _wide(self, walk: Walk) -> Visit | None:
        """The wide patch round the last click, if it was not looked at since then and shows more than the click's."""
        if not walk.clicks or walk.newest_followed or self._windows.shows_all(walk.windows[-1]):
            return None
        *_, (sample, positive) = walk.clicks
        if not positive or self._windows.scale(walk.windows[-1]) > 1:
            return None
        wide = self._windows.wide_at(sample)
        window = self._windows.known(walk.windows, sample, wide.shape) or wide
        if walk.windows.count(window) >= LOOKS:
            return None
        *earlier, last = self._windows.clicks_in(window, walk.clicks)
        return Visit(window, (last,), None, tuple(earlier), followed=True)

    def _beyond(self, walk: Walk, seen_in: Callable[[Walk, Box], Float32]) -> Visit | None:
        """The patch behind the largest exit that is open."""
        looked_at = walk.windows
        ways = [way for n in range(len(walk.layers)) for way in self._exits_of(walk, n)]
        open_ = [left for way in ways if (left := still_open(self._windows, way, looked_at)) is not None]
        for way in sorted(open_, key=lambda way: -len(way.samples)):
            window = window_after(self._windows, way)
            if window in looked_at:
                continue
            seen = seen_in(walk, window)
            points = points_inside(window, seen, way.middle)
            if points:
                first, *others = self._windows.clicks_in(window, [(point, True) for point in points])
                earlier = (*self._windows.clicks_in(window, walk.clicks), *others)
                return Visit(window, (first,), None, earlier, followed=True)
        return None

    def _exits_of(self, walk: Walk, number: int) -> tuple[Exit, ...]:
        """Where the answer that is a layer leaves its window."""
        chain, layer = walk.painted[number], walk.layers[number]
        known = self._exits.get(chain)
        if known is None:
            known = exits(self._windows, layer.window, layer.low_res)
            self._exits.put(chain, known)
        return known


def _bytes(found: tuple[Exit, ...]) -> int:
    return sum(way.samples.nbytes for way in found)
