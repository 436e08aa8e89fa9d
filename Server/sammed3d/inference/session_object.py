"""The objects of a session, and what an operation on one changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sammed3d.core.drawings import Drawing, moved_places
from sammed3d.core.geometry import Box
from sammed3d.core.mask import BoxedMask, Mask, changed_box
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts
from sammed3d.errors import PromptError
from sammed3d.files.segmentation import PALETTE, RGB
from sammed3d.inference.follow_limits import Followed
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.object_timeline import ObjectTimeline


@dataclass(frozen=True, eq=False)
class Update:
    """What an operation changed.

    Attributes:
        object: name of the object.
        box: the smallest box (I, J, K) of the volume that holds all changed voxels; None if nothing changed.
        voxels: the mask inside `box` after the operation, uint8 0/1; None if nothing changed.
        previous: the mask inside `box` before it; None if nothing changed.
        seconds: time by stage: "cut", "encode", "decode", "paint".
        followed: how far the object was followed beyond the patch of the click; None where it was not looked at.
    """

    object: str
    box: Box | None
    voxels: Mask | None
    previous: Mask | None
    seconds: dict[str, float]
    followed: Followed | None = None

    @classmethod
    def between(cls, name: str, before: BoxedMask | None, after: BoxedMask | None, seconds: dict[str, float]) -> Update:
        """Compare two masks of an object."""
        box = changed_box(before, after)
        if box is None:
            return cls(name, None, None, None, seconds)
        previous, voxels = (np.zeros(box.shape, np.uint8) if m is None else m.cut(box) for m in (before, after))
        return cls(name, box, voxels, previous, seconds)


@dataclass(eq=False)
class SessionObject:
    """One thing being segmented.

    Attributes:
        name: unique in the session.
        color: red, green, blue in 0..1.
    """

    name: str
    color: RGB
    _timeline: ObjectTimeline = field(default_factory=ObjectTimeline)

    @property
    def state(self) -> PromptState:
        """The prompts in force, with the mask that the object started from."""
        return self._timeline.now

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks in force, in order."""
        return self.state.clicks

    @property
    def box(self) -> BoxPrompt | None:
        """The box drawn round it, or None."""
        return self.state.box

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """The scribbles and lassos in force, in order."""
        return self.state.drawings

    @property
    def mask(self) -> BoxedMask | None:
        """The mask that they make; None while it is empty."""
        return self._timeline.mask

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return self._timeline.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return self._timeline.can_redo

    @property
    def prompts(self) -> ObjectPrompts:
        """The prompts in force, for saving."""
        now = self.state
        base = None if now.base is None else now.base.digest
        return ObjectPrompts(self.name, now.clicks, base, now.box, now.drawings, now.honour)

    def step(self, direction: int) -> Update | None:
        """Undo (-1) or redo (+1); None if there is nothing. All masks of a session's timeline are known."""
        before = self.mask
        if not (self._timeline.undo() if direction < 0 else self._timeline.redo()):
            return None
        self._timeline.recall()
        return Update.between(self.name, before, self.mask, {})

    def enter(self, state: PromptState, mask: BoxedMask | None, seconds: dict[str, float]) -> Update:
        """Put prompts in force with the mask that they make."""
        before = self.mask
        self._timeline.push(state)
        self._timeline.evaluated(state, mask)
        return Update.between(self.name, before, mask, seconds)


def named(objects: Sequence[SessionObject], name: str) -> SessionObject:
    """Return the object of a name.

    Raises:
        PromptError: there is none.
    """
    for candidate in objects:
        if candidate.name == name:
            return candidate
    raise PromptError(f"There is no object named {name!r}.")


def new_object(objects: Sequence[SessionObject], name: str | None = None, color: RGB | None = None) -> SessionObject:
    """Return a further object, with the next name and colour where none is given.

    Raises:
        PromptError: the name is taken or no text, or the colour is none.
    """
    taken = {o.name for o in objects}
    if name is None:
        name = next(n for i in range(1, len(taken) + 2) if (n := f"Object {i}") not in taken)
    if not isinstance(name, str):
        raise PromptError(f"An object's name is text, not {name!r}.")
    if color is not None and not _is_colour(color):
        raise PromptError(f"A colour is red, green and blue from 0 to 1, not {color!r}.")
    if name in taken:
        raise PromptError(f"There is an object named {name!r} already. Choose another name.")
    return SessionObject(name, PALETTE[len(objects) % len(PALETTE)] if color is None else color)


def _is_colour(color: Any) -> bool:
    try:
        return len(color) == 3 and all(0 <= float(part) <= 1 for part in color)
    except (TypeError, ValueError):
        return False


def clicks_with(state: PromptState, index: int) -> list[Click]:
    """Return the clicks of prompts, to change the one at an index.

    Raises:
        PromptError: there is no such click.
    """
    if not 0 <= index < len(state.clicks):
        raise PromptError(f"There is no click {index}; the object has {len(state.clicks)}, counted from 0.")
    return list(state.clicks)


def state_of(target: SessionObject | None) -> PromptState:
    """Return the prompts in force of an object; none where there is no object."""
    return PromptState() if target is None else target.state


def with_clicks(state: PromptState, clicks: Sequence[Click]) -> PromptState:
    """Return prompts with other clicks; drawings keep their place among those that stay."""
    drawings = moved_places(state.drawings, state.clicks, clicks)
    return replace(state, clicks=tuple(clicks), drawings=drawings)
