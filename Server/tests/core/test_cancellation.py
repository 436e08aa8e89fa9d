"""The switch that stops predictions: what it says, and whom it calls."""

import threading

import pytest

import sammed3d
from sammed3d.core.cancellation import Cancellation
from sammed3d.errors import PredictionCancelled
from sammed3d.inference import predictor


def test_it_has_the_names_under_which_others_know_it():
    assert sammed3d.Cancellation is predictor.Cancellation is Cancellation


def test_it_says_whether_it_was_used_and_what_goes_on():
    cancellation = Cancellation()
    cancellation.enter("send")
    cancellation.share = 0.5
    cancellation.enter("decode")
    assert (cancellation.stage, cancellation.share, cancellation.is_cancelled) == ("decode", None, False)
    cancellation.cancel()
    assert cancellation.is_cancelled
    with pytest.raises(PredictionCancelled):
        cancellation.enter("paint")
    assert cancellation.stage == "decode"


def test_who_waits_is_called_once_in_the_thread_that_cancels():
    cancellation, called = Cancellation(), []
    with cancellation.calling(lambda: called.append(threading.current_thread().name)):
        thread = threading.Thread(target=cancellation.cancel, name="the user's")
        thread.start()
        thread.join()
        cancellation.cancel()
    assert called == ["the user's"]


def test_who_comes_late_is_called_at_once_and_who_left_is_not():
    cancellation, called = Cancellation(), []
    with cancellation.calling(lambda: called.append("left")):
        pass
    cancellation.cancel()
    assert called == []
    with cancellation.calling(lambda: called.append("late")):
        assert called == ["late"]
    cancellation.wait(60)  # returns at once
