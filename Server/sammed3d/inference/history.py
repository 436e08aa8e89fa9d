"""The prompts of an object as they changed: what undo and redo walk through, without limit."""

from __future__ import annotations

from sammed3d.inference.inferer import PromptState


class PromptHistory:
    """States of an object's prompts, and which of them is in force.

    Example:
        >>> history = PromptHistory()
        >>> history.push(PromptState((Click((0, 0, 0)),)))
        >>> history.step(-1)   # undo: the state in force is the empty one again
    """

    def __init__(self, start: PromptState | None = None) -> None:
        self._states = [start or PromptState()]
        self._position = 0

    @property
    def now(self) -> PromptState:
        """The state in force."""
        return self._states[self._position]

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier state."""
        return self._position > 0

    @property
    def can_redo(self) -> bool:
        """Whether a later state was undone."""
        return self._position < len(self._states) - 1

    def push(self, state: PromptState) -> None:
        """Put a new state in force; what was undone before it is forgotten."""
        self._states[self._position + 1 :] = [state]
        self._position += 1

    def at(self, steps: int) -> PromptState | None:
        """Return the state some steps from the one in force (negative: earlier); None if there is none."""
        position = self._position + steps
        return self._states[position] if 0 <= position < len(self._states) else None

    def step(self, steps: int) -> PromptState:
        """Put the state some steps away in force.

        Raises:
            IndexError: there is none.
        """
        state = self.at(steps)
        if state is None:
            raise IndexError(f"The history has no state {steps:+d} from here.")
        self._position += steps
        return state

    def copy(self) -> PromptHistory:
        """Return a history that goes its own way, for example to come back to if an evaluation fails."""
        other = PromptHistory()
        other._states, other._position = list(self._states), self._position
        return other
