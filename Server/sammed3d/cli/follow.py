"""Following objects beyond a patch on the command line: options, Ctrl-C that keeps what is done, and what is said."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from sammed3d.cli.signals import Stop, interruptible
from sammed3d.cli.terminal import screen
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.prompts import ObjectPrompts
from sammed3d.errors import PredictionCancelled
from sammed3d.inference.follow_limits import Followed, FollowSettings, can_follow
from sammed3d.inference.session import Session

FollowOption = Annotated[
    bool,
    typer.Option("--follow", help="Follow objects that go on beyond the patch of their last click."),
]
PATCHES = FollowSettings().patches
PatchesOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=1000, help=f"With --follow: into how many further patches at most; {PATCHES} if not given."
    ),
]


def follow_object(
    session: Session, given: ObjectPrompts, patches: int, cancellation: Cancellation, stop: Stop
) -> Followed | None:
    """Follow the current object beyond the patch of its last click.

    Args:
        session: the object's prompts are applied.
        given: those prompts.
        patches: largest number of further patches.
        cancellation: stops it; its `patches` show how far it is.
        stop: notes down which signal stopped it.

    Returns:
        How far it was followed; None where it was not looked at, or where that was stopped before it went on.
    """
    if session.current is None or not can_follow(session.current.state) or cancellation.is_cancelled:
        return None
    followed = None
    # where it was stopped before the first further patch, the object stays as its clicks made it
    with interruptible(cancellation, stop), contextlib.suppress(PredictionCancelled):
        followed = session.follow(FollowSettings("always", patches, float("inf")), cancellation).followed
    if followed is not None and followed.message:
        screen.print(f"{given.name}: {followed.message}", highlight=False)
    return followed
