"""The model, loaded while the user aims the first click."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from SAMMed3DSegmentLib.Background import Background
from SAMMed3DSegmentLib.Predictors import ModelChoice
from SAMMed3DSegmentLib.Settings import SERVER
from SAMMed3DSegmentLib.Task import Task

if TYPE_CHECKING:  # it needs Qt, which other front ends do not have
    from SAMMed3DSegmentLib.ThreadTime import ThreadTime


class ReadyModel:
    """Load the model that runs in this process before a click waits for it.

    Importing torch and reading weights take seconds, aiming takes as long. A server is not asked before a click.

    Args:
        background: knows what a model's name stands for, and keeps what was loaded.
        threadTime: for loading; None where threads run by themselves.
    """

    def __init__(self, background: Background, threadTime: ThreadTime | None = None) -> None:
        self._background, self._threadTime = background, threadTime
        self._choice: Hashable = None
        self._task: Task[None] | None = None

    def begin(self, model: str) -> None:
        """Load a model, once, and again where it was let go of. A click that comes meanwhile waits for it.

        What goes wrong is said at that click, which tries again.
        """
        background, choice = self._background, self._background.modelChoice(model)
        if isinstance(choice, ModelChoice) and choice.place == SERVER:
            return
        task = self._task
        if choice == self._choice and task is not None and (task.busy or task.error is not None or background.hasModel):
            return

        def work(task: Task[None]) -> None:
            background.predictorFor(choice, task.cancellation)

        self._choice, self._task = choice, Task(work, "SAMMed3DSegment model")
        if self._threadTime is not None:
            task = self._task
            self._threadTime.follow(lambda: task.busy, lambda: None, task.wait)
