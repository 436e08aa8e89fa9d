"""The page as a person uses it, in Debian's Chromium: the sample, clicks, segments, files: make test-web."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sammed3d.core import prompt_files
from sammed3d.files.volume import Volume

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LACKING = [name for name in ("trame_slicer", "playwright") if importlib.util.find_spec(name) is None]
if LACKING or CHROMIUM is None:
    WORDS = f"{', '.join([*LACKING, *([] if CHROMIUM else ['chromium'])])} not installed: run make test-web"
    pytest.skip(WORDS, allow_module_level=True)

from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KIDNEY = (93.0, 104.0, 418.0)
"""In the left kidney of the sample, RAS mm."""
PATIENCE = 240_000
"""Milliseconds: the first prediction loads the model, on whatever machine this is."""
PICTURES = os.environ.get("SAMMED3D_PICTURES")
"""Folder for screenshots; none are taken without."""


class Served:
    """`sammed3d view` in a process of its own."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "sammed3d", "view", "--no-browser", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.stderr.read())
        self.address = line.split()[-1]
        assert re.fullmatch(r"The page is at http://127\.0\.0\.1:\d+/\?token=\S{32}\n", line)

    def end(self) -> tuple[int, str]:
        """Ask the process to stop; returns its exit status and what it wrote to stderr."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture(scope="module")
def served():
    served = Served()
    yield served
    status, errors = served.end()
    assert "Traceback" not in errors
    assert status in (0, -15)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def troubles():
    """What the browser complained of."""
    return []


def watched_page(browser, troubles: list[str]) -> Page:
    """A page of which is noted what the browser complains of."""
    page = browser.new_page(viewport={"width": 1280, "height": 720}, accept_downloads=True)
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    return page


@pytest.fixture(scope="module")
def page(served, browser, troubles):
    page = watched_page(browser, troubles)
    page.on("response", lambda answer: troubles.append(answer.url) if answer.status >= 400 else None)
    page.on("request", lambda request: troubles.append(request.url) if not ours(request.url, served) else None)
    page.goto(served.address)
    page.wait_for_selector("#sample", timeout=PATIENCE)
    return page


def ours(url, served):
    return url.startswith((served.address.split("?")[0], "data:", "blob:"))


def status(page: Page) -> str:
    return page.inner_text("#status")


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def texture(page: Page, x: float, y: float) -> float:
    """How much the green of pixels round a place varies: their standard deviation."""
    page.wait_for_timeout(1500)
    near = page.screenshot(clip={"x": x - 5, "y": y - 5, "width": 10, "height": 10})
    return float(np.asarray(Image.open(io.BytesIO(near)).convert("RGB"))[..., 1].std())


def milliliters(page: Page) -> list[float | None]:
    texts = page.locator("#segments .ml").all_inner_texts()
    return [float(text.split()[0]) if text.strip() else None for text in texts]


def click(page: Page, x: float, y: float) -> float:
    """Click into a view, wait for the mask; returns seconds that the page added to what the prediction took."""
    before = status(page)
    page.mouse.move(x, y, steps=3)
    begin = time.perf_counter()
    page.mouse.click(x, y)
    page.wait_for_function(
        "old => / ms \\(/.test(document.querySelector('#status').innerText)"
        " && document.querySelector('#status').innerText !== old",
        arg=before,
        timeout=PATIENCE,
    )
    seconds = time.perf_counter() - begin
    return seconds - float(status(page).split()[0]) / 1000


def slice_views(page: Page) -> list[tuple[float, float]]:
    """Middle of the three slice views: coronal, sagittal, axial."""
    boxes = sorted(
        (image.bounding_box() for image in page.locator("img").all()), key=lambda box: (box["y"] > 300, box["x"])
    )
    middles = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]
    return [middles[0], middles[2], middles[3]]


def download(page: Page, kind: str, folder: Path) -> Path:
    with page.expect_download() as info:
        page.click(f"#download-{kind}")
    file = folder / info.value.suggested_filename
    info.value.save_as(file)
    return file


def test_the_page_begins_with_nothing_to_lose(page):
    for button in ("positive", "negative", "undo", "redo", "reset", "next", "cancel"):
        expect(page.locator(f"#{button}")).to_be_disabled()
    expect(page.locator("#downloads .v-btn--disabled")).to_have_count(5)
    expect(page.locator("#status")).to_have_text("Open a CT, MR or picture, or press Sample.")
    sliders = page.locator("[role=slider]").evaluate_all("all => all.map(each => each.ariaLabel)")
    assert sorted(sliders) == ["Size of the brush", "Slice, mm", "Slice, mm", "Slice, mm"]


def test_what_the_page_says_is_seen_whole_at_twice_the_size(page):
    page.set_viewport_size({"width": 640, "height": 360})
    page.wait_for_timeout(500)
    line = page.locator("footer").bounding_box()
    for words in page.locator("footer > div").all():
        box = words.bounding_box()
        assert line["y"] <= box["y"]
        assert box["y"] + box["height"] <= 360
        assert box["x"] + box["width"] <= 640
    page.set_viewport_size({"width": 1280, "height": 720})


def test_in_a_narrow_window_the_panel_is_put_away_and_lies_over_the_views_when_it_is_shown(page):
    page.set_viewport_size({"width": 480, "height": 720})
    sample, views = page.locator("#sample"), page.locator(".remote-controlled-area")
    expect(sample).not_to_be_in_viewport(timeout=PATIENCE)
    page.click("[aria-label='Show or hide the panel']")
    expect(sample).to_be_in_viewport(timeout=PATIENCE)
    page.wait_for_timeout(1000)  # it slides
    assert sum(view.bounding_box()["width"] for view in views.all()[:3:2]) > 450, "they have all of the window"
    page.set_viewport_size({"width": 1280, "height": 720})
    page.wait_for_timeout(1000)
    expect(sample).to_be_in_viewport(timeout=PATIENCE)
    assert views.first.bounding_box()["x"] >= 340, "the panel lies beside them"


def test_a_kidney_from_the_sample_to_a_file(page, troubles, tmp_path):
    """Load, three clicks, undo, redo, negative, a second segment by keys, and every download."""
    page.click("#sample")
    expect(page.locator("#opened")).to_have_text("ct_abdomen", timeout=PATIENCE)
    expect(page.locator("#segments .v-list-item")).to_have_count(1)
    expect(page.locator("header .v-select").nth(1)).to_contain_text("Abdomen")  # a CT
    page.wait_for_timeout(1500)
    coronal, _, _ = slice_views(page)
    left_kidney = coronal[0] + 66, coronal[1] - 53  # as radiologists look: the patient's left is on the right
    page.keyboard.press("p")
    expect(page.locator("#positive")).to_have_attribute("aria-pressed", "true")
    added = [click(page, *left_kidney)]
    [first] = milliliters(page)
    added.append(click(page, left_kidney[0] - 6, left_kidney[1] + 12))
    added.append(click(page, left_kidney[0] + 4, left_kidney[1] - 10))
    print("the page added, seconds:", [round(seconds, 2) for seconds in added])
    [third] = milliliters(page)
    assert first is not None
    assert first > 5
    picture(page, "browser-kidney")
    page.keyboard.press("h")  # the marks of clicks are no texture
    seen = texture(page, left_kidney[0] - 8, left_kidney[1] + 15)
    page.keyboard.press("h")
    print("texture", seen)
    assert seen > 0.5, "the image is seen through the segment"

    page.keyboard.press("u")
    page.wait_for_function(
        "old => !document.querySelector('#segments .ml').innerText.includes(old)", arg=f"{third:.1f}"
    )
    page.keyboard.press("Shift+U")
    page.wait_for_function(
        "new_ => document.querySelector('#segments .ml').innerText.includes(new_)", arg=f"{third:.1f}"
    )

    page.keyboard.press("n")
    expect(page.locator("#negative")).to_have_attribute("aria-pressed", "true")
    click(page, left_kidney[0] + 40, left_kidney[1])

    page.keyboard.press("e")
    expect(page.locator("#segments .v-list-item")).to_have_count(2)
    page.keyboard.press("p")
    click(page, coronal[0], coronal[1] + 100)
    assert all(volume is not None for volume in milliliters(page))
    picture(page, "browser-two-segments")

    masks = Volume.read(download(page, "nii-gz", tmp_path))
    assert masks.grid.shape == Volume.read(sample()).grid.shape
    assert set(masks.array.ravel()[::7].tolist()) <= {0, 1, 2}
    assert masks.array.max() == 2
    [kidney, _] = prompt_files.read(download(page, "prompts-json", tmp_path))
    assert [click.positive for click in kidney.clicks] == [True, True, True, False]
    assert abs(kidney.clicks[0].world[0] + KIDNEY[0]) < 60
    assert download(page, "seg-nrrd", tmp_path).stat().st_size > 1000
    for kind, inside in (("stl-zip", ".stl"), ("mrb", ".mrml")):
        with zipfile.ZipFile(download(page, kind, tmp_path)) as archive:
            assert any(name.endswith(inside) for name in archive.namelist())
    assert troubles == []
    assert max(added[1:]) < 5


def kidney_volume(page: Page) -> float | None:
    return milliliters(page)[0]


def until_volume(page: Page, differs_from: float | None) -> float | None:
    """Wait until the first segment has another volume; returns it."""
    end = time.monotonic() + PATIENCE / 1000
    while kidney_volume(page) == differs_from:
        assert time.monotonic() < end, f"{status(page)}; the volume is still {differs_from}"
        page.wait_for_timeout(50)
    return kidney_volume(page)


def test_clicks_are_dragged_and_deleted_with_the_mouse_over_them(page, troubles):
    coronal, _, _ = slice_views(page)
    places = [(coronal[0] + 60, coronal[1] - 41), (coronal[0] + 85, coronal[1] - 5)]
    page.locator("#segments .v-list-item").first.click()
    known = kidney_volume(page)
    page.keyboard.press("Shift+R")
    assert until_volume(page, known) is None
    click(page, *places[0])
    one = kidney_volume(page)
    page.keyboard.press("p")
    expect(page.locator("#positive")).to_have_attribute("aria-pressed", "false")
    page.mouse.move(places[0][0] - 40, places[0][1])
    page.mouse.move(*places[0], steps=5)
    page.wait_for_timeout(500)
    page.mouse.down()
    page.mouse.move(*places[1], steps=8)
    page.wait_for_timeout(300)
    page.mouse.up()
    moved = until_volume(page, one)
    assert moved is not None
    page.mouse.move(*places[1], steps=3)
    page.wait_for_timeout(500)
    page.keyboard.press("Delete")
    assert until_volume(page, moved) is None
    for known, expected in ((None, moved), (moved, one)):
        page.keyboard.press("u")
        assert until_volume(page, known) == expected
    assert troubles == []


def test_strokes_by_hand_are_undone_and_the_next_click_goes_on_from_them(page, troubles):
    coronal, _, _ = slice_views(page)
    before = kidney_volume(page)
    page.click("#paint")
    expect(page.locator("#paint")).to_have_attribute("aria-pressed", "true")
    volumes = [before]
    for tool in ("paint", "erase"):
        if tool == "erase":
            page.click("#erase")
        known = kidney_volume(page)
        page.mouse.move(coronal[0] + 40, coronal[1] + 20)
        page.mouse.down()
        page.mouse.move(coronal[0] + 60, coronal[1] + 20, steps=6)
        page.wait_for_timeout(300)
        page.mouse.up()
        drawn = until_volume(page, known)
        assert drawn > known if tool == "paint" else drawn < known
        volumes.append(drawn)
    page.click("#paint")
    page.mouse.move(coronal[0] + 40, coronal[1] + 20)
    page.mouse.down()
    page.mouse.up()
    painted = until_volume(page, drawn)
    picture(page, "browser-hand-edit")
    volumes.append(painted)
    for key, steps in (("u", volumes[::-1]), ("Shift+U", volumes)):
        for known, expected in pairwise(steps):
            page.keyboard.press(key)
            assert until_volume(page, known) == expected, "strokes are undone one by one"
    page.keyboard.press("n")  # a positive click in what was painted changes nothing
    expect(page.locator("#paint")).to_have_attribute("aria-pressed", "false")
    click(page, coronal[0] + 60, coronal[1] - 41)
    clicked = kidney_volume(page)
    assert clicked < painted
    page.keyboard.press("u")
    assert until_volume(page, clicked) == painted
    assert troubles == []


def sample() -> Path:
    from sammed3d import samples

    return Path(samples.CT_ABDOMEN)


def test_typing_a_name_is_not_taken_for_keys(page):
    page.locator("#segments button[title=Rename]").first.click()
    expect(page.locator("#segments input[type=text]")).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type("pune")
    page.keyboard.press("Enter")
    expect(page.locator("#segments .name").first).to_have_text("pune")
    expect(page.locator("#segments .name").first).to_have_attribute("title", "pune")  # the list cuts long ones off
    expect(page.locator("#segments .v-list-item")).to_have_count(2)


def test_a_reloaded_page_shows_the_same(page, troubles):
    before = milliliters(page)
    page.wait_for_timeout(500)  # keys that were typed are still on their way to the views
    page.reload()
    page.wait_for_selector("#segments .ml", timeout=PATIENCE)
    assert milliliters(page) == before
    expect(page.locator("#segments .name").first).to_have_text("pune")
    assert troubles == []


def test_files_are_sent_after_a_question_and_refused_in_one_line(page, troubles, tmp_path):
    questions = []
    page.on("dialog", lambda dialog: (questions.append(dialog.message), dialog.accept()))
    (bad := tmp_path / "bad.nii.gz").write_bytes(b"no image")
    page.set_input_files("#upload", bad)
    expect(page.locator("#status")).to_contain_text("bad.nii.gz: the file is damaged", timeout=PATIENCE)
    assert questions == ["Open another volume? Segments that were not downloaded are lost."]
    assert len(milliliters(page)) == 2, "nothing was lost"
    page.route("**/upload", lambda route: route.fulfill(status=413, content_type="text/html", body="<html>"))
    page.set_input_files("#upload", bad)
    expect(page.locator("#status")).to_contain_text("larger than the server takes", timeout=PATIENCE)
    page.unroute("**/upload")
    troubles.clear()  # that they were refused
    page.set_input_files("#upload", sample())
    expect(page.locator("#segments .v-list-item")).to_have_count(1, timeout=PATIENCE)
    assert troubles == []


def test_without_the_token_there_is_nothing(served, browser):
    stranger = browser.new_context().new_page()
    for path in ("", "index.html", "download/mrb", "ws"):
        answer = stranger.goto(served.address.split("?")[0] + path)
        assert answer.status == 403
