"""What belongs to one thread at a time: another one is refused while it is at work, before anything is mixed up."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sammed3d.errors import PromptError


class OneThreaded(Protocol):
    """Belongs to one thread at a time.

    Attributes:
        at_work: the lock that the thread inside holds.
    """

    at_work: Any  # threading.RLock, which is no type


Self = TypeVar("Self", bound=OneThreaded)
Given = ParamSpec("Given")
Result = TypeVar("Result")


def alone(method: Callable[Concatenate[Self, Given], Result]) -> Callable[Concatenate[Self, Given], Result]:
    """Let a method refuse a thread while another one is inside; what it calls itself is let in.

    Raises:
        PromptError: another thread is.
    """

    @functools.wraps(method)
    def guarded(self: Self, /, *args: Given.args, **named: Given.kwargs) -> Result:
        if not self.at_work.acquire(blocking=False):
            raise PromptError(
                "This session is at work in another thread, and belongs to one at a time. Wait for it, or give each "
                "thread a session of its own; they can share a predictor."
            )
        try:
            return method(self, *args, **named)
        finally:
            self.at_work.release()

    return guarded
