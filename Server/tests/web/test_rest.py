"""When memory that predictions freed goes back."""

import threading
from types import SimpleNamespace

import pytest

from sammed3d.web import rest
from sammed3d.web.rest import MOST, REST, Rest


@pytest.fixture
def given(monkeypatch):
    """A watch of which `now` is the time, and how often memory was given back."""
    clock, calls = SimpleNamespace(now=100.0), []
    monkeypatch.setattr(rest, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(rest.threading, "Thread", lambda target, daemon: SimpleNamespace(start=target))
    clock.rest, clock.calls = Rest(lambda: calls.append(clock.now)), calls
    return clock


def predict(watch):
    watch.rest.look(True)
    watch.rest.look(False)


def test_it_goes_back_once_when_nobody_asks_any_more(given):
    given.now += 10 * REST
    given.rest.look(False)
    assert given.calls == [], "there was no prediction"
    predict(given)
    given.now += REST / 2
    predict(given)
    given.now += REST * 0.9
    given.rest.look(False)
    assert given.calls == [], "the next click finds it"
    given.now += REST / 2
    given.rest.look(False)
    given.now += 10 * REST
    given.rest.look(False)
    assert len(given.calls) == 1


def test_a_long_prediction_is_no_rest(given):
    predict(given)
    given.rest.look(True)
    given.now += 10 * REST
    given.rest.look(True)
    assert given.calls == []


def test_it_goes_back_after_some_predictions_however_fast_they_come(given):
    for done in range(1, 2 * MOST + 1):
        predict(given)
        assert len(given.calls) == done // MOST


def test_the_page_goes_on_meanwhile():
    threads, done = [], threading.Event()
    watch = SimpleNamespace(rest=Rest(lambda: (threads.append(threading.get_ident()), done.set())))
    for _ in range(MOST):
        predict(watch)
    assert done.wait(60)
    assert threads != [threading.get_ident()]
