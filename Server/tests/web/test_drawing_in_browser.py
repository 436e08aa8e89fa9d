"""Scribbles and lassos on the page, by mouse, stylus and keys, in Debian's Chromium: make test-web."""

from __future__ import annotations

import math
import zipfile

import pytest

pytest.importorskip("playwright", reason="run make test-web")
from playwright.sync_api import Page, expect
from test_page_in_browser import (
    PATIENCE,
    browser,
    download,
    picture,
    served,
    slice_views,
    status,
    troubles,
    until_volume,
    watched_page,
)

from sammed3d.core import prompt_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
__all__ = ["browser", "served", "troubles"]


@pytest.fixture(scope="module")
def page(served, browser, troubles):
    page = watched_page(browser, troubles)
    page.goto(served.address)
    page.wait_for_selector("#sample", timeout=PATIENCE)
    page.click("#sample")
    expect(page.locator("#opened")).to_have_text("ct_abdomen", timeout=PATIENCE)
    page.wait_for_timeout(1500)
    return page


def kidney(page: Page) -> tuple[float, float]:
    """The left one, in the coronal view."""
    coronal, _, _ = slice_views(page)
    return coronal[0] + 66, coronal[1] - 53


def drag(page: Page, places: list[tuple[float, float]]) -> None:
    """Draw with the mouse."""
    page.mouse.move(*places[0], steps=2)
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
        page.wait_for_timeout(30)
    page.mouse.up()


