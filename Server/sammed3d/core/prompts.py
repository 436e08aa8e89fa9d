"""Prompts: what a user says about an object, in order. Coordinates are world RAS mm: the same in any grid and program.

`prompt_files.py` has their JSON form.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sammed3d.core.drawings import Drawing
from sammed3d.core.geometry import Point3
from sammed3d.errors import PromptError

MOST_PATCHES = 1000
"""Into how many patches an object can be followed after one click: a bound for files of others."""


@dataclass(frozen=True)
class Click:
    """A point prompt.

    Attributes:
        world: position (R, A, S) in mm.
        positive: True where the object is, False where it is not.
        follow: into how many further patches the object was followed after this click (`inference/following.py`).

    Raises:
        PromptError: the coordinate is not three finite numbers, the polarity neither true nor false, or the number of
            patches is none.
    """

    world: Point3
    positive: bool = True
    follow: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "world", _checked_point(self.world, "A click"))
        if not _is_polarity(self.positive):
            raise PromptError(f"A click is positive (True) or negative (False), not {self.positive!r}.")
        object.__setattr__(self, "positive", bool(self.positive))
        if isinstance(self.follow, bool) or not isinstance(self.follow, int) or not 0 <= self.follow <= MOST_PATCHES:
            raise PromptError(f"An object is followed into 0 to {MOST_PATCHES} further patches, not {self.follow!r}.")


@dataclass(frozen=True)
class BoxPrompt:
    """A box drawn round an object.

    Attributes:
        begin: a corner, RAS mm.
        end: the opposite corner.

    Raises:
        PromptError: a coordinate is not three finite numbers.
    """

    begin: Point3
    end: Point3

    def __post_init__(self) -> None:
        object.__setattr__(self, "begin", _checked_point(self.begin, "A corner of a box"))
        object.__setattr__(self, "end", _checked_point(self.end, "A corner of a box"))

    @property
    def middle(self) -> Point3:
        """Its centre, RAS mm."""
        x, y, z = ((a + b) / 2 for a, b in zip(self.begin, self.end, strict=True))
        return x, y, z

    @property
    def corners(self) -> npt.NDArray[np.float64]:
        """All eight corners: (8, 3), RAS mm."""
        return np.array(list(itertools.product(*zip(self.begin, self.end, strict=True))))


@dataclass(frozen=True)
class Translation:
    """What a prompt became for a model that does not know it: a record of what was done.

    Attributes:
        prompt: "box", or "scribble 1", "lasso 2": its place among the object's drawings, counted from 1.
        model: name of the model that was asked.
        clicks: the clicks that it was told instead, in order.
        mask_prompt: whether it was also shown what the prompt encloses as a mask.
        missed: which share of the prompt (0..1) the model's answer had wrong; see `honour` for what became of that.
    """

    prompt: str
    model: str
    clicks: tuple[Click, ...]
    mask_prompt: bool = False
    missed: float = 0.0


@dataclass(frozen=True)
class ObjectPrompts:
    """All prompts of one object.

    Attributes:
        name: the object's name.
        clicks: all clicks, in the order in which they were made; the order matters.
        initial_mask: SHA-256 of the mask that the object started from, or None. The mask itself is not part of it.
        box: drawn round the object before all clicks, or None.
        drawings: scribbles and lassos, in the order in which they were drawn; each says after how many clicks.
        honour: whether the mask is made to agree with box and drawings where the model's answer does not.
        translations: the clicks that a model without boxes or drawings was told when these prompts were saved.
    """

    name: str
    clicks: tuple[Click, ...]
    initial_mask: str | None = None
    box: BoxPrompt | None = None
    drawings: tuple[Drawing, ...] = ()
    honour: bool = True
    translations: tuple[Translation, ...] = ()

    def joined(self, later: ObjectPrompts) -> ObjectPrompts:
        """Return these prompts with later ones of the same object after them; a later box replaces the earlier."""
        moved = tuple(replace(drawing, after=len(self.clicks) + drawing.after) for drawing in later.drawings)
        return ObjectPrompts(
            self.name,
            (*self.clicks, *later.clicks),
            self.initial_mask,
            later.box or self.box,
            (*self.drawings, *moved),
            later.honour,
        )


def _checked_point(world: Iterable[float], what: str) -> Point3:
    try:
        x, y, z = (float(v) for v in world)
    except (TypeError, ValueError, OverflowError) as error:
        raise PromptError(f"{what} needs three coordinates R, A, S in mm, not {world!r}.") from error
    if not np.isfinite([x, y, z]).all():
        raise PromptError(f"{what} needs finite coordinates, not {world!r}.")
    return x, y, z


def _is_polarity(value: object) -> bool:
    """Tell whether a value is true or false, or a label 1 or 0 of any kind of number; words are neither."""
    try:
        return bool(value in (0, 1))
    except (TypeError, ValueError, RuntimeError):  # arrays and tensors of several
        return False
