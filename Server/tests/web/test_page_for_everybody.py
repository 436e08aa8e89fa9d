"""The page for those who see it large, narrow, in few colours or not at all, in Debian's Chromium: make test-web."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="run make test-web")
from playwright.sync_api import Page, expect
from test_page_by_keyboard import page
from test_page_in_browser import PATIENCE, browser, served, slice_views, until_volume

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
__all__ = ["browser", "page", "served"]
CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")
"""Function that returns the texts whose contrast is below 4.5."""
COLOUR = "each => getComputedStyle(each).backgroundColor"
FITS = "each => each.scrollWidth <= each.clientWidth || getComputedStyle(each).display === 'inline'"


def look(page: Page, name: str) -> str:
    """How a style of the element that has the focus, or of a part of it, is computed."""
    return page.evaluate(f"getComputedStyle(document.activeElement, '::after').{name}")


def test_what_can_do_nothing_yet_is_not_reached_by_keys(page):
    expect(page.locator("#downloads .v-btn--disabled")).to_have_count(5)
    expect(page.locator("#downloads a")).to_have_count(0)


def test_the_page_has_no_scroll_bar_and_may_be_enlarged_by_fingers(page):
    assert page.evaluate("document.documentElement.scrollHeight === innerHeight")
    assert "scale=1," not in page.locator("meta[name=viewport]").get_attribute("content")


def test_each_view_segment_and_button_of_it_has_a_name_of_its_own(page):
    page.click("#sample")
    expect(page.locator("#opened")).to_have_text("ct_abdomen", timeout=PATIENCE)
    for plane in ("Coronal", "Sagittal", "Axial"):
        expect(page.get_by_role("application", name=f"{plane} slice view")).to_have_count(1)
    expect(page.get_by_role("application", name="3-D view")).to_have_count(1)
    page.keyboard.press("e")
    rows = page.locator("#segments .v-list-item")
    expect(rows).to_have_count(2, timeout=PATIENCE)
    for name in ("Segment_1", "Segment_2"):
        for button in ("Show or hide", "Rename", "Go there", "Remove"):
            expect(page.get_by_role("button", name=f"{button} {name}")).to_have_count(1)
        expect(page.get_by_role("textbox", name=f"Colour {name}")).to_have_count(1)
    expect(page.locator("#segments [aria-current=true]")).to_contain_text("Segment_2")
    rows.first.locator(".name").click()
    expect(page.locator("#segments [aria-current=true]")).to_contain_text("Segment_1", timeout=PATIENCE)
    expect(page.locator("#segments [aria-current=true]")).to_have_count(1)


def test_a_tab_has_its_own_panel_and_colours(page, served):
    panel, theme = page.locator("#panel"), page.locator(".v-application")
    expect(panel).to_be_in_viewport()
    other = page.context.browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme="light")
    other.goto(served.address)
    other.wait_for_selector("#sample", timeout=PATIENCE)
    other.click("#theme")
    expect(other.locator(".v-application")).to_have_class(re.compile("v-theme--dark"))
    other.set_viewport_size({"width": 500, "height": 720})
    expect(other.locator("#panel")).not_to_be_in_viewport()
    other.keyboard.press("h")  # what comes after it in the order of messages
    expect(page.get_by_label("Show clicks")).not_to_be_checked(timeout=PATIENCE)
    other.close()
    page.keyboard.press("h")
    expect(panel).to_be_in_viewport()
    expect(theme).to_have_class(re.compile("v-theme--light"))


def test_escape_leaves_a_name_as_it_was(page):
    first = page.locator("#segments .v-list-item").first
    for key, left in (("Escape", "Segment_1"), ("Enter", "left kidney"), ("Escape", "left kidney")):
        first.locator("button[title=Rename]").click()
        expect(page.locator("#segments input[type=text]")).to_be_focused()
        page.keyboard.press("Control+A")
        page.keyboard.type("left kidney" if key == "Enter" else "mistyped")
        page.keyboard.press(key)
        expect(page.locator("#segments input[type=text]")).to_have_count(0)
        first.locator(".name").click()
        page.wait_for_timeout(500)  # whatever else were to come of it
        expect(first.locator(".name")).to_have_text(left, timeout=PATIENCE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_words_stand_out_from_what_is_behind_them(page, scheme):
    page.emulate_media(color_scheme=scheme)
    expect(page.locator(f".v-application.v-theme--{scheme}")).to_have_count(1, timeout=PATIENCE)
    for button in ("positive", "negative", "scribble", "lasso", "paint"):
        page.click(f"#{button}")
        expect(page.locator(f"#{button}")).to_have_attribute("aria-pressed", "true", timeout=PATIENCE)
        page.mouse.move(2, 2)
        page.wait_for_timeout(500)  # colours fade in
        assert page.evaluate(CONTRAST) == []
    page.click("#paint")
    expect(page.locator("#paint")).to_have_attribute("aria-pressed", "false", timeout=PATIENCE)
    page.emulate_media(color_scheme="light")


def test_in_the_systems_own_colours_it_is_seen_what_is_chosen_and_where_the_crosshair_is(page):
    page.emulate_media(forced_colors="active")
    page.click("#negative")
    expect(page.locator("#negative")).to_have_attribute("aria-pressed", "true", timeout=PATIENCE)
    page.mouse.move(2, 2)
    page.wait_for_timeout(500)
    assert page.locator("#positive").evaluate(COLOUR) != page.locator("#negative").evaluate(COLOUR)
    rows = page.locator("#segments .v-list-item").all()
    assert [row.evaluate("each => getComputedStyle(each).outlineStyle") for row in rows] == ["solid", "none"]
    page.locator(".remote-controlled-area").first.focus()
    page.keyboard.press("ArrowRight")
    assert look(page, "borderTopColor") == "rgb(47, 127, 230)"
    line = page.evaluate("getComputedStyle(document.getElementById('crosshair'), '::before').backgroundColor")
    assert line == "rgb(255, 214, 10)"
    page.emulate_media(forced_colors="none")
    page.click("#negative")


def test_with_letters_of_twice_the_size_the_panel_shows_all_that_it_has(page):
    page.evaluate("document.documentElement.style.fontSize = '32px'")
    panel = page.locator("#panel").bounding_box()
    for widget in page.locator("#panel button:visible, #panel .v-label:visible").all():
        if widget.evaluate("each => each.closest('#segments') === null"):
            box = widget.bounding_box()
            assert box["x"] >= panel["x"]
            assert box["x"] + box["width"] <= panel["x"] + panel["width"]
            assert box["height"] < 100, "no letter stands alone"
    page.evaluate("document.documentElement.style.fontSize = ''")


def test_in_the_narrowest_window_it_is_seen_which_views_are_shown(page):
    page.set_viewport_size({"width": 320, "height": 568})
    expect(page.locator("header .v-select")).to_have_count(0)
    page.click("[aria-label='Show or hide the panel']")
    for shown in ("Quad View", "Abdomen"):
        words = page.locator("#panel").get_by_text(shown, exact=True)
        expect(words).to_be_in_viewport(timeout=PATIENCE)
        assert words.evaluate(FITS)
    page.set_viewport_size({"width": 1280, "height": 720})
    expect(page.locator("header .v-select")).to_have_count(2)


def test_a_finger_on_a_small_screen_opens_the_panel_and_clicks(served, browser):
    context = browser.new_context(viewport={"width": 375, "height": 667}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(served.address)
    page.wait_for_selector("#sample", state="attached", timeout=PATIENCE)
    page.wait_for_timeout(1500)
    if page.locator("#sample").evaluate("each => each.getBoundingClientRect().x < 0"):
        page.tap("[aria-label='Show or hide the panel']")
    page.tap("#sample")
    expect(page.locator("#opened")).to_have_text("ct_abdomen", timeout=PATIENCE)
    page.tap("#positive")
    expect(page.locator("#positive")).to_have_attribute("aria-pressed", "true", timeout=PATIENCE)
    page.tap("[aria-label='Show or hide the panel']")
    page.wait_for_timeout(1500)
    coronal, _, _ = slice_views(page)
    page.touchscreen.tap(coronal[0] + 20, coronal[1] - 20)
    assert until_volume(page, None) > 0
    context.close()
