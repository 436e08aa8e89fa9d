"""How far an object is followed: always, when asked, or never; up to limits, with progress, and a way to stop.

A click notes into how many patches its object was followed (`Click.follow`), so the mask stays a function of the
prompts: stopping early notes fewer. Where it is followed to is decided in `following.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.mask import BoxedMask
from sammed3d.errors import PredictionCancelled, PromptError
from sammed3d.inference.inferer import Inferer, PromptState

Mode = Literal["always", "ask", "never"]


@dataclass(frozen=True)
class FollowSettings:
    """Whether and how far an object is followed beyond the patch that it is clicked in.

    Attributes:
        mode: "always" after every positive click, "ask" when `Session.follow` is called and to be told that there is
            something to follow, "never" not even to look whether there is.
        patches: into how many further patches at most, each time.
        seconds: no further patch is begun after that time.

    Raises:
        PromptError: an unknown mode, or a limit that is no positive number.
    """

    mode: Mode = "always"
    patches: int = 8
    seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise PromptError(f"Objects are followed {', '.join(get_args(Mode))}; not {self.mode!r}.")
        if not (self.patches >= 1 and self.seconds > 0):
            raise PromptError(
                f"Following needs at least one patch and some time, not {self.patches} and {self.seconds} s."
            )


@dataclass(frozen=True, eq=False)
class Followed:
    """How far an object was followed.

    Attributes:
        state: its prompts, the last click of which notes the patches.
        mask: the mask that they make.
        patches: number of patches that were looked at now.
        goes_on: whether there is more to follow.
        cancelled: whether it was stopped by the user.
        seconds: time by stage.
    """

    state: PromptState
    mask: BoxedMask | None
    patches: int = 0
    goes_on: bool = False
    cancelled: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """What a user should know, in a line; "" where there is nothing to say."""
        looked_at = f"followed into {self.patches} further patch{'' if self.patches == 1 else 'es'}"
        if self.cancelled and not self.patches:
            return "Stopped before the object was followed. Follow it, or click where it goes on."
        if self.cancelled:
            return f"Stopped; {looked_at}, which stay{'s' if self.patches == 1 else ''}. Follow again to go on."
        if not self.goes_on:
            return f"The object was {looked_at}." if self.patches else ""
        if not self.patches:
            return "The object may go on beyond what was looked at. Follow it, or click where it goes on."
        return f"The object was {looked_at} and goes on. Follow again to go on, or click where it goes on."


def follow(
    inferer: Inferer,
    known: Followed,
    settings: FollowSettings,
    cancellation: Cancellation | None = None,
    reached: Callable[[Followed], object] = lambda _followed: None,
) -> Followed:
    """Follow an object after its last click, until nothing is added, a limit is reached, or it is stopped.

    Args:
        inferer: the inferer of volume and model.
        known: prompts and their mask.
        settings: the limits; in another mode than "always" it is only told whether the object goes on.
        cancellation: stops it; what was followed until then stays. Its `patches` tell how far it is.
        reached: called after each further patch with what there is by then.

    Raises:
        SAMMed3DError: a reason of `Inferer.mask_of`.
    """
    begin, patches, now = time.monotonic(), 0, known
    most = settings.patches if settings.mode == "always" else 0
    cancellation = cancellation or Cancellation()
    seconds: dict[str, float] = dict(known.seconds)
    try:
        while inferer.goes_on(now.state, cancellation):
            if patches >= most or time.monotonic() - begin > settings.seconds:
                return replace(now, patches=patches, goes_on=True, seconds=seconds)
            cancellation.patches = (patches + 1, most)
            state = with_patches(now.state, 1)
            mask, spent = inferer.mask_of(state, cancellation)
            for name, value in spent.items():
                seconds[name] = seconds.get(name, 0.0) + value
            patches += 1
            now = Followed(state, mask)
            reached(replace(now, patches=patches, goes_on=True, seconds=dict(seconds)))
    except PredictionCancelled:
        return replace(now, patches=patches, goes_on=True, cancelled=True, seconds=seconds)
    return replace(now, patches=patches, seconds=seconds)


def can_follow(state: PromptState) -> bool:
    """Whether the newest prompt is a positive click, after which an object can be followed."""
    drawn_last = any(drawing.after >= len(state.clicks) for drawing in state.drawings)
    return bool(state.clicks) and state.clicks[-1].positive and not drawn_last


def with_patches(state: PromptState, patches: int) -> PromptState:
    """Return prompts whose last click is followed into so many patches more."""
    *before, last = state.clicks
    return replace(state, clicks=(*before, replace(last, follow=last.follow + patches)))
