"""A large object is followed with a server's model, and the server restarts on the way."""

import threading
import time

import numpy as np
import pytest

from helpers import FakePredictor
from large_objects import FloodPredictor, bar, start_of
from sammed3d.errors import ModelError
from sammed3d.inference.follow_limits import FollowSettings
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor
from servers import serving

pytestmark = pytest.mark.slow
BAR, _ = bar(length=660, angles=(0.2, -0.1, 0.3))
FOLLOW = FollowSettings("always", 8)


class ServedFlood(FakePredictor):
    """The same stand-in, as a server asks it."""

    def __init__(self):
        super().__init__(FloodPredictor.preset, FloodPredictor.capabilities)
        self.flood = FloodPredictor()

    def answer(self, patch, prompts):
        return self.flood.predict(patch, prompts).low_res


@pytest.fixture(scope="module")
def expected():
    """The mask, the prompts and the number of questions without a server."""
    predictor = FloodPredictor()
    session = followed(predictor)
    assert session.current.clicks[0].follow >= 3
    return session.mask(), session.current.prompts, len(predictor.calls)


def followed(predictor):
    session = Session(BAR, predictor)
    session.following = FOLLOW
    session.click(start_of(BAR))
    return session


def restart(server, pause=0.3):
    """Stop the server, and start it again a little later, at the same address, with empty caches."""
    server.stop()
    threading.Timer(pause, server.start).start()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_restart_between_two_patches_changes_nothing(expected, monkeypatch, share):
    mask, prompts, questions = expected
    with serving(ServedFlood()) as server:
        remote = RemotePredictor(server.url, patience=30)
        asked, predict = [], remote.predict

        def counted(*arguments, **options):
            asked.append(1)
            if len(asked) == round(share * questions):
                restart(server)
            return predict(*arguments, **options)

        monkeypatch.setattr(remote, "predict", counted)
        session = followed(remote)
        assert len(asked) == questions
        assert np.array_equal(session.mask(), mask)
        assert session.current.prompts.clicks == prompts.clicks
        session.undo()
        assert not session.mask().any(), "one step"
        session.redo()
        assert np.array_equal(session.mask(), mask)
        assert len(asked) == questions, "what is known is not asked again"


def test_a_restart_in_the_middle_of_a_question_changes_nothing(expected):
    mask, prompts, questions = expected
    predictor = ServedFlood()
    with serving(predictor) as server:
        stopped = []

        def before(number):
            if number == questions // 2 and not stopped:
                stopped.append(threading.Thread(target=restart, args=(server,)))
                stopped[0].start()
                time.sleep(0.2)

        predictor.flood.before = before
        session = followed(RemotePredictor(server.url, patience=30))
        stopped[0].join(20)
        assert np.array_equal(session.mask(), mask)
        assert session.current.prompts.clicks == prompts.clicks


def test_a_server_that_does_not_come_back_leaves_the_session_as_it_was(expected, monkeypatch):
    mask, prompts, questions = expected
    with serving(ServedFlood()) as server:
        remote = RemotePredictor(server.url, patience=1)
        asked, predict = [], remote.predict

        def counted(*arguments, **options):
            asked.append(1)
            if len(asked) == questions - 1:
                server.stop()
            return predict(*arguments, **options)

        monkeypatch.setattr(remote, "predict", counted)
        session = Session(BAR, remote)
        session.add_object("bar")
        session.following = FOLLOW
        with pytest.raises(ModelError, match="cannot be reached"):
            session.click(start_of(BAR))
        assert not session.mask().any()
        assert not session.current.clicks
        server.start()
        session.click(start_of(BAR))
        assert np.array_equal(session.mask(), mask)
        assert session.current.prompts.clicks == prompts.clicks
        assert len(asked) == questions + 1, "what was answered before is known"
