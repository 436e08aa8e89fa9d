"""The model, loaded while the user aims the first click."""

from __future__ import annotations

from SAMMed3DSegmentLib.Predictors import ModelChoice, Predictors
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.Settings import SERVER
from SAMMed3DSegmentLib.Task import Task
from SAMMed3DSegmentLib.ThreadTime import ThreadTime


class ReadyModel:
    """Load the model that runs in this Slicer before a click waits for it.

    Importing torch and reading weights take seconds, aiming takes as long. A server is not asked before a click.

    Args:
        segmenter: knows the model, and keeps what was loaded.
        predictors: know where it runs.
        threadTime: for loading.
    """

    def __init__(self, segmenter: Segmenter, predictors: Predictors, threadTime: ThreadTime) -> None:
        self._segmenter, self._predictors, self._threadTime = segmenter, predictors, threadTime
        self._choice: ModelChoice | None = None

    def begin(self) -> None:
        """Load the chosen model, once. A click that comes meanwhile waits for it.

        What goes wrong is said at that click, which tries again.
        """
        choice = self._predictors.choiceOf(self._segmenter.model)
        if choice == self._choice or choice.place == SERVER:
            return
        self._choice = choice
        task = Task(lambda task: self._segmenter.predictorFor(choice, task.cancellation), "SAMMed3DSegment model")
        self._threadTime.follow(lambda: task.busy, lambda: None, task.wait)
