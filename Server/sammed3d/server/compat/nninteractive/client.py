"""A client of the nnInteractive protocol: the session on its image, and what it has drawn and not run yet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sammed3d.core.drawings import Drawing
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts
from sammed3d.inference.session import Session
from sammed3d.inference.session_object import Update
from sammed3d.server.compat.nninteractive.arrays import Array
from sammed3d.server.compat.nninteractive.prompts import BadRequestError, BoundingBox, Point, box_of, click_of

MAX_POINTS = 1024
"""Clicks and drawings of an object."""
MAX_PAINTED = 500_000
"""Voxels of all scribbles and lassos of an object."""
FLAT = "A box of one slice does not say how far the object reaches. Draw it over several slices, or use the lasso."


@dataclass(eq=False)
class Client:
    """What is kept of a client. Each method that may run a prediction returns what changed of the mask, or None.

    Attributes:
        session: the session on its image; None before there is one.
        pending: clicks and drawings that it did not want to be run yet, in order.
        box: that it did not want to be run yet, or None.
    """

    session: Session | None = None
    pending: list[Click | Drawing] = field(default_factory=list)
    box: BoxPrompt | None = None

    @property
    def on_image(self) -> Session:
        """The session on its image.

        Raises:
            BadRequestError: there is no image yet.
        """
        if self.session is None:
            raise BadRequestError("There is no image yet. Set one first.")
        return self.session

    def begin_object(self) -> None:
        """Leave what was drawn so far behind; undo does not go back there."""
        self.pending.clear()
        self.box = None
        if self.session is not None:
            self.session.objects.clear()
            self.session.current = None

    def start_from(self, mask: Array) -> None:
        """Begin an object with a mask (X, Y, Z), which the client has put into its own buffer by itself."""
        session = self.on_image
        if mask.shape != session.volume.grid.shape:
            raise BadRequestError(f"The mask's shape {mask.shape} is not the image's, {session.volume.grid.shape}.")
        self.begin_object()
        session.start_from(mask)

    def add_point(self, point: Point) -> Update | None:
        """Click."""
        return self._add(click_of(point, self.on_image.volume.grid), point.run_prediction)

    def add_drawing(self, drawing: Drawing, run: bool) -> Update | None:
        """Add a scribble or a lasso."""
        now = self.session.current if self.session else None
        drawn = [d for d in (*self.pending, *(now.drawings if now else ())) if not isinstance(d, Click)]
        if sum(len(d.points) for d in (*drawn, drawing)) > MAX_PAINTED:
            raise BadRequestError(f"An object takes at most {MAX_PAINTED} painted voxels. Begin a new one.")
        return self._add(drawing, run)

    def add_box(self, box: BoundingBox) -> Update | None:
        """Put a box round the object, in place of the one before."""
        session = self.on_image
        drawn, flat = box_of(box, session.volume.grid)
        if flat and not session.predictor.preset.by_slice:
            raise BadRequestError(FLAT)
        self.box = drawn
        return self.run_pending() if box.run_prediction else None

    def run_pending(self) -> Update | None:
        """Add what waits to the object, in order; it is gone even if that fails, as the client thinks that it is."""
        session = self.on_image
        if not self.pending and self.box is None:
            return None
        prompts = session.current.prompts if session.current else ObjectPrompts("", ())
        prompts = replace(prompts, box=self.box or prompts.box)
        for waiting in self.pending:
            if isinstance(waiting, Click):
                prompts = replace(prompts, clicks=(*prompts.clicks, waiting))
            else:
                placed = replace(waiting, after=len(prompts.clicks))
                prompts = replace(prompts, drawings=(*prompts.drawings, placed))
        self.pending, self.box = [], None
        return session.set_prompts(prompts)

    def undo(self) -> Update | None:
        """Take back what was added last; what waits goes first."""
        session = self.on_image
        if self.pending:
            self.pending.pop()
        elif self.box is not None:
            self.box = None
        elif session.current is not None and not session.current.state.is_start:
            return session.undo()
        return None

    def _add(self, prompt: Click | Drawing, run: bool) -> Update | None:
        now = self.session.current if self.session else None
        if len(self.pending) + (len(now.clicks) + len(now.drawings) if now else 0) >= MAX_POINTS:
            raise BadRequestError(f"An object takes at most {MAX_POINTS} points and drawings. Begin a new one.")
        self.pending.append(prompt)
        return self.run_pending() if run else None
