"""Which view is drawn when."""

import asyncio

from sammed3d.web import rendering
from sammed3d.web.rendering import Calm, Turns


def drawn(story, monkeypatch, patience=0.5):
    """Run a story (of views by name and what is so) and return in which order views were drawn."""
    monkeypatch.setattr(rendering, "PAUSE", 0.02)
    monkeypatch.setattr(rendering, "PATIENCE", patience)
    order, now = [], {"under the mouse": "axial", "predicting": False}

    def turns(name):
        return Turns(lambda: order.append(name), lambda: now["under the mouse"] == name, lambda: now["predicting"])

    views = {name: turns(name) for name in ("sagittal", "axial", "3-D")}
    asyncio.run(story(views, now, order))
    return order


def test_the_view_under_the_mouse_is_first_and_each_is_drawn_once(monkeypatch):
    async def story(views, now, order):
        for _ in range(3):
            for view in views.values():
                view.ask()
        assert order == ["axial"] * 3
        await asyncio.sleep(0.2)

    assert drawn(story, monkeypatch) == ["axial"] * 3 + ["sagittal", "3-D"]


def test_the_others_wait_for_a_prediction_but_not_for_ever(monkeypatch):
    async def story(views, now, order):
        now["predicting"] = True
        views["sagittal"].ask()
        await asyncio.sleep(0.1)
        assert order == []
        now["predicting"] = False
        await asyncio.sleep(0.1)
        assert order == ["sagittal"]
        views["sagittal"].ask()
        await asyncio.sleep(0.1)

    assert drawn(story, monkeypatch, patience=60) == ["sagittal"] * 2

    async def long(views, now, order):
        now["predicting"] = True
        views["3-D"].ask()
        await asyncio.sleep(0.4)

    assert drawn(long, monkeypatch, patience=0.1) == ["3-D"]


def test_before_the_page_is_served_nothing_waits():
    order = []
    Turns(lambda: order.append("axial"), lambda: False, lambda: True).ask()
    assert order == ["axial"]


def test_the_page_is_left_as_it_is_in_the_first_moments_of_a_prediction(monkeypatch):
    now, predicting = [100.0], [False]
    monkeypatch.setattr(rendering.time, "monotonic", lambda: now[0])
    calm = Calm(lambda: predicting[0])
    for after, busy, expected in (
        (0, False, False),
        (1, True, True),
        (0.3, True, True),
        (0.2, True, False),
        (5, True, False),
        (1, False, False),
        (1, True, True),
        (0.1, False, False),
    ):
        now[0], predicting[0] = now[0] + after, busy
        assert calm.lasts is expected
