"""The models of the server that the settings name, asked for in the background."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from sammed3d.wire.messages import ModelInfo
from SAMMed3DSegmentLib.Predictors import ModelChoice, Predictors
from SAMMed3DSegmentLib.Settings import SERVER
from SAMMed3DSegmentLib.Task import Task
from SAMMed3DSegmentLib.ThreadTime import ThreadTime


class ServedModels:
    """Know what a server serves, as soon as the user has agreed to use it; before that nobody asks it.

    Args:
        predictors: know the settings, and how to ask.
        threadTime: for the question.
        onChanged: called when something else is known.

    Attributes:
        models: by name, in the server's order; empty where they are not known.
        trouble: why they are not known, in words; "" otherwise.
    """

    def __init__(self, predictors: Predictors, threadTime: ThreadTime, onChanged: Callable[[], None]) -> None:
        self._predictors, self._threadTime, self._onChanged = predictors, threadTime, onChanged
        self.models: dict[str, ModelInfo] = {}
        self.trouble = ""
        self._asked: ModelChoice | None = None
        self._task: Task[list[ModelInfo]] | None = None

    @property
    def busy(self) -> bool:
        """Whether the server is being asked."""
        return self._task is not None

    def refresh(self) -> None:
        """Ask the server, if it is another one than was asked last, or was not reached."""
        choice = self._predictors.choiceOf("")
        usable = choice.place == SERVER and choice.url and choice.consent
        if usable and choice == self._asked and (self.models or self.busy):
            return
        self.models, self.trouble, self._asked, self._task = {}, "", None, None
        if not usable:
            return
        self._asked = choice
        predictors = self._predictors
        self._task = task = Task(lambda _task: predictors.served(choice), "SAMMed3DSegment server models")
        self._threadTime.follow(lambda: task is self._task, lambda: self._poll(task), task.wait)

    def about(self, name: str) -> list[str]:
        """Say what is known of a model of the server."""
        model, choice = self.models.get(name), self._predictors.choiceOf("")
        if model is not None:
            licence = _("Licence: {licence}").format(licence=model.licence or _("as stated by its source"))
            return [licence, _("Runs on the server: {device}").format(device=model.device)]
        if self.busy:
            return [_("Asking the server for its models...")]
        if not choice.consent:
            return [_("The server's models are listed when you have agreed in the section 'Where it runs'.")]
        return [self.trouble]

    def close(self) -> None:
        """Wait for no answer any more."""
        self._task = None

    def _poll(self, task: Task[list[ModelInfo]]) -> None:
        if task is not self._task or task.busy:
            return
        self._task = None
        self.models = {model.name: model for model in task.result or []}
        if task.error is not None:
            self.trouble = str(task.error)
        elif not self.models:
            self.trouble = _("The server serves no model.")
        self._onChanged()
