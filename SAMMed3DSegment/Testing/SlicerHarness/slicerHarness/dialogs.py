"""Dialogs, which a user has to answer: a test says beforehand what is asked and what is answered.

A dialog that nobody announced is an error, as is one that was announced and did not come: see `Answers.check`.
"""

from __future__ import annotations

from PySide6 import QtWidgets


class UnansweredError(AssertionError):
    """The application asks something that the test did not expect."""


class Answers:
    """The answers that a test has prepared, in the order of the questions.

    Attributes:
        asked: what was asked so far.
    """

    def __init__(self):
        self.asked = []
        self._prepared, self._errors = [], []

    def give(self, question, answer):
        """Answer the next dialog; a part of its text has to be `question`.

        The answer is what the function returns (a bool, a path, "" for a file dialog that is cancelled), or for a
        dialog object a function that is called with it, as the user would handle it, and returns its result code.
        To a yes-or-no question it may be a function, too: it does what happens while the dialog is open, in whose event
        loop timers and scripts run, and returns the answer.
        """
        self._prepared.append((question, answer))

    def ask(self, text):
        """Return the prepared answer to a question."""
        self.asked.append(text)
        if not self._prepared or self._prepared[0][0] not in text:
            error = UnansweredError(f"Nobody answers: {text!r}")
            self._errors.append(error)  # raised in a slot, Qt would swallow it
            raise error
        return self._prepared.pop(0)[1]

    def check(self):
        """Raise if a dialog was not answered, or one that was announced did not come; forget all of it."""
        errors, left = self._errors, self._prepared
        self.__init__()
        if errors:
            raise errors[0]
        if left:
            raise AssertionError(f"These dialogs did not come: {[question for question, _ in left]}")


answers = Answers()


def _confirm(text, *_, **__):
    answer = answers.ask(text)
    return bool(answer() if callable(answer) else answer)


def _display(text, *_, **__):
    answers.ask(text)


def _file(_parent=None, caption="", *_, **__):
    return str(answers.ask(caption))  # PythonQt returns the path alone, where Qt's own Python adds the filter


def _exec(dialog):
    texts = [dialog.windowTitle, *(getattr(dialog, name)() for name in ("labelText", "text") if hasattr(dialog, name))]
    answer = answers.ask(" ".join(text for text in texts if isinstance(text, str)))
    return int(answer(dialog))


def _refused(name):
    def function(*_, **__):
        raise AttributeError(
            f"{name} cannot tell Cancel from an answer under PythonQt, which has no `ok`: use a dialog object, exec_()"
        )

    return staticmethod(function)


def install(util):
    """Put the answers in the place of all that would wait for a user."""
    for name in ("confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay"):
        setattr(util, name, _confirm)
    for name in ("infoDisplay", "warningDisplay", "errorDisplay", "messageBox"):
        setattr(util, name, _display)
    for name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory"):
        setattr(QtWidgets.QFileDialog, name, staticmethod(_file))
    for name in ("getItem", "getText", "getInt", "getDouble", "getMultiLineText"):
        setattr(QtWidgets.QInputDialog, name, _refused(f"QInputDialog.{name}"))
    for name in ("exec", "exec_"):
        setattr(QtWidgets.QDialog, name, _exec)
    for name in ("question", "warning", "information", "critical"):
        setattr(QtWidgets.QMessageBox, name, staticmethod(lambda _parent, _title, text, *_: answers.ask(text)))
