"""A picture in the page as a person uses it, in Debian's Chromium, and as the command line answers: make test-web."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright", reason="run make test-web")
from PIL import Image
from playwright.sync_api import Page, expect
from test_page_in_browser import PATIENCE, Served, browser, click, download, picture, sample, status
from typer.testing import CliRunner

from sammed3d import samples
from sammed3d.cli.app import app
from sammed3d.files.volume import Volume
from sammed3d.zoo.store import ModelStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
__all__ = ["browser"]
KIDNEY, BESIDE = (36, 60), (26, 50)
"""Column and row."""
WIDTH, HEIGHT = 122, 101


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """An axial slice of the sample, tinted, as a PNG."""
    shown = Volume.read(samples.CT_ABDOMEN).array[::-1, ::-1, 87].T
    grey = np.clip((shown + 160.0) / 400, 0, 1) * 255
    path = tmp_path_factory.mktemp("pictures") / "slice87.png"
    Image.fromarray(np.stack([grey, 0.93 * grey, 0.85 * grey], axis=2).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def served(file):
    served = Served(str(file), "--model", str(samples.SAM_MED2D_SMALL), "--device", "cpu")
    yield served
    _, errors = served.end()
    assert "Traceback" not in errors


@pytest.fixture(scope="module")
def page(served, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 720}, accept_downloads=True, color_scheme="light")
    page.goto(served.address)
    expect(page.locator("#opened")).to_have_text("slice87", timeout=PATIENCE)
    page.wait_for_timeout(2000)
    return page


def view(page: Page) -> tuple[float, float, float]:
    """Where the picture's upper left corner is on the page, and how large a pixel: fitted into the view."""
    [box] = [image.bounding_box() for image in page.locator("img").all()]
    scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
    left, top = (box[a] + (box[b] - n * scale) / 2 for a, b, n in (("x", "width", WIDTH), ("y", "height", HEIGHT)))
    return left, top, scale


def on_page(page: Page, column: float, row: float) -> tuple[float, float]:
    left, top, scale = view(page)
    return left + (column + 0.5) * scale, top + (row + 0.5) * scale


def click_pixel(page: Page, column: int, row: int) -> None:
    click(page, *on_page(page, column, row))


def by_command(file: Path, target: Path, *options: str) -> np.ndarray:
    arguments = ["segment", str(file), "--model", str(samples.SAM_MED2D_SMALL), "--device", "cpu", *options]
    result = CliRunner().invoke(app, [*arguments, "-o", str(target), "--force"])
    assert result.exit_code == 0, result.output
    return np.asarray(Image.open(target))


def mask_in(page: Page, folder: Path) -> np.ndarray:
    return np.asarray(Image.open(download(page, "png", folder)))


def colour(page: Page, column: float, row: float) -> tuple[float, ...]:
    """Mean red, green and blue of the page round a pixel of the picture."""
    x, y = (round(place) for place in on_page(page, column, row))
    shown = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))[y - 5 : y + 6, x - 5 : x + 6]
    return tuple(shown.reshape(-1, 3).astype(float).mean(axis=0))


def test_a_picture_fills_one_view_in_its_colours(page):
    assert len(page.locator("img").all()) == 1
    for label in ("Views", "Window"):
        expect(page.get_by_label(label)).to_have_count(0)
    expect(page.locator("#downloads a, #downloads button")).to_have_count(3)
    expect(page.locator("#model")).to_be_visible()
    red, green, blue = colour(page, *KIDNEY)
    assert red > 60
    assert green / red == pytest.approx(0.93, abs=0.02)
    assert blue / red == pytest.approx(0.85, abs=0.02)
    assert max(colour(page, WIDTH / 2, 1)) < 5, "air above the patient"


def test_clicks_answer_as_the_command_line(page, file, tmp_path):
    page.keyboard.press("p")
    click_pixel(page, *KIDNEY)
    one = mask_in(page, tmp_path)
    assert np.array_equal(one, by_command(file, tmp_path / "one.png", "--click-xy", "36,60"))
    size = page.locator("#segments .ml").first
    expect(size).to_have_text(f"{np.count_nonzero(one)} px")
    page.keyboard.press("n")
    click_pixel(page, *BESIDE)
    two = mask_in(page, tmp_path)
    expected = by_command(file, tmp_path / "two.png", "--click-xy", "36,60", "--click-xy", "26,50:-")
    assert np.array_equal(two, expected)
    assert not np.array_equal(one, two)
    picture(page, "browser-picture")
    page.keyboard.press("u")
    expect(size).to_have_text(f"{np.count_nonzero(one)} px")
    page.keyboard.press("Shift+U")
    expect(size).to_have_text(f"{np.count_nonzero(two)} px")
    page.keyboard.press("e")
    expect(page.locator("#segments .v-list-item")).to_have_count(2)
    page.keyboard.press("p")
    click_pixel(page, 90, 60)
    with zipfile.ZipFile(download(page, "png", tmp_path)) as archive:
        assert archive.namelist() == ["slice87 1 Segment_1.png", "slice87 2 Segment_2.png"]
    page.keyboard.press("Shift+R")
    expect(page.locator("#segments .ml").nth(1)).to_have_text("")


def test_the_wheel_and_keys_do_not_leave_the_picture(page):
    expect(page.locator(".slice-slider")).to_be_hidden()
    page.keyboard.press("p")  # no more clicks: else the next one is shown under the mouse
    spine = 58, 66
    page.mouse.move(*on_page(page, *spine))
    page.wait_for_timeout(500)
    before = colour(page, *spine)
    for turn in (300, -300, -300):
        page.mouse.wheel(0, turn)
        page.wait_for_timeout(500)
        assert colour(page, *spine) == pytest.approx(before, abs=3)
    page.locator(".remote-controlled-area").first.focus()
    for key in ("PageUp", "PageDown", "PageDown"):
        page.keyboard.press(key)
        page.wait_for_timeout(500)
        assert colour(page, *spine) == pytest.approx(before, abs=3)