def circle(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    turns = [n * math.pi / 9 for n in range(18)]
    return [(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns]


def listed(page: Page) -> list[str]:
    return page.locator("#drawings button[title='Go there']").all_inner_texts()


def test_a_stroke_and_a_loop_with_the_mouse(page, troubles, tmp_path):
    x, y = kidney(page)
    page.click("#scribble")
    expect(page.locator("#scribble")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#status")).to_have_text("Hold the left button in a slice view and draw along the structure.")
    drag(page, [(x - 10 + n, y + 2 * n) for n in range(0, 20, 2)])
    stroke = until_volume(page, None)
    assert stroke > 5
    assert listed(page) == ["1: scribble +"]
    page.keyboard.press("Shift+L")
    expect(page.locator("#lasso")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#negative-drawing")).to_be_checked()
    drag(page, circle(x + 12, y + 20, 8))
    both = until_volume(page, stroke)
    assert both < stroke
    assert " ms (" in status(page)
    picture(page, "browser-drawings")
    page.locator("#drawings button[title=Remove]").last.click()
    assert until_volume(page, both) == stroke
    assert listed(page) == ["1: scribble +"]
    page.keyboard.press("u")
    assert until_volume(page, stroke) == both
    expect(page.locator("#drawings button[title=Remove]")).to_have_count(2)
    [prompts] = prompt_files.read(download(page, "prompts-json", tmp_path))
    assert [(drawing.kind, drawing.positive) for drawing in prompts.drawings] == [("scribble", True), ("lasso", False)]
    assert [len(drawing.points) for drawing in prompts.drawings] == [10, 18], "all places, however busy the server is"
    with zipfile.ZipFile(download(page, "mrb", tmp_path)) as archive:
        names = " ".join(archive.namelist())
    assert "Segment_1 scribble.mrk.json" in names.replace("%20", " ")
    assert "Segment_1 lasso.mrk.json" in names.replace("%20", " ")
    assert troubles == []


def test_the_3d_view_turns_while_somebody_draws(page):
    solid = page.locator(".remote-controlled-area[aria-label^='3-D']")
    box = solid.bounding_box()
    page.wait_for_timeout(1500)
    before, x, y = solid.screenshot(), box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    drag(page, [(x + n, y) for n in range(0, 80, 8)])
    page.wait_for_timeout(1500)
    assert solid.screenshot() != before
    assert len(listed(page)) == 2


def test_what_is_drawn_need_not_hold(page, tmp_path):
    page.click("#honour")
    page.wait_for_function("!document.querySelector('#status').innerText.includes('...')", timeout=PATIENCE)
    expect(page.locator("#honour")).not_to_be_checked()
    page.wait_for_timeout(1000)
    [prompts] = prompt_files.read(download(page, "prompts-json", tmp_path))
    assert not prompts.honour
    page.keyboard.press("u")
    expect(page.locator("#honour")).to_be_checked(timeout=PATIENCE)


def test_a_loop_that_is_none_is_said_and_clicks_end_drawing(page):
    x, y = kidney(page)
    drag(page, [(x + 60, y)])
    expect(page.locator("#status")).to_have_text("A lasso needs at least 3 points, not 1.", timeout=PATIENCE)
    expect(page.locator("#lasso")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("t")
    expect(page.locator("#negative-drawing")).not_to_be_checked()
    page.keyboard.press("p")
    expect(page.locator("#positive")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#lasso")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("s")
    expect(page.locator("#positive")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("2")
    expect(page.locator("#scribble")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Escape")
    expect(page.locator("#paint")).to_have_attribute("aria-pressed", "false")


def test_a_stroke_by_keys_is_drawn_and_dropped(page):
    page.keyboard.press("e")
    page.keyboard.press("e")  # so that an empty segment is first
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#segments button[title=Remove]").first.click()
    expect(page.locator("#segments .v-list-item")).to_have_count(2)
    expect(page.locator("#drawings")).to_have_count(0)
    view = page.locator(".remote-controlled-area").first
    x, y = kidney(page)
    page.mouse.move(x, y)
    page.mouse.move(5, 5)
    view.focus()
    page.keyboard.press("s")
    expect(page.locator("#scribble")).to_have_attribute("aria-pressed", "true")
    for end in ("Escape", "Enter"):
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_contain_text("The pen is down")
        for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
            page.keyboard.press(key)
            page.wait_for_timeout(40)
        page.keyboard.press(end)
        if end == "Escape":
            expect(page.locator("#status")).to_have_text("The stroke is dropped.")
            page.wait_for_timeout(1000)
            assert listed(page) == []
            page.mouse.move(x, y)
            page.mouse.move(5, 5)
    assert until_volume(page, None) > 1
    assert listed(page) == ["1: scribble +"]


def test_a_finger_draws(served, browser):
    context = browser.new_context(viewport={"width": 1024, "height": 768}, has_touch=True)
    tablet = context.new_page()
    tablet.goto(served.address)
    tablet.wait_for_selector("#segments .ml", timeout=PATIENCE)
    tablet.wait_for_timeout(1500)
    known = until_volume(tablet, None)
    tablet.tap("#lasso")
    expect(tablet.locator("#lasso")).to_have_attribute("aria-pressed", "true")
    box = tablet.locator(".remote-controlled-area").first.bounding_box()
    x, y = box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2 - 45
    finger = context.new_cdp_session(tablet)
    for n, (at_x, at_y) in enumerate(circle(x, y, 12)):
        kind = "touchStart" if n == 0 else "touchMove"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": at_x, "y": at_y}]})
        tablet.wait_for_timeout(30)
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    drawn = until_volume(tablet, known)
    assert listed(tablet) == ["1: scribble +", "2: lasso +"]
    tablet.tap("#undo")
    assert until_volume(tablet, drawn) == known
    context.close()


def test_a_stylus_draws(page, troubles):
    x, y = kidney(page)
    known = until_volume(page, None)
    page.keyboard.press("Shift+S")
    expect(page.locator("#negative-drawing")).to_be_checked()
    stylus = page.context.new_cdp_session(page)
    for kind, buttons, dx in [
        ("mousePressed", 1, 0),
        *(("mouseMoved", 1, n) for n in range(3, 30, 3)),
        ("mouseReleased", 0, 30),
    ]:
        stylus.send(
            "Input.dispatchMouseEvent",
            {
                "type": kind,
                "x": x - 15 + dx,
                "y": y + 10,
                "button": "left",
                "buttons": buttons,
                "clickCount": 1,
                "pointerType": "pen",
            },
        )
        page.wait_for_timeout(30)
    until_volume(page, known)
    assert listed(page) == ["1: scribble +", "2: scribble -"]
    assert troubles == []
