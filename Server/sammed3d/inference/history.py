"""States of an object's prompts in the order in which they came about, with the masks that they make."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from sammed3d.core.geometry import Box
from sammed3d.core.mask import BoxedMask
from sammed3d.inference.inferer import PromptState


@dataclass(frozen=True)
class PackedMask:
    """A mask compressed to about a hundredth of its size.

    Attributes:
        box: box of its voxels (I, J, K); None for an empty mask.
        data: zlib of one bit for each voxel of the box, first axis fastest.
    """

    box: Box | None
    data: bytes

    @classmethod
    def of(cls, mask: BoxedMask | None) -> PackedMask:
        """Compress a mask; None is the empty one."""
        if mask is None:
            return cls(None, b"")
        return cls(mask.box, zlib.compress(np.packbits(mask.voxels.ravel("F")).tobytes(), 1))

    def mask(self) -> BoxedMask | None:
        """Return the mask."""
        if self.box is None:
            return None
        count = int(np.prod(self.box.shape))
        bits = np.unpackbits(np.frombuffer(zlib.decompress(self.data), np.uint8), count=count)
        return BoxedMask(self.box, bits.reshape(self.box.shape, order="F"))


class Moment:
    """A state of prompts, and what is known of it.

    Attributes:
        state: the prompts; once they were followed, with the patches noted.
        asked: the prompts as they were when they were made.
        result: the mask that they make; None while that is not known.
        kept: the front end's own notes on the state; None at first.
    """

    def __init__(self, state: PromptState) -> None:
        self.state = self.asked = state
        self.result: PackedMask | None = PackedMask.of(state.base) if state.is_start else None
        self.kept: object = None


class History:
    """Moments, of which one is in force. Undo and redo move without limit.

    Args:
        start: the first state.
    """

    def __init__(self, start: PromptState) -> None:
        self._moments = [Moment(start)]
        self._position = 0

    @property
    def states(self) -> tuple[PromptState, ...]:
        """All states, the oldest first, with those that were undone."""
        return tuple(moment.state for moment in self._moments)

    @property
    def position(self) -> int:
        """Index in `states` of the state in force."""
        return self._position

    @property
    def now(self) -> PromptState:
        """The state in force: what the user asked for last."""
        return self._moments[self._position].state

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier state."""
        return self._position > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is a later state, which was undone or taken back."""
        return self._position < len(self._moments) - 1

    def push(self, state: PromptState) -> None:
        """Put a new state in force; what was undone before it is forgotten."""
        self._moments[self._position + 1 :] = [Moment(state)]
        self._position += 1

    def withdraw(self, state: PromptState) -> None:
        """Forget a state that turned out to change nothing; one before it is in force again if it was."""
        index = next((n for n, moment in enumerate(self._moments) if n and state is moment.asked), None)
        if index is not None:
            del self._moments[index]
            self._position -= int(self._position >= index)

    def undo(self) -> bool:
        """Put the state before in force; tells whether there is one."""
        if not self.can_undo:
            return False
        self._position -= 1
        return True

    def redo(self) -> bool:
        """Put the state after in force; tells whether there is one."""
        if not self.can_redo:
            return False
        self._position += 1
        return True
