"""Inferer: what determines the mask of an object, and what turns the one into the other.

`patch_inferer.py` does it for 3-D models, `slice_inferer.py` for 2-D ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.drawings import Drawing
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt, Click
from sammed3d.inference.predictor import PatchClick


@dataclass(frozen=True, eq=False)
class PromptState:
    """All that determines the mask of an object.

    Attributes:
        clicks: all clicks, in order.
        base: the mask it started from, or None.
        box: drawn round it before all clicks, or None.
        model: name of the model that evaluates them; "" where none was chosen yet.
        drawings: scribbles and lassos in order; each says after how many of the clicks it was drawn.
        honour: whether the mask is made to agree with box and drawings where the model's answer does not.
        hint: shown to a 3-D model that knows no boxes as the mask prompt of a new object's first patch: the ellipsoid
            that touches the faces of this box.
        areas: flat masks of what loops enclose, shown to a 2-D model with the first click in their slices, in place of
            what reached those.
        carried: whether `base` is the mask of another image, as of the frame before, in which the object was not found
            again: it may lie elsewhere here.
    """

    clicks: tuple[Click, ...] = ()
    base: BoxedMask | None = None
    box: BoxPrompt | None = None
    model: str = ""
    drawings: tuple[Drawing, ...] = ()
    honour: bool = True
    hint: BoxPrompt | None = None
    areas: tuple[BoxedMask, ...] = ()
    carried: bool = False

    @property
    def is_start(self) -> bool:
        """Whether there is no prompt yet: the mask is the one it starts from, whatever the model."""
        return not self.clicks and self.box is None and not self.drawings


AnyClick = TypeVar("AnyClick", Click, PatchClick)


class Inferer(Protocol):
    """Evaluate prompts on one volume with one predictor. Replaying known prompts asks the network nothing."""

    def mask_of(
        self, state: PromptState, cancellation: Cancellation | None = None
    ) -> tuple[BoxedMask | None, dict[str, float]]:
        """Return the mask of prompts, and the seconds spent by stage ("cut", "encode", "decode", "paint").

        Raises:
            PredictionCancelled: `cancellation` was used.
            VolumeError: a patch cannot be normalised.
            PromptError: the model does not know such prompts.
        """
        ...

    def goes_on(self, state: PromptState, cancellation: Cancellation | None = None, /) -> bool:
        """Whether there is a further patch to follow the object into, after the last click of some prompts.

        Asks for what is not known yet of the answers to these prompts; errors as `mask_of`.
        """
        ...


def in_effect(state: PromptState) -> tuple[Click, ...]:
    """Return the clicks in the order in which they are applied: where nothing is there yet, a positive one first."""
    return state.clicks if state.base is not None or state.box is not None else positive_first(state.clicks)


def positive_first(clicks: tuple[AnyClick, ...]) -> tuple[AnyClick, ...]:
    """Return clicks with the first positive one moved to the front; none where all are negative."""
    first = next((n for n, click in enumerate(clicks) if click.positive), None)
    if first is None:  # nothing was asked for yet
        return ()
    return clicks[first : first + 1] + clicks[:first] + clicks[first + 1 :]


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the time that a block takes to the entry `name`."""
    begin = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin
