"""What a segment takes from its neighbours and gives back to them, so that undo leaves them as they were.

Each write of a segment is a `Trace`: which voxels each neighbour gained and lost by it. Undo goes back over the traces
and redo forward again; each passing changes a neighbour by what the one before changed, and by nothing else, whatever
the overwrite mode was or is. A segment gives only voxels that it holds: what a third one took meanwhile is not its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import slicer

from sammed3d.core.mask import BoxedMask
from sammed3d.inference.history import PackedMask
from SAMMed3DSegmentLib import MaskGrids
from SAMMed3DSegmentLib.SegmentReader import heldMask
from SAMMed3DSegmentLib.SegmentVoxels import Changes


@dataclass(frozen=True, eq=False)
class PlacedMask:
    """Voxels, and where they are.

    Attributes:
        matrix: index-to-RAS matrix (4, 4) of their grid, before the segmentation's parent transform.
        voxels: on that grid.
    """

    matrix: np.ndarray
    voxels: PackedMask

    @classmethod
    def of(cls, matrix: np.ndarray, mask: BoxedMask | None) -> PlacedMask:
        """Pack a mask of a grid; None is the empty one."""
        return cls(matrix, PackedMask.of(mask))

    def on(self, matrix: np.ndarray) -> BoxedMask | None:
        """Return the voxels on another grid."""
        return MaskGrids.onGrid(self.voxels.mask(), self.matrix, matrix)

    def near(self, matrix: np.ndarray, other: BoxedMask | None) -> BoxedMask | None:
        """Return the voxels on another grid, those at least that a mask of that grid may have too."""
        return _near(self.voxels.mask(), self.matrix, matrix, other)


@dataclass(frozen=True, eq=False)
class Exchange:
    """How a write changes a neighbour.

    Attributes:
        gained: voxels that the neighbour has after it and had not before.
        lost: voxels that it had before and has not any more.
    """

    gained: PlacedMask
    lost: PlacedMask


@dataclass(eq=False)
class Trace:
    """A write of a segment, as its neighbours noticed it.

    Attributes:
        since: the write before it; None for the first.
        exchanges: by the neighbour's segment id; those of the latest passing, undo or redo.
    """

    since: Trace | None = None
    exchanges: dict[str, Exchange] = field(default_factory=dict)


Taken = Mapping[str, PlacedMask]
"""By segment id: the voxels that a segment has of that one, and gives back when it lets go of them."""


class Neighbours:
    """The other segments of a segmentation, while one segment is written.

    Args:
        segmentationNode: where the segments are.
        segmentId: the segment that is written; what it holds now is what it can give.
        changes: takes the changes of the neighbours.

    Attributes:
        ids: segment ids of the others.
    """

    def __init__(self, segmentationNode: slicer.vtkMRMLSegmentationNode, segmentId: str, changes: Changes) -> None:
        self._node, self._changes = segmentationNode, changes
        self._matrix, self._held = heldMask(segmentationNode, segmentId)
        self.ids = [n for n in segmentationNode.GetSegmentation().GetSegmentIDs() if n != segmentId]

    def write(
        self, taken: Taken, removed: PlacedMask, added: PlacedMask, overwritten: set[str], since: Trace
    ) -> tuple[Taken, Trace]:
        """Give back what the segment lets go of, and take what it overwrites.

        Args:
            taken: what the segment has of others.
            removed: what it lets go of.
            added: what it gets.
            overwritten: ids of the neighbours that lose what it gets.
            since: the write before this one.

        Returns:
            What it has of others afterwards, and the trace of this write.
        """
        left, trace = {}, Trace(since)
        for other in self.concerned(overwritten | taken.keys()):
            matrix = self._gridOf(other, taken.get(other, added))
            ours = taken[other].on(matrix) if other in taken else None
            back = removed.near(matrix, ours)
            lost = added.near(matrix, heldMask(self._node, other)[1]) if other in overwritten else None
            done = self._exchange(other, matrix, MaskGrids.common(ours, back), lost)
            trace.exchanges[other] = done
            ours = MaskGrids.together(MaskGrids.without(ours, back), done.lost.on(matrix))
            if ours is not None:
                left[other] = PlacedMask.of(matrix, ours)
        return left, trace

    def concerned(self, ids: Set[str]) -> list[str]:
        """Return those of some neighbours that are still there."""
        return [other for other in self.ids if other in ids]

    def goBack(self, trace: Trace) -> None:
        """Undo what a write did to the neighbours."""
        for other in self.concerned(trace.exchanges.keys()):
            exchange = trace.exchanges[other]
            done = self._pass(other, exchange.lost, exchange.gained)
            trace.exchanges[other] = Exchange(done.lost, done.gained)

    def goForward(self, trace: Trace) -> None:
        """Do again what a write did to the neighbours."""
        for other in self.concerned(trace.exchanges.keys()):
            exchange = trace.exchanges[other]
            trace.exchanges[other] = self._pass(other, exchange.gained, exchange.lost)

    def _pass(self, other: str, gained: PlacedMask, lost: PlacedMask) -> Exchange:
        matrix = self._gridOf(other, gained)
        return self._exchange(other, matrix, gained.on(matrix), lost.on(matrix))

    def _exchange(self, other: str, matrix: np.ndarray, gained: BoxedMask | None, lost: BoxedMask | None) -> Exchange:
        """Change a neighbour; returns what really changed."""
        held = heldMask(self._node, other)[1]
        ours = _near(self._held, self._matrix, matrix, gained)
        gained = MaskGrids.without(MaskGrids.common(gained, ours), held)
        lost = MaskGrids.common(held, lost)
        self._changes.set(other, matrix, gained, True)
        self._changes.set(other, matrix, lost, False)
        self._hold(matrix, lost)
        return Exchange(PlacedMask.of(matrix, gained), PlacedMask.of(matrix, lost))

    def _hold(self, matrix: np.ndarray, voxels: BoxedMask | None) -> None:
        """Count what a neighbour has lost as the segment's: a later write may give it back."""
        if self._held is None:
            self._matrix = matrix
        self._held = MaskGrids.together(self._held, MaskGrids.onGrid(voxels, matrix, self._matrix))

    def _gridOf(self, other: str, voxels: PlacedMask) -> np.ndarray:
        """Return the grid of a neighbour; one that holds nothing now has that of the voxels in question."""
        matrix, held = heldMask(self._node, other)
        return voxels.matrix if held is None else matrix


@contextmanager
def tracesKept(traces: Sequence[Trace]) -> Iterator[None]:
    """Let traces say again what they said before, where passing them fails."""
    before = [dict(trace.exchanges) for trace in traces]
    try:
        yield
    except BaseException:
        for trace, exchanges in zip(traces, before, strict=True):
            trace.exchanges = exchanges
        raise


def between(before: Trace, wanted: Trace) -> tuple[list[Trace], list[Trace]]:
    """Return the writes to undo, newest first, and then those to do again, oldest first, to get from one to another."""
    back, forward = _chain(before), _chain(wanted)
    return [t for t in back if t not in forward], [t for t in reversed(forward) if t not in back]


def _near(mask: BoxedMask | None, source: np.ndarray, target: np.ndarray, other: BoxedMask | None) -> BoxedMask | None:
    """Return a mask on another grid as far as a mask of that reaches: on a fine one, all might not fit into memory."""
    return None if other is None else MaskGrids.onGrid(mask, source, target, within=other.box)


def _chain(trace: Trace | None) -> list[Trace]:
    chain = []
    while trace is not None:
        chain.append(trace)
        trace = trace.since
    return chain
