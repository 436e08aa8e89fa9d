"""The page without a mouse, with a finger, in light and dark, in Debian's Chromium: make test-web."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright", reason="run make test-web")
from playwright.sync_api import Page, expect
from test_page_in_browser import PATIENCE, browser, download, milliliters, picture, served, status, until_volume

from sammed3d.core import prompt_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
__all__ = ["browser", "served"]
SLICE = 3.0
"""From one slice of the sample to the next, mm."""


@pytest.fixture(scope="module")
def page(served, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme="light")
    page.goto(served.address)
    page.wait_for_selector("#sample", timeout=PATIENCE)
    return page


def tab_to(page: Page, selector: str, most: int = 60) -> None:
    for _ in range(most):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{selector} is not reached by {most} times Tab")


def press(page: Page, key: str, count: int) -> None:
    for _ in range(count):
        page.keyboard.press(key)


def crosshair(page: Page) -> tuple[float, float]:
    box = page.locator("#crosshair").bounding_box()
    return box["x"], box["y"]


def slice_value(page: Page) -> float:
    return float(page.locator(".slice-slider [role=slider]").first.get_attribute("aria-valuenow"))


def until_slice(page: Page, place: float) -> None:
    """Wait until the first slice view shows the slice at a place."""
    end = time.monotonic() + PATIENCE / 1000
    while slice_value(page) != pytest.approx(place):
        assert time.monotonic() < end, f"the slice at {slice_value(page)} mm is shown, not that at {place} mm"
        page.wait_for_timeout(50)


def test_a_kidney_by_keys_alone(page):
    """From the sample to a corrected mask, and every place on the way shows where the focus is."""
    tab_to(page, "#sample")
    page.keyboard.press("Enter")
    expect(page.locator("#opened")).to_have_text("ct_abdomen", timeout=PATIENCE)
    page.wait_for_timeout(1500)
    tab_to(page, ".remote-controlled-area")
    border = page.evaluate("getComputedStyle(document.activeElement, '::after').border")
    assert border.startswith("3px solid"), "over the image, where an outline would be under it"
    expect(page.locator("*:focus")).to_have_accessible_name("Coronal slice view")
    expect(page.locator("*:focus")).to_have_accessible_description(re.compile("arrows move the crosshair", re.I))
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("Press P or N first", timeout=PATIENCE)
    page.keyboard.press("p")
    expect(page.locator("#positive")).to_have_attribute("aria-pressed", "true")
    press(page, "ArrowRight", 8)
    before = crosshair(page)
    press(page, "ArrowUp", 6)
    press(page, "Shift+ArrowUp", 5)
    assert crosshair(page) == pytest.approx((before[0], before[1] - 53), abs=1)
    page.keyboard.press("Enter")
    first = until_volume(page, None)
    press(page, "Shift+ArrowUp", 1)
    heard = re.compile(r"^[RL] \d+, [AP] \d+, [SI] \d+ mm: value -?\d+, Segment_1, a positive click\.$")
    expect(page.locator("#spoken")).to_have_text(heard, timeout=PATIENCE)
    press(page, "Shift+ArrowDown", 1)
    assert first > 5
    picture(page, "browser-keyboard")
    press(page, "ArrowDown", 2)
    page.keyboard.press(" ")
    assert until_volume(page, first) is not None
    second = milliliters(page)[0]
    page.keyboard.press("u")
    assert until_volume(page, second) == first


def test_page_keys_change_the_slice(page):
    here = slice_value(page)
    press(page, "PageDown", 3)
    until_slice(page, here + 3 * SLICE)
    press(page, "PageUp", 3)
    until_slice(page, here)


def stroke(page: Page, begin: str, *keys: str, end: str = "") -> None:
    """Put the brush down, move it and perhaps lift it."""
    page.keyboard.press(begin)
    expect(page.locator("#status")).to_contain_text("The brush is down")
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_timeout(40)  # as fast as a key repeats
    if end:
        page.keyboard.press(end)
        expect(page.locator("#status")).to_contain_text("The brush is up")


def test_strokes_are_painted_and_erased_by_keys(page):
    known = milliliters(page)[0]
    tab_to(page, ".remote-controlled-area")
    page.keyboard.press("2")
    expect(page.locator("#paint")).to_have_attribute("aria-pressed", "true")
    press(page, "ArrowRight", 9)
    page.keyboard.press(" ")
    dab = until_volume(page, known) - known
    stroke(page, "Enter", *["ArrowDown"] * 5, "Shift+ArrowDown", *["ArrowLeft"] * 5, end="Enter")
    painted = until_volume(page, known + dab)
    assert painted - known > 5 * dab, "one stroke, along all that the crosshair passed"
    page.keyboard.press("4")
    expect(page.locator("#erase")).to_have_attribute("aria-pressed", "true")
    stroke(page, "Enter", *["ArrowUp"] * 5, end="Enter")
    erased = until_volume(page, painted)
    assert erased < painted
    for before, now in ((erased, painted), (painted, known + dab), (known + dab, known)):
        page.keyboard.press("u")
        assert until_volume(page, before) == pytest.approx(now), "strokes are undone one by one"


def test_a_stroke_is_dropped_and_other_keys_wait_for_its_end(page):
    known = milliliters(page)[0]
    page.keyboard.press("2")
    stroke(page, "Enter", *["ArrowRight"] * 4)
    assert page.locator("#crosshair.held").count() == 1
    picture(page, "browser-brush-by-keys")
    page.keyboard.press("u")
    expect(page.locator("#status")).to_have_text("Let go first, with Enter.")
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("The stroke is dropped.")
    page.wait_for_timeout(1000)
    assert milliliters(page)[0] == known
    stroke(page, "Enter", *["ArrowLeft"] * 4, end="PageDown")
    assert until_volume(page, known) > known, "a stroke ends before the slice changes"
    page.keyboard.press("PageUp")
    painted = milliliters(page)[0]
    page.keyboard.press("u")
    assert until_volume(page, painted) == known


def test_the_space_bar_is_the_button_and_two_arrows_go_across(page):
    known, before = milliliters(page)[0], crosshair(page)
    page.keyboard.down(" ")
    expect(page.locator("#status")).to_contain_text("The brush is down")
    page.keyboard.down("ArrowRight")
    page.keyboard.down("ArrowDown")
    page.keyboard.up("ArrowRight")
    page.keyboard.press("ArrowUp")
    page.keyboard.up("ArrowDown")
    page.keyboard.up(" ")
    assert crosshair(page) == pytest.approx((before[0] + 16, before[1] + 8), abs=1)
    painted = until_volume(page, known)
    assert painted > known
    size = page.locator("text=/^\\d+ mm$/").first
    expect(size).to_have_text("10 mm")
    page.keyboard.press("+")
    expect(size).to_have_text("12 mm")
    page.keyboard.press("-")
    expect(size).to_have_text("10 mm")
    page.keyboard.press("u")
    assert until_volume(page, painted) == known
    page.keyboard.press("Escape")
    expect(page.locator("#paint")).to_have_attribute("aria-pressed", "false")


def changes(page: Page, view, key: str) -> bool:
    """Whether a key changes what a view shows."""
    page.wait_for_timeout(1500)
    before = view.screenshot()
    page.keyboard.press(key)
    page.wait_for_timeout(1500)
    return view.screenshot() != before


def test_the_3d_view_is_turned_by_keys(page):
    solid = page.locator(".remote-controlled-area[aria-label^='3-D']")
    solid.focus()
    for key in ("ArrowRight", "ArrowDown", "PageUp", "Shift+ArrowLeft"):
        assert changes(page, solid, key), key
    page.locator(".remote-controlled-area").first.focus()


def test_a_click_is_deleted_at_the_crosshair(page):
    known = milliliters(page)[0]
    page.keyboard.press("Home")
    press(page, "ArrowRight", 8)
    press(page, "ArrowUp", 6)
    press(page, "Shift+ArrowUp", 5)
    page.wait_for_timeout(500)
    page.keyboard.press("Delete")
    assert until_volume(page, known) is None


def box_of_prompts(page: Page, folder: Path) -> np.ndarray:
    prompts, *_ = prompt_files.read(download(page, "prompts-json", folder))
    return np.subtract(prompts.box.end, prompts.box.begin)


def test_a_box_by_keys_and_with_a_handle_dragged(page, tmp_path):
    page.keyboard.press("b")
    expect(page.locator("#box")).to_have_attribute("aria-pressed", "true")
    picture(page, "browser-box")
    tab_to(page, "#use-box", 80)
    page.keyboard.press("Enter")
    by_keys = until_volume(page, None)
    expect(page.locator("#use-box")).to_be_disabled()
    whole = box_of_prompts(page, tmp_path)
    assert whole == pytest.approx((122, 101, 112), abs=1), "a third of the image"
    page.keyboard.press("u")
    assert until_volume(page, by_keys) is None
    page.keyboard.press("b")
    page.wait_for_timeout(1500)
    view = page.locator(".remote-controlled-area").first.bounding_box()
    x, y = view["x"] + view["width"] / 2 + 57.5, view["y"] + view["height"] / 2 - 2
    page.mouse.move(x - 20, y)
    page.mouse.move(x, y, steps=5)
    page.wait_for_timeout(500)
    page.mouse.down()
    page.mouse.move(x - 30, y, steps=8)
    page.wait_for_timeout(500)
    page.mouse.up()
    page.click("#use-box")
    until_volume(page, None)
    dragged = box_of_prompts(page, tmp_path)
    assert dragged[0] < whole[0] - 15
    assert dragged[1:] == pytest.approx(whole[1:], abs=1)


def test_a_handle_is_dragged_by_keys(page, tmp_path):
    known = milliliters(page)[0]
    page.keyboard.press("u")
    assert until_volume(page, known) is None
    page.keyboard.press("b")
    expect(page.locator("#box")).to_have_attribute("aria-pressed", "true")
    view = page.locator(".remote-controlled-area").first
    middle = view.bounding_box()
    page.mouse.move(middle["x"] + middle["width"] / 2, middle["y"] + middle["height"] / 2)  # the crosshair begins there
    page.mouse.move(5, 5)
    view.focus()
    press(page, "ArrowRight", 7)
    press(page, "Shift+ArrowRight", 2)
    press(page, "Shift+ArrowUp", 2)
    page.wait_for_timeout(800)
    page.keyboard.press("Shift+Enter")
    page.wait_for_timeout(300)
    press(page, "ArrowLeft", 4)
    page.wait_for_timeout(500)
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    tab_to(page, "#use-box", 80)
    page.keyboard.press("Enter")
    until_volume(page, None)
    across, front, high = box_of_prompts(page, tmp_path)
    assert across < 122 - 15
    assert (front, high) == pytest.approx((101, 112), abs=1)


def test_slices_are_zoomed_by_keys(page):
    view = page.locator(".remote-controlled-area").first
    view.focus()
    page.keyboard.press("Home")
    here = slice_value(page)
    assert changes(page, view, "Shift+PageUp")
    picture(page, "browser-zoom")
    assert changes(page, view, "Shift+PageDown")
    assert slice_value(page) == here


def test_the_theme_is_the_systems_until_somebody_chooses(page):
    theme = page.locator(".v-application")
    expect(theme).to_have_class(re.compile("v-theme--light"))
    page.emulate_media(color_scheme="dark")
    expect(theme).to_have_class(re.compile("v-theme--dark"))
    tab_to(page, "#theme", 80)
    page.keyboard.press("Enter")
    expect(theme).to_have_class(re.compile("v-theme--light"))
    page.reload()
    page.wait_for_selector("#sample", timeout=PATIENCE)
    expect(theme).to_have_class(re.compile("v-theme--light"))


def test_a_finger_places_clicks_and_finds_buttons_large_enough(served, browser):
    context = browser.new_context(viewport={"width": 1024, "height": 768}, has_touch=True, color_scheme="dark")
    tablet = context.new_page()
    tablet.goto(served.address)
    tablet.wait_for_selector("#sample", timeout=PATIENCE)
    tablet.wait_for_timeout(1500)
    small = tablet.evaluate(
        """() => [...document.querySelectorAll("button, a.v-btn, #segments input")]
            .map((each) => [each.id || each.title, each.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.width < 40 || box.height < 40)).map(([name]) => name)"""
    )
    assert small == []
    assert tablet.evaluate("document.documentElement.scrollWidth") <= 1024
    known = milliliters(tablet)[0]
    tablet.tap("#reset")
    assert known is None or until_volume(tablet, known) is None
    tablet.tap("#positive")
    expect(tablet.locator("#positive")).to_have_attribute("aria-pressed", "true")
    box = tablet.locator(".remote-controlled-area").first.bounding_box()
    tablet.touchscreen.tap(box["x"] + box["width"] / 2 - 61, box["y"] + box["height"] / 2 - 70)  # the right kidney
    assert until_volume(tablet, None) > 5
    assert "ms" in status(tablet)
    tablet.wait_for_timeout(1500)  # what is drawn comes after what is told
    picture(tablet, "browser-tablet")
    context.close()


def test_a_segment_is_removed_after_a_question_and_caps_lock_changes_no_key(page):
    rows = page.locator("#segments .v-list-item")
    questions, answers = [], iter([False, False, True])

    def answer(dialog):
        questions.append(dialog.message)
        dialog.accept() if next(answers) else dialog.dismiss()

    page.on("dialog", answer)
    before, name = milliliters(page)[0], page.locator("#segments .name").first.inner_text()
    rows.first.click()
    page.locator("body").dispatch_event("keydown", {"key": "D", "shiftKey": False})  # d with Caps Lock: no key of ours
    page.locator("body").dispatch_event("keydown", {"key": "U", "shiftKey": False})
    assert until_volume(page, before) != before, "undone"
    page.locator("body").dispatch_event("keydown", {"key": "u", "shiftKey": True})
    assert until_volume(page, milliliters(page)[0]) == before, "redone"
    page.keyboard.press("Shift+D")
    page.locator("#segments button[title=Remove]").first.click()
    expect(rows.first.locator(".name")).to_have_text(name)
    assert questions == 2 * [f"Remove {name} with its clicks? That cannot be undone."]
    page.keyboard.press("Shift+D")
    expect(rows.first.locator(".ml")).not_to_contain_text("ml", timeout=PATIENCE)


def test_j_brings_each_click_under_the_crosshair(page):
    """From anywhere, a click is found and removed without looking."""
    page.on("dialog", lambda dialog: dialog.accept())
    page.set_viewport_size({"width": 1280, "height": 720})
    page.click("#sample")
    expect(page.locator("#segments .ml")).to_have_text("", timeout=PATIENCE)
    page.wait_for_timeout(1500)
    page.locator(".remote-controlled-area").first.focus()
    page.keyboard.press("Home")
    page.keyboard.press("p")
    expect(page.locator("#positive")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Enter")
    until_volume(page, None)
    press(page, "PageDown", 3)
    press(page, "ArrowLeft", 5)
    page.wait_for_timeout(1500)
    page.keyboard.press("j")
    expect(page.locator("#status")).to_have_text("Click 1 of 1, positive, is in the middle of the slice views.")
    heard = re.compile(r"value -?\d+, .*, a positive click\.$")
    expect(page.locator("#spoken")).to_have_text(heard, timeout=PATIENCE)
    page.keyboard.press("Escape")  # places no more clicks
    page.wait_for_timeout(1500)
    page.keyboard.press("Delete")
    expect(page.locator("#segments .ml")).to_have_text("", timeout=PATIENCE)
    page.keyboard.press("j")
    expect(page.locator("#status")).to_have_text("The selected segment has no click to go to.")
