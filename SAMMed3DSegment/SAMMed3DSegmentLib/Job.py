"""What goes into the inference thread, and comes out of it again with a mask or an error."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from sammed3d import Cancellation, Volume
from sammed3d.core.mask import BoxedMask
from sammed3d.inference.follow_limits import Followed
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.prompt_translation import TranslatingInferer
from SAMMed3DSegmentLib.Following import NEVER, FollowChoice

Question = Callable[[TranslatingInferer, PromptState, Cancellation], Any]


@dataclass(eq=False)
class Job:
    """Prompts to evaluate.

    Attributes:
        key: segmentation node id and segment id; a newer job of the same key replaces a waiting one. A question's
            begins with those ids, and so it ends with what is cancelled of the segment.
        volume: the image.
        volumeDigest: tells images apart.
        model: names the model and all that decides how it runs; frozen, since it is read in the thread.
        state: the prompts.
        source: id of the volume's node; not used here, comes back with the result.
        following: whether the object is followed beyond the patch of its last click.
        cancellation: stops it, and says what it is doing.
        mask: the result; None for an empty mask.
        seconds: time by stage.
        error: what went wrong, in words for the user; None if nothing did.
        cancelled: whether it was stopped, with nothing to show for it.
        followed: how far the object was followed; None where that was not begun. What was followed stays, whatever
            ends it: then it comes with an error, or says that it was cancelled.
        partial: whether this is a copy of a job that goes on, with what there is by now.
        question: where given, what is asked about the prompts in place of their mask; called in the thread.
        answered: called on the main thread with what `question` returned, if the prompts are still in force by then.
        answer: what it returned.
        target: the voxels' owner, a vtkSegmentation: each frame of a sequence has its own, and one node shows them;
            not used here, comes back with the result.
    """

    key: tuple[str, ...]
    volume: Volume
    volumeDigest: str
    model: Hashable
    state: PromptState
    source: str = ""
    following: FollowChoice = NEVER
    cancellation: Cancellation = field(default_factory=Cancellation)
    mask: BoxedMask | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    cancelled: bool = False
    followed: Followed | None = None
    partial: bool = False
    question: Question | None = None
    answered: Callable[[Any], None] | None = None
    answer: Any = None
    target: object = None
