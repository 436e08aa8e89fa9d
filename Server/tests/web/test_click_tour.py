"""From click to click of the selected segment."""

from types import SimpleNamespace

from sammed3d.core.prompts import Click, ObjectPrompts
from sammed3d.web.click_tour import ClickTour


def tour_of(clicks):
    """A tour of a segment whose clicks may be changed; what it showed and said."""
    shown, said = [], []
    segmenter = SimpleNamespace(objectPrompts=lambda ids: [ObjectPrompts(ids[0], tuple(clicks))])
    work = SimpleNamespace(segment_id="a", segmenter=segmenter)
    return ClickTour(work, shown.append, said.append), work, shown, said


def test_each_click_is_shown_in_turn_and_then_the_first_again():
    places = [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)]
    tour, _, shown, said = tour_of([Click(places[0]), Click(places[1], positive=False)])
    assert [tour.next() for _ in range(3)] == shown == [places[0], places[1], places[0]]
    assert said[1] == "Click 2 of 2, negative, is in the middle of the slice views."


def test_another_segment_begins_with_its_first_click():
    tour, work, shown, _ = tour_of([Click((1.0, 2.0, 3.0)), Click((4.0, 5.0, 6.0))])
    tour.next()
    work.segment_id = "b"
    tour.next()
    assert shown == [(1.0, 2.0, 3.0)] * 2


def test_clicks_that_were_removed_meanwhile_are_passed_by():
    clicks = [Click((float(n), 0.0, 0.0)) for n in range(3)]
    tour, _, shown, _ = tour_of(clicks)
    tour.next()
    tour.next()
    del clicks[1:]
    tour.next()
    assert shown == [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0)]


def test_without_clicks_nothing_moves():
    tour, work, shown, said = tour_of([])
    assert tour.next() is None
    work.segment_id = ""
    assert tour.next() is None
    assert shown == []
    assert said == ["The selected segment has no click to go to."] * 2
