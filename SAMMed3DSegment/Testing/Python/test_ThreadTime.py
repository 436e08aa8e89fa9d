"""The panel on an event loop that keeps Python's lock, as Slicer's does: threads get on, and so does the interface."""

import threading
import time

import pytest

import qt
import slicerHarness
from panels import MODULE
from sammed3d import ModelError
from SAMMed3DSegmentLib.Task import Task
from SAMMed3DSegmentLib.ThreadTime import SHARE, ThreadTime
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from slicerHarness import eventLoop

SECONDS = 0.6


@pytest.fixture(autouse=True)
def nothingWaits():
    """The event loop has done what the tests before left to it: widgets to delete, above all."""
    eventLoop.run(lambda: True, timeout=120.0)


class Operators:
    """A network's stand-in: operators that give the lock up and want it back, one after the other."""

    def __init__(self):
        self.count, self._end = 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._end.is_set():
            time.sleep(0.001)
            self.count += 1

    def during(self, prepare):
        """Return how many ran in a while of the event loop."""
        started = time.monotonic()
        self._thread.start()
        prepare()
        eventLoop.run(lambda: time.monotonic() - started > SECONDS, interval=100)
        self._end.set()
        return self.count


@pytest.mark.slow
def test_a_thread_starves_on_slicers_event_loop_unless_it_is_given_time():
    alone = Operators().during(lambda: None)
    timer = qt.QTimer()
    timer.setInterval(15)
    timer.connect("timeout()", lambda: None)
    polled = Operators().during(timer.start)
    timer.stop()
    threadTime, end = ThreadTime(), time.monotonic() + SECONDS
    given = Operators().during(lambda: threadTime.follow(lambda: time.monotonic() < end, lambda: None))
    assert max(alone, polled) < given / 3, (alone, polled, given)
    assert not threadTime.active


def test_events_are_handled_between_the_shares():
    threadTime, beats = ThreadTime(), []
    timer = qt.QTimer()
    timer.setInterval(1)
    timer.connect("timeout()", lambda: beats.append(time.monotonic()))
    task = Task(lambda task: time.sleep(SECONDS))
    threadTime.follow(lambda: task.busy, lambda: None)
    timer.start()
    eventLoop.run(lambda: not task.busy)
    timer.stop()
    assert len(beats) > SECONDS / SHARE / 3, "most shares are followed by events"


def test_work_is_polled_once_more_after_its_end_and_an_error_ends_it():
    threadTime, polls = ThreadTime(), []
    task = Task(lambda task: 7)
    threadTime.follow(lambda: task.busy, lambda: polls.append(task.result))
    threadTime.follow(lambda: True, lambda: 1 / 0)
    eventLoop.run(lambda: not threadTime.active)
    assert polls[-1] == 7
    assert isinstance(slicerHarness.slotErrors.pop(), ZeroDivisionError)
    assert not slicerHarness.slotErrors, "shown once"


def test_a_work_that_ends_while_it_is_polled_is_polled_once_more():
    threadTime, seen, busy = ThreadTime(), [], [True]

    def poll():
        seen.append(busy[0])
        busy[0] = False  # another thread has ended, after the poll had looked

    threadTime.follow(lambda: busy[0], poll)
    eventLoop.run(lambda: not threadTime.active)
    assert seen == [True, False]


def test_a_task_tells_how_it_ended():
    def fail(task):
        raise ModelError("no such model")

    def stop(task):
        while True:
            task.report(1, 2)

    failed, stopped = Task(fail), Task(stop)
    assert failed.wait(5)
    assert str(failed.error) == "no such model"
    stopped.cancel()
    assert stopped.wait(5)
    assert (stopped.cancelled, stopped.error, stopped.done, stopped.total) == (True, None, 1, 2)


@pytest.fixture
def place(module, volumeNode):
    """Returns a function that places a point and comes back at once."""
    module.ui.volumeSelector.setCurrentNode(volumeNode)
    module.ui.positiveButton.click()
    points = module.panel.segmenter.pointsFor(module.panel.segmentId)
    grid = volumeFromNode(volumeNode).grid
    return lambda ijk: points.AddControlPointWorld(grid.to_world(ijk))


def test_a_click_becomes_a_segment_though_the_lock_is_kept(module, place):
    place((20, 25, 15))
    assert module.panel.segmenter.busy
    eventLoop.run(lambda: not module.panel.segmenter.busy)
    assert "Done" in module.ui.statusLabel.text
    eventLoop.run(lambda: not module.panel.threadTime.active)  # no timer without work


def test_cancel_answers_at_once_in_the_middle_of_a_long_operator(module, place, predictor):
    """The operator cannot be stopped; nobody waits for it but the next click."""
    original, running, release = predictor.predict, threading.Event(), threading.Event()

    def slow(*arguments, **keywords):
        running.set()
        release.wait()
        return original(*arguments, **keywords)

    predictor.predict = slow
    place((20, 25, 15))
    eventLoop.run(running.is_set)
    module.ui.cancelButton.click()
    assert not module.panel.segmenter.busy
    assert module.ui.cancelButton.isHidden()
    points = module.panel.segmenter.pointsFor(module.panel.segmentId)
    assert points.GetNumberOfDefinedControlPoints() == 0, "the click was taken back"
    assert module.panel.threadTime.active, "the thread gets the time to end"
    place((10, 12, 8))
    release.set()
    eventLoop.run(lambda: not module.panel.segmenter.busy)
    assert points.GetNumberOfDefinedControlPoints() == 1
    assert len(predictor.calls) == 2


def test_a_server_test_and_an_import_get_time_too(module, tmp_path):
    ui = module.ui
    module.logic.predictors.diagnose = lambda choice: [str(sum(1 for _ in range(100_000)))]
    ui.placeSelector.setCurrentIndex(1)
    ui.urlEdit.setText("https://gpu.example.org")
    ui.testButton.click()
    eventLoop.run(lambda: ui.serverLabel.text == "100000")
    module.panel.models.importFile(tmp_path / "absent.pth")
    eventLoop.run(lambda: "there is no such file" in ui.modelLabel.text)


def test_closing_leaves_no_thread_behind(module, place):
    place((20, 25, 15))
    eventLoop.run(lambda: not module.panel.segmenter.busy)
    slicerHarness.unloadModule("SAMMed3DSegment")
    assert not [t for t in threading.enumerate() if t.name.startswith("SAMMed3DSegment")]
    slicerHarness.loadModule(MODULE)
