"""The timeline of an object: its prompts as they changed, the masks that they made, and what of it is shown.

A session's objects and the segments of the Slicer module stand on it. The rules:

- A new state follows the one in force; what was undone before it is forgotten. Undo and redo move without limit.
- Each state names the model that evaluates it. A click that another model is to evaluate starts from the mask that is
  shown, so what the first model made stays; moving or deleting an old click is left to the model that it was made with.
- The mask of a state, once made, is kept (compressed), so undo and redo of evaluated states cost nothing.
- Masks may arrive late and out of order. One is shown if its state is nearer to the one in force than what is shown.
- Where an evaluation fails or is cancelled, the state that is shown is in force again, and redo brings back the others.
- A mask that somebody edited by hand is a state like any other, with the edited mask to start from. Prompts that were
  not evaluated by then apply to it.
- Another image ends everything that was before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from sammed3d.core.drawings import Drawing, moved_places
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt, Click
from sammed3d.inference.history import History, Moment, PackedMask
from sammed3d.inference.inferer import PromptState

SAME_PLACE = 1e-2
"""In mm: clicks nearer than this are the same; it is rounding on the way through transforms and files."""


class ObjectTimeline(History):
    """States of one object's prompts, which of them is in force, and which one is shown.

    Args:
        start: the first state.
        image: names the image that the prompts are about.

    Attributes:
        image: name of the image that the prompts are about.

    Example:
        >>> timeline = ObjectTimeline()
        >>> timeline.put_clicks((Click((0, 0, 0)),), "default")
        >>> timeline.evaluated(timeline.now, mask)   # True: show it
        >>> timeline.undo() and timeline.recall()    # True: the mask of the state before is known, show it
    """

    def __init__(self, start: PromptState | None = None, image: str = "") -> None:
        super().__init__(start or PromptState())
        self.image = image
        self._shown = self._moments[0]
        self._mask = self._shown.state.base

    @classmethod
    def restored(
        cls, states: Sequence[PromptState], position: int, mask: BoxedMask | None, image: str, edited: bool = False
    ) -> ObjectTimeline:
        """Return a timeline from saved states (at least one), of which one is in force and shown with its mask.

        Where somebody `edited` that mask since, it is not what the state makes: who comes back to the state has it
        evaluated again.
        """
        timeline = cls(states[0], image)
        timeline._moments = [Moment(state) for state in states]
        timeline._position = position
        shown = timeline._moments[position]
        timeline._show(shown, mask)
        if edited and not shown.state.is_start:
            shown.result = None
        return timeline

    # What it holds; its states are in the history

    @property
    def shown(self) -> PromptState:
        """The state whose mask is shown; another one than `now` while `now` is evaluated."""
        return self._shown.state

    @property
    def mask(self) -> BoxedMask | None:
        """The mask that is shown; None while it is empty."""
        return self._mask

    @property
    def pending(self) -> bool:
        """Whether the state in force is still to be evaluated."""
        return self._shown is not self._moments[self._position]

    @property
    def kept(self) -> object:
        """What the front end keeps with the state that is shown, for example how it was written; None at first."""
        return self._shown.kept

    @kept.setter
    def kept(self, kept: object) -> None:
        self._shown.kept = kept

    # What the user does

    def put_clicks(self, clicks: Sequence[Click], model: str) -> None:
        """Put other clicks in force, as `model` evaluates them; see the rule about models."""
        now = self.now
        clicks = as_known(clicks, now.clicks)
        added = same_clicks(clicks[: len(now.clicks)], now.clicks)
        drawings = moved_places(now.drawings, now.clicks, clicks)
        if now.is_start or (added and self._mask is None):
            self.push(replace(now, clicks=clicks, drawings=drawings, model=model))
        elif added and model != now.model:
            self.push(self._waiting(clicks, self._mask, model))
        else:
            self.push(replace(now, clicks=clicks, drawings=drawings))

    def put_box(self, box: BoxPrompt, model: str) -> None:
        """Put a box in force, which applies before all clicks, as `model` evaluates it."""
        now = self.now
        if model == now.model or now.is_start or self._mask is None:
            self.push(replace(now, box=box, model=model))
        else:
            self.push(replace(self._waiting(now.clicks, self._mask, model), box=box))

    def put_drawings(self, drawings: Sequence[Drawing], model: str) -> None:
        """Put other drawings in force, as `model` evaluates them; as `put_clicks` does it."""
        drawings, now = tuple(drawings), self.now
        added = drawings[: len(now.drawings)] == now.drawings
        if now.is_start or (added and self._mask is None):
            self.push(replace(now, drawings=drawings, model=model))
        elif added and model != now.model:
            self.push(self._waiting(now.clicks, self._mask, model, drawings))
        else:
            self.push(replace(now, drawings=drawings))

    def add_drawing(self, drawing: Drawing, model: str) -> None:
        """Put one more scribble or lasso in force, after all clicks."""
        self.put_drawings((*self.now.drawings, replace(drawing, after=len(self.now.clicks))), model)

    def remove_drawing(self, drawing: Drawing, model: str) -> None:
        """Put the drawings without one in force; one that is the same but for rounding is taken."""
        kept = [d for d in self.now.drawings if not same_drawing(d, drawing)]
        if len(kept) < len(self.now.drawings):
            self.put_drawings(kept, model)

    def honour(self, honour: bool) -> None:
        """Make the mask agree with box and drawings from now on, or leave the model's answer as it is."""
        if honour != self.now.honour:
            before = self._moments[self._position]
            self.push(replace(self.now, honour=honour))
            if self.now.is_start:  # what is shown stays, whatever it is
                self._moments[self._position].kept = before.kept

    def fresh(self, clicks: Sequence[Click]) -> tuple[Click, ...]:
        """Return those of some clicks that the mask that is shown was not made with."""
        rest = list(clicks)
        for old in self._shown.state.clicks:
            match = next((n for n, click in enumerate(rest) if same_click(click, old)), None)
            if match is not None:
                del rest[match]
        return tuple(rest)

    def recall(self) -> bool:
        """Show the state in force if its mask is known; tells whether it is."""
        moment = self._moments[self._position]
        if moment.result is None:
            return False
        self._shown, self._mask = moment, moment.result.mask()
        return True

    def return_to(self, matches: Callable[[object], bool]) -> bool:
        """Put the state in force, and show it, that is nearest to the one in force and whose `kept` matches.

        For what others undid or did again by means of their own; tells whether there is such a state.
        """
        fitting = [m for m in self._moments if m.result is not None and m.kept is not None and matches(m.kept)]
        if not fitting:
            return False
        self._position = self._moments.index(min(fitting, key=self._distance))
        return self.recall()

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show what was shown before, where showing another state fails; its mask stays known, and is in force."""
        shown, mask = self._shown, self._mask
        known = shown.state, shown.result
        try:
            yield
        except BaseException:
            self._shown, self._mask = shown, mask
            shown.state, shown.result = known
            raise

    # What the network does

    def evaluated(self, state: PromptState, mask: BoxedMask | None, followed: PromptState | None = None) -> bool:
        """Keep the mask of a state; tells whether it is to be shown (then it is `mask` from now on).

        Args:
            state: the prompts that were evaluated.
            mask: what they make.
            followed: the same prompts, with the patches noted that the object was followed into; None if it was not.
                Then the mask may come again, with more of them.
        """
        moment = next((m for m in self._moments if state is m.state or state is m.asked), None)
        if moment is None:  # forgotten meanwhile
            return False
        if followed is not None:
            moment.state, moment.result = followed, PackedMask.of(mask)
            if moment is self._shown:
                self._mask = mask
                return True
        if self._distance(moment) >= self._distance(self._shown):
            moment.result = moment.result or PackedMask.of(mask)
            return False
        self._show(moment, mask)
        return True

    def failed(self) -> PromptState:
        """Put the state that is shown in force again, after a failure or a cancellation; returns the one before.

        Where what is shown was forgotten meanwhile, it is the newest earlier state whose mask is known: `recall` it.
        """
        abandoned = self.now
        if self._shown in self._moments:
            self._position = self._moments.index(self._shown)
        else:
            while self._moments[self._position].result is None:
                self._position -= 1
        return abandoned

    # What others do

    def take_over(self, mask: BoxedMask | None) -> None:
        """Start from what somebody made of the mask that is shown; prompts that wait apply to it."""
        start = PromptState((), mask, None, self.now.model, honour=self.now.honour)
        waiting = self._waiting(self.now.clicks, mask, self.now.model) if self.pending else start
        self.push(start)
        self.recall()
        if not waiting.is_start:
            self.push(waiting)

    def other_image(self, image: str, mask: BoxedMask | None) -> None:
        """Start from a mask on another image; all earlier states are forgotten."""
        self.image = image
        self._moments, self._position = [Moment(PromptState((), mask))], 0
        self.recall()

    def image_moved(self, image: str, moved: Callable[[PromptState], PromptState]) -> None:
        """Follow an image whose voxels are as they were, but lie elsewhere: all masks stay, and so does undo.

        Args:
            image: its name from now on.
            moved: returns prompts where they are now. What the front end kept with states is forgotten.
        """
        self.image = image
        for moment in {*self._moments, self._shown}:
            moment.state = moment.asked = moved(moment.state)
            moment.kept = None

    # How it works

    def _show(self, moment: Moment, mask: BoxedMask | None) -> None:
        moment.result = moment.result or PackedMask.of(mask)
        self._shown, self._mask = moment, mask

    def _waiting(
        self, clicks: Sequence[Click], base: BoxedMask | None, model: str, drawings: Sequence[Drawing] | None = None
    ) -> PromptState:
        """Return those of some prompts that the mask that is shown was not made with, to go on from a mask."""
        shown, now, fresh = self._shown.state, self.now, self.fresh(clicks)
        made_with = {replace(d, after=0) for d in shown.drawings}  # clicks before it may have gone since then
        drawn = now.drawings if drawings is None else drawings
        waiting = [d for d in drawn if replace(d, after=0) not in made_with]
        box = None if now.box == shown.box else now.box
        return PromptState(fresh, base, box, model, moved_places(waiting, now.clicks, fresh), now.honour)

    def _distance(self, moment: Moment) -> float:
        found = moment in self._moments
        return abs(self._moments.index(moment) - self._position) if found else float("inf")


def same_clicks(some: Sequence[Click], others: Sequence[Click]) -> bool:
    """Tell whether two lists of clicks are the same but for rounding."""
    return len(some) == len(others) and all(same_click(a, b) for a, b in zip(some, others, strict=True))


def as_known(clicks: Sequence[Click], known: Sequence[Click]) -> tuple[Click, ...]:
    """Return clicks as they are known: without rounding, and with the patches that the object was followed into.

    One that moved keeps the note of these patches.

    Args:
        clicks: those that note none, as they come from points.
        known: the clicks before, in order.
    """
    if len(clicks) == len(known):
        pairs = zip(clicks, known, strict=True)
        return tuple(k if same_click(c, k) else replace(c, follow=k.follow if c.positive else 0) for c, k in pairs)
    rest, noted = list(known), []
    for click in clicks:
        match = next((old for old in rest if same_click(click, old)), None)
        if match is not None:
            rest.remove(match)
        noted.append(match or click)
    return tuple(noted)


def same_drawing(a: Drawing, b: Drawing) -> bool:
    """Tell whether two drawings are the same but for rounding."""
    if (a.kind, a.positive, a.after, len(a.points)) != (b.kind, b.positive, b.after, len(b.points)):
        return False
    return bool(np.abs(a.array - b.array).max() < SAME_PLACE)


def same_click(a: Click, b: Click) -> bool:
    """Tell whether two clicks are the same but for rounding."""
    return a.positive == b.positive and max(abs(p - q) for p, q in zip(a.world, b.world, strict=True)) < SAME_PLACE
