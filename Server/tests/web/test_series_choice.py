"""The list of series without a browser: what happens while one of them is read."""

import asyncio
import importlib.util
import threading
from types import SimpleNamespace

import pytest

if importlib.util.find_spec("trame_slicer") is None:
    pytest.skip("trame_slicer is not installed: run make test-web", allow_module_level=True)

from sammed3d.errors import VolumeError
from sammed3d.web.series_choice import SeriesChoice
from sammed3d.web.several import SERIES, Several


class State(SimpleNamespace):
    """Stands for trame's."""

    def update(self, values):
        self.__dict__.update(values)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Shown:
    """Stands for the page: what it was told."""

    def __init__(self):
        self.said = []
        self.say = self.said.append


def tell(read):
    """Offer two series, pick the first one, and forget them while it is read; returns what the page said."""
    page, began, goes_on, closed, received = Shown(), threading.Event(), threading.Event(), [], []

    def slowly(number):
        began.set()
        goes_on.wait(60)
        return read(number)

    async def story():
        choice = SeriesChoice(page, State())
        choice.receive = received.append
        choice.show = lambda *_: page.said.append("shown")
        choice.offer(Several(SERIES, ("a", "b"), slowly), lambda: closed.append(1))
        choice.pick(0)
        await asyncio.to_thread(began.wait, 60)
        choice.forget()  # the sample is opened, say
        goes_on.set()
        async with choice.reading:
            return page.said

    said = asyncio.run(story())
    assert closed == [1]
    assert received == ["Reading series a...", ""]
    return said


def test_a_series_that_was_read_after_something_else_was_opened_is_not_shown():
    assert tell(lambda _number: "volume") == []


def test_what_goes_wrong_with_it_then_is_nobodys_concern():
    def fail(_number):
        raise VolumeError("its files went away")

    assert tell(fail) == []
