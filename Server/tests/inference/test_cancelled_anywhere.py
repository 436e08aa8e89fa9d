"""Predictions that are cancelled at any moment at which they look: what was there stays, the next click works."""

import contextlib

import numpy as np
import pytest

from helpers import CENTRE, small_volume
from sammed3d.core.cancellation import Cancellation
from sammed3d.errors import PredictionCancelled
from sammed3d.inference.follow_limits import FollowSettings
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.zoo import load_predictor
from servers import serving

NEVER = 10**9
SECOND, THIRD = (75.0, 60.0, 45.0), (45.0, 90.0, 60.0)


class Countdown(Cancellation):
    """Is cancelled by the user at the moment before somebody looks for the n-th time."""

    def __init__(self, looks):
        super().__init__()
        self.left = looks

    def check(self):
        self.left -= 1
        if self.left == 0:
            self.cancel()
        super().check()


def prompts(session):
    return [(each.name, each.clicks, each.drawings, each.box) for each in session.objects]


OPERATIONS = {
    "first click": ((), lambda s, c: s.click(CENTRE, cancellation=c)),
    "further click": ((CENTRE,), lambda s, c: s.click(SECOND, False, c)),
    "replay": ((CENTRE, SECOND), lambda s, c: s.move_click(0, THIRD, c)),
    "scribble": ((CENTRE,), lambda s, c: s.scribble([CENTRE, SECOND], cancellation=c)),
    "box": ((CENTRE,), lambda s, c: s.set_box(SECOND, THIRD, c)),
    "uncertainty": ((CENTRE,), lambda s, c: s.uncertainty(c)),
    "next": ((CENTRE,), lambda s, c: s.suggest((), c)),
}


def check_everywhere(predictor, before, operation, most=10):
    """Cancel an operation at moments from the first on; returns how many there are, which varies with a server."""
    volume = small_volume()
    whole = Session(volume, predictor())
    for click in before:
        whole.click(click)
    counting = Countdown(NEVER)
    operation(whole, counting)
    moments = NEVER - counting.left
    for looks in np.unique(np.linspace(1, moments + 1, min(moments + 1, most)).astype(int)).tolist():
        session = Session(volume, predictor())
        for click in before:
            session.click(click)
        known, mask = prompts(session), session.mask()
        cancellation = Countdown(looks)
        try:
            operation(session, cancellation)
        except PredictionCancelled:
            assert prompts(session) == known, f"after {looks} looks"
            assert np.array_equal(session.mask(), mask), f"after {looks} looks"
            operation(session, None)
        else:
            assert not cancellation.is_cancelled, f"{looks} looks: cancelled, and done all the same"
        assert prompts(session) == prompts(whole), f"after {looks} looks"
        assert np.array_equal(session.mask(), whole.mask()), f"after {looks} looks"
    return moments


@pytest.mark.slow
@pytest.mark.parametrize("what", OPERATIONS)
def test_in_this_process(tiny_checkpoint, what):
    assert check_everywhere(lambda: load_predictor(tiny_checkpoint, "cpu"), *OPERATIONS[what]) > 1


@pytest.mark.slow
@pytest.mark.parametrize("what", ["first click", "further click"])
def test_with_a_server(tiny_checkpoint, what):
    with serving(load_predictor(tiny_checkpoint, "cpu")) as server:
        found = check_everywhere(lambda: RemotePredictor(server.url, patience=30), *OPERATIONS[what])
    assert found > 1


@pytest.mark.slow
def test_following_keeps_what_was_done_by_then(tiny_checkpoint):
    """Who stops it wants no more patches, and not to lose the click."""
    session = Session(small_volume(), load_predictor(tiny_checkpoint, "cpu"))
    session.click(CENTRE)
    clicks = [click.world for click in session.current.clicks]
    for looks in range(1, 30):
        cancellation = Countdown(looks)
        with contextlib.suppress(PredictionCancelled):
            session.follow(FollowSettings(), cancellation)
        assert [click.world for click in session.current.clicks] == clicks
        if not cancellation.is_cancelled:
            break
