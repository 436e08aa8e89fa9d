"""Keys, questions, files and colours of the page, by its own script alone: make test-web."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="run make test-web")
from playwright.sync_api import Page, expect
from test_page_in_browser import browser

from sammed3d import web

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
__all__ = ["browser"]
SCRIPT = (Path(web.__file__).with_name("static") / "sammed3d.js").read_text(encoding="utf-8")
ADDRESS = "http://page.example/"
HTML = """<!doctype html><meta name=viewport content="maximum-scale=1"><body>
<input type=text id=text><input type=checkbox id=check><input type=file id=upload multiple>
<button id=theme>Theme</button><button id=sample>Sample</button>
<div id=segments><button title=Remove>1</button><button title=Remove>2</button></div>
<script>
window.called = [];
const values = { keys: ["p", "U", "D", "Escape"], dark: true, shared: false, at_stake: false, segment_id: "b",
  segments: [{ id: "a", name: "Liver", ml: 1.5 }, { id: "b", name: "Spleen", ml: null }] };
window.trame = {
  state: { get: (name) => values[name], set: (name, value) => { values[name] = value; }, watch: () => {} },
  trigger: (name, what) => window.called.push([name, ...what]),
};
const removed = (event) => window.called.push(["removed", event.target.innerText]);
document.querySelector("#segments").addEventListener("click", removed);
</script><script>SCRIPT</script>"""


@pytest.fixture
def page(browser):
    page = browser.new_page(color_scheme="light")
    page.clock.install()
    page.questions, page.agree, page.uploads = [], True, []

    def decide(dialog):
        page.questions.append(dialog.message)
        dialog.accept() if page.agree else dialog.dismiss()

    page.on("dialog", decide)
    page.route(ADDRESS, lambda route: route.fulfill(content_type="text/html", body=HTML.replace("SCRIPT", SCRIPT)))
    page.goto(ADDRESS)
    page.clock.run_for(300)
    yield page
    page.close()


def called(page: Page) -> list[list[str]]:
    return page.evaluate("window.called.splice(0)")


def keydown(page: Page, **event: object) -> None:
    page.evaluate(
        "event => document.body.dispatchEvent(new KeyboardEvent('keydown', event))", {"bubbles": True, **event}
    )


def test_a_key_is_the_letter_that_shift_makes_whatever_caps_lock_says(page):
    for key, shift, action in (("p", False, "p"), ("P", False, "p"), ("u", True, "U"), ("U", True, "U")):
        keydown(page, key=key, shiftKey=shift)
        assert called(page) == [["key", action]]
    keydown(page, key="Escape", shiftKey=True)
    assert called(page) == [["key", "Escape"]]


@pytest.mark.parametrize("event", ["ctrlKey", "metaKey", "altKey", "repeat", "isComposing"])
def test_what_is_another_programs_or_still_held_is_no_key(page, event):
    keydown(page, key="p", **{event: True})
    keydown(page, key="x")
    assert called(page) == []


def test_keys_are_letters_where_somebody_types_and_keys_on_a_checkbox(page):
    page.focus("#text")
    page.keyboard.press("p")
    assert called(page) == []
    expect(page.locator("#text")).to_have_value("p")
    page.focus("#check")
    page.keyboard.press("p")
    assert called(page) == [["key", "p"]]


@pytest.mark.parametrize("agree", [True, False])
def test_a_segment_that_holds_something_is_removed_after_a_question_alone(page, agree):
    page.agree = agree
    page.click("#segments button >> nth=1")  # empty
    page.keyboard.press("Shift+D")
    assert called(page) == [["removed", "2"], ["key", "D"]]
    assert page.questions == []
    page.click("#segments button >> nth=0")
    page.evaluate("values.segment_id = 'a'")
    page.keyboard.press("Shift+D")
    assert called(page) == ([["removed", "1"], ["key", "D"]] if agree else [])
    assert page.questions == 2 * ["Remove Liver with its clicks? That cannot be undone."]


@pytest.mark.parametrize("agree", [True, False])
def test_what_could_be_lost_is_asked_for_before_the_sample_and_before_files(page, agree):
    sent = []
    page.route("**/upload", lambda route: (sent.append(route.request.post_data), route.fulfill(body="Opened.")))
    page.agree = agree
    file = {"name": "ct.nii", "mimeType": "", "buffer": b"voxels"}
    page.click("#sample")
    page.set_input_files("#upload", file)
    expect(page.locator("#upload")).to_have_value("")  # the same file can be chosen again
    assert called(page) == [["sample"]]
    assert len(sent) == 1
    assert page.questions == []
    page.evaluate("values.at_stake = true")
    page.click("#sample")
    page.set_input_files("#upload", file)
    expect(page.locator("#upload")).to_have_value("")
    assert called(page) == ([["sample"]] if agree else [])
    assert len(sent) == 1 + agree
    assert page.questions == 2 * ["Open another volume? Segments that were not downloaded are lost."]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 409, "content_type": "text/plain", "body": "Another one is read."}, "Another one is read."),
        (
            {"status": 500, "content_type": "text/plain", "body": 400 * "x"},
            "The server did not take the files (HTTP 500)",
        ),
        ({"status": 413, "content_type": "text/html", "body": "<p>"}, "The files are larger than the server takes."),
        ({"status": 422, "content_type": "text/plain", "body": "The page has said it."}, None),
        (None, "The files could not be sent."),
    ],
)
def test_why_files_were_not_taken_is_said(page, answer, words):
    page.route("**/upload", lambda route: route.fulfill(**answer) if answer else route.abort())
    page.set_input_files("#upload", {"name": "ct.nii", "mimeType": "", "buffer": b"voxels"})
    expect(page.locator("#upload")).to_have_value("")
    said = called(page)
    assert [name for name, _ in said] == ([] if words is None else ["say"])
    assert words is None or said[0][1].startswith(words)


def test_files_are_dropped_anywhere_and_words_are_not(page):
    sent = []
    page.route("**/upload", lambda route: (sent.append(route.request.post_data), route.fulfill(body="Opened.")))
    drop = """(type) => {
      const data = new DataTransfer();
      if (type === "file") data.items.add(new File(["voxels"], "ct.nii"));
      else data.setData("text/plain", "words");
      const dropped = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
      document.body.dispatchEvent(dropped);
      return dropped.defaultPrevented;
    }"""
    assert not page.evaluate(drop, "text")
    with page.expect_response("**/upload"):
        assert page.evaluate(drop, "file"), "else the browser would leave the page and show the file"
    assert 'filename="ct.nii"' in sent[0]
    assert len(sent) == 1


def test_light_or_dark_is_as_the_system_has_it_until_somebody_chooses(page):
    assert page.evaluate("values.dark") is False
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("values.dark === true")
    page.click("#theme")
    assert page.evaluate("values.dark") is False
    page.emulate_media(color_scheme="light")
    page.click("#theme")
    assert page.evaluate("values.dark") is True
    page.reload()
    page.clock.run_for(300)
    assert page.evaluate("values.dark") is True, "it is kept for the tab"
