"""What the page says while its server is silent or gone, by its own script alone: make test-web."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="run make test-web")
from playwright.sync_api import Page, expect
from test_page_in_browser import browser

from sammed3d import web

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
__all__ = ["browser"]
SCRIPT = Path(web.__file__).with_name("static") / "connection.js"
ADDRESS = "http://page.example/"
TRAME = """
window.trame = {
  asked: [], closed: [],
  state: { get: (name) => ({ shared: SHARED })[name] },
  client: { isConnected: () => true, onConnectionClose: (then) => window.trame.closed.push(then) },
  trigger: (name) => new Promise((answer) => window.trame.asked.push([name, answer])),
};
"""


@pytest.fixture(params=[False, True], ids=["view", "serve-view"])
def page(browser, request):
    """A page with the script alone, whose time is the test's, and which counts how often it was opened."""
    page = browser.new_page()
    page.clock.install()
    shared = str(request.param).lower()
    script = SCRIPT.read_text(encoding="utf-8")
    html = f"<!doctype html><body><script>{TRAME.replace('SHARED', shared)}</script><script>{script}</script>"
    page.opened, page.status, page.shared = 0, 200, request.param

    def answer(route):
        if route.request.is_navigation_request():
            page.opened += 1
            route.fulfill(content_type="text/html", body=html)
        elif page.status:
            route.fulfill(status=page.status)
        else:
            route.abort()

    page.route("**/*", answer)
    page.goto(ADDRESS)
    page.clock.run_for(300)
    yield page
    page.close()


def asked(page: Page) -> list[str]:
    return page.evaluate("window.trame.asked.map(([name]) => name)")


def test_a_server_that_answers_is_not_spoken_of(page):
    assert asked(page) == []
    page.keyboard.press("p")
    assert asked(page) == ["alive"]
    page.mouse.click(5, 5)
    assert asked(page) == ["alive"], "asked once until it answers"
    page.evaluate("window.trame.asked[0][1]()")
    page.clock.run_for(60_000)
    expect(page.locator("#silence")).to_have_count(0)
    page.mouse.click(5, 5)
    assert asked(page) == ["alive", "alive"]
    assert page.opened == 1


def test_a_silent_server_is_told_until_it_answers(page):
    page.status = 0
    page.mouse.click(5, 5)
    page.clock.run_for(4000)
    expect(page.locator("#silence")).to_have_count(0)
    page.clock.run_for(2000)
    expect(page.get_by_role("alert")).to_have_text(
        "The server has not answered for 6 s. What you do here waits until it does."
    )
    page.clock.run_for(20_000)
    expect(page.locator("#silence")).to_contain_text("for 26 s")
    page.evaluate("window.trame.asked[0][1]()")
    expect(page.locator("#silence")).to_have_count(0)
    assert page.opened == 1


@pytest.mark.parametrize("event", ["online", "pointerdown"])
def test_a_connection_that_broke_without_a_word_is_made_anew(page, event):
    """As when a computer slept: the address answers, and what was asked does not come back."""
    page.evaluate(f"document.body.dispatchEvent(new Event('{event}', {{ bubbles: true }}))")
    assert asked(page) == ["alive"]
    page.clock.run_for(14_000)
    assert page.opened == 1
    with page.expect_navigation():
        page.clock.run_for(2000)
    assert page.opened == 2


@pytest.mark.parametrize("gone", [0, 502])
def test_a_connection_that_was_closed_is_told_and_comes_back(page, gone):
    page.status = gone
    page.evaluate("window.trame.closed.forEach((then) => then())")
    remedy = (
        "ask whoever runs it." if page.shared else "start sammed3d view again, and open the address that it prints."
    )
    expect(page.get_by_role("alert")).to_have_text(
        f"The connection to the server is lost. The page comes back by itself; if it does not, {remedy}"
    )
    page.clock.run_for(10_000)
    assert page.opened == 1
    page.status = 403  # the page tells why it has ended
    with page.expect_navigation():
        page.clock.run_for(5000)
    assert page.opened == 2