def test_a_box_is_dragged_and_candidates_are_chosen(page, tmp_path):
    page.locator("#segments .v-list-item").first.click()
    page.keyboard.press("Shift+R")
    expect(page.locator("#segments .ml").first).to_have_text("")
    page.keyboard.press("b")
    expect(page.locator("#use-box")).to_be_enabled()
    page.wait_for_timeout(1500)
    third = WIDTH / 6, HEIGHT / 6
    middle = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    start = on_page(page, middle[0] + third[0], middle[1] + third[1])
    page.mouse.move(*start, steps=4)
    page.wait_for_timeout(500)
    page.mouse.down()
    page.mouse.move(*on_page(page, 98, 72), steps=10)
    page.wait_for_timeout(500)
    page.mouse.up()
    page.click("#use-box")
    size = page.locator("#segments .ml").first
    expect(size).to_have_text(re.compile(r"\d+ px"), timeout=PATIENCE)
    page.keyboard.press("c")
    rows = page.locator(".candidate")
    expect(rows).to_have_count(3, timeout=PATIENCE)
    expect(rows.nth(0)).to_have_attribute("aria-pressed", "true")
    picture(page, "browser-picture-candidates")
    box = mask_in(page, tmp_path)
    for number in (1, 2, 0):
        pixels = rows.nth(number).inner_text().split()[1]
        rows.nth(number).click()
        expect(rows.nth(number)).to_have_attribute("aria-pressed", "true")
        expect(size).to_have_text("" if pixels == "0" else f"{pixels} px")
    assert np.array_equal(mask_in(page, tmp_path), box)


def test_strokes_are_in_pixels_and_undone(page, file, tmp_path):
    page.locator("#segments .v-list-item").first.click()
    page.keyboard.press("Shift+R")
    size = page.locator("#segments .ml").first
    expect(size).to_have_text("")
    page.click("#paint")
    expect(page.locator("#paint")).to_have_attribute("aria-pressed", "true")
    page.mouse.move(*on_page(page, 40, 60))
    page.mouse.down()
    page.mouse.up()
    expect(size).to_have_text(re.compile(r"\d+ px"))
    painted = mask_in(page, tmp_path) > 0
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(rows - 60, columns - 40)
    assert painted[distance < 4].all(), "the brush is 10 pixels wide"
    assert not painted[distance > 6].any()
    page.keyboard.press("u")
    expect(size).to_have_text("")


def test_another_picture_and_a_volume_are_opened(page, tmp_path):
    page.on("dialog", lambda dialog: dialog.accept())
    Image.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / "flat.png")
    page.set_input_files("#upload", tmp_path / "flat.png")
    expect(page.locator("#status")).to_contain_text("flat.png: all pixels are equal", timeout=PATIENCE)
    expect(page.locator("#opened")).to_have_text("slice87")
    noise = np.random.default_rng(0).integers(0, 256, (300, 200), np.uint8)
    Image.fromarray(noise).save(tmp_path / "grey.jpg")
    page.set_input_files("#upload", tmp_path / "grey.jpg")
    expect(page.locator("#opened")).to_have_text("grey", timeout=PATIENCE)
    expect(page.locator("#segments .v-list-item")).to_have_count(1)
    page.set_input_files("#upload", sample())
    expect(page.locator("#opened")).to_have_text("ct_abdomen", timeout=PATIENCE)
    expect(page.get_by_label("Window").first).to_be_visible()
    page.wait_for_function("document.querySelectorAll('img').length === 4")
    expect(page.locator("#downloads a, #downloads button")).to_have_count(5)


def test_models_that_fit_are_offered_and_what_was_chosen_for_volumes_comes_back(browser, file, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path))
    ModelStore().add(samples.SAM_MED2D_SMALL, "toy")
    served = Served()
    try:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(served.address)
        page.wait_for_selector("#sample", timeout=PATIENCE)
        field = page.locator(".v-select", has=page.locator("#model"))
        for name, shown, models in (
            (file, "SAM-Med2D, small (a toy)", ["SAM-Med2D, small (a toy)"]),
            (sample(), "Default (small)", ["Default (small)", "SAM-Med2D, small (a toy)"]),
        ):
            page.set_input_files("#upload", name)
            expect(page.locator("#opened")).to_have_text(name.name.split(".")[0], timeout=PATIENCE)
            expect(field).to_contain_text(shown)
            field.click()
            expect(page.locator(".v-overlay .v-list-item")).to_have_text(models)
            page.keyboard.press("Escape")
            expect(page.locator(".v-overlay .v-list-item")).to_have_count(0)
        page.wait_for_function("document.querySelectorAll('img').length === 4")
    finally:
        served.end()


def test_where_no_model_fits_the_page_says_so(browser, file, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path))
    served = Served(str(file))
    try:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(served.address)
        expect(page.locator("#status")).to_contain_text("A picture needs a 2-D model", timeout=PATIENCE)
        page.wait_for_timeout(2000)
        page.keyboard.press("p")
        page.mouse.click(*on_page(page, *KIDNEY))
        expect(page.locator("#status")).to_contain_text(
            re.compile(r"works in 3-D\. Choose a model of 2-D images: sam_med2d or ft_sam2d"), timeout=PATIENCE
        )
        assert " ms (" not in status(page)
    finally:
        served.end()
