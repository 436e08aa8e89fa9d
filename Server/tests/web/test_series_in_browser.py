"""Several series of one folder, and frames of a 4-D file, chosen in the page by keys; work on each stays."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

import sammed3d.samples

pytest.importorskip("playwright", reason="run make test-web")
from playwright.sync_api import expect
from test_page_in_browser import (
    PATIENCE,
    Served,
    browser,  # noqa: F401
    click,
    milliliters,
    picture,
    slice_views,
    watched_page,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FEW = 40
"""Slices of the sample that are taken, round the kidneys."""


def write_series(folder: Path, number: int, description: str, image: sitk.Image) -> None:
    """Write slices as a scanner does."""
    direction = image.GetDirection()
    along = "\\".join(str(direction[n]) for n in (0, 3, 6, 1, 4, 7))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(image.GetSize()[2]):
        part = image[:, :, k : k + 1]
        place = "\\".join(map(str, part.GetOrigin()))
        tags = {
            "0008|0005": "ISO_IR 192",
            "0008|0060": "CT",
            "0008|103e": description,
            "0020|000d": "1.2.3",
            "0020|000e": f"1.2.3.{number}",
            "0008|0018": f"1.2.3.{number}.{k + 1}",
            "0020|0032": place,
            "0020|0037": along,
            "0020|0013": str(k),
        }
        for tag, value in tags.items():
            part.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{number}-{k}.dcm"))
        writer.Execute(part)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two series of the sample, the second one a little darker."""
    folder = tmp_path_factory.mktemp("Größe 1")
    image = sitk.Cast(sitk.ReadImage(str(sammed3d.samples.CT_ABDOMEN)), sitk.sitkInt16)[:, :, 60 : 60 + FEW]
    write_series(folder, 1, "Bauch venös", image)
    write_series(folder, 2, "Bauch nativ", image - 30)
    return folder


@pytest.fixture
def serve():
    """Begin pages, which end with the test."""
    begun = []

    def begin(*options):
        begun.append(Served(*options))
        return begun[-1]

    yield begin
    for served in begun:
        served.process.kill()


def choose(page, number):
    """Choose in the list that has the keys, by keys alone."""
    page.wait_for_function("document.activeElement.closest('.v-select, [role=listbox]')")
    for key in ("Home", *["ArrowDown"] * number):
        page.keyboard.press(key)
        page.wait_for_timeout(200)
    page.keyboard.press("Enter")


def open_list(page):
    page.locator("#series").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("listbox")).to_be_visible()
    page.wait_for_timeout(500)


def complaints(troubles):
    """What the browser complained of, but that the server ended."""
    return [words for words in troubles if "Failed to load" not in words and "WebSocket" not in words]


def test_series_are_chosen_by_keys_and_work_on_each_stays(study, serve, browser):  # noqa: F811
    served, troubles, questions = serve(str(study)), [], []
    page = watched_page(browser, troubles)
    page.on("dialog", lambda dialog: (questions.append(dialog.message), dialog.accept()))
    page.goto(served.address)
    page.wait_for_selector("#series", timeout=PATIENCE)
    expect(page.locator("#status")).to_have_text("There are 2 series. Choose one in the list Series.")
    items = page.get_by_role("option")
    expect(items).to_have_text([f"CT, Bauch venös, {FEW} slices", f"CT, Bauch nativ, {FEW} slices"])
    picture(page, "browser-series")
    choose(page, 0)
    expect(page.locator("#opened")).to_contain_text("Bauch venös", timeout=PATIENCE)
    expect(items).to_have_count(0)
    page.wait_for_timeout(1000)
    _, _, axial = slice_views(page)
    place = axial[0] + 40, axial[1] + 10
    page.locator("#positive").click()
    click(page, *place)
    [first] = milliliters(page)
    assert first is not None
    picture(page, "browser-series-first")

    open_list(page)
    choose(page, 1)
    expect(page.locator("#opened")).to_contain_text("Bauch nativ", timeout=PATIENCE)
    expect(page.locator("#segments .v-list-item")).to_have_count(1)
    assert milliliters(page) == [None]
    expect(page.locator("#undo")).to_be_disabled()
    picture(page, "browser-series-second")

    open_list(page)
    choose(page, 0)
    expect(page.locator("#opened")).to_contain_text("Bauch venös", timeout=PATIENCE)
    assert milliliters(page) == [first]
    page.locator("#undo").click()
    page.wait_for_function("!document.querySelector('#segments .ml').innerText")
    page.locator("#redo").click()
    page.wait_for_function("document.querySelector('#segments .ml').innerText")
    assert questions == [], "nothing is lost"
    status, errors = served.end()
    assert (status, errors) == (0, "")
    assert complaints(troubles) == []


def test_series_that_are_sent_stay_until_something_else_is_opened(study, serve, browser, tmp_path, monkeypatch):  # noqa: F811
    (folder := tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    served, troubles = serve(), []
    page = watched_page(browser, troubles)
    page.goto(served.address)
    page.wait_for_selector("#sample", timeout=PATIENCE)
    others = set(folder.iterdir())
    page.click("#sample")
    expect(page.locator("#opened")).to_have_text("ct_abdomen", timeout=PATIENCE)
    for number, title in enumerate(("Bauch venös", "Bauch nativ")):
        page.set_input_files("#upload", sorted(study.iterdir()))
        expect(page.locator("#status")).to_contain_text("There are 2 series.", timeout=PATIENCE)
        before = page.inner_text("#opened")
        choose(page, number)
        assert before != f"DICOM {title}", "what was shown is there until one is chosen"
        expect(page.locator("#opened")).to_have_text(f"DICOM {title}", timeout=PATIENCE)
        assert set(folder.iterdir()) - others, "the other one can be chosen, too"
    page.click("#sample")
    expect(page.locator("#opened")).to_have_text("ct_abdomen", timeout=PATIENCE)
    expect(page.locator("#series")).to_have_count(0)
    assert set(folder.iterdir()) <= others
    page.set_input_files("#upload", sorted(study.iterdir()))
    expect(page.locator("#status")).to_contain_text("There are 2 series.", timeout=PATIENCE)
    status, errors = served.end()
    assert (status, errors) == (0, "")
    assert not any(folder.iterdir()), "nothing of what was sent stays on the disk"
    assert complaints(troubles) == []


def test_frames_are_chosen_in_the_page(serve, browser, tmp_path):  # noqa: F811
    array = np.random.default_rng(3).integers(0, 900, (40, 50, 30, 3), dtype=np.int16)
    array[..., 2] = 7
    nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 3.0, 1.0])), path := tmp_path / "perfusion.nii.gz")
    served, troubles = serve(), []
    page = watched_page(browser, troubles)
    page.goto(served.address)
    page.wait_for_selector("#sample", timeout=PATIENCE)
    page.set_input_files("#upload", path)
    expect(page.locator("#opened")).to_have_text("perfusion frame 1", timeout=PATIENCE)
    open_list(page)
    choose(page, 0)
    page.wait_for_timeout(300)
    expect(page.locator("#opened")).to_have_text("perfusion frame 1")
    open_list(page)
    page.get_by_role("option").nth(1).click()
    expect(page.locator("#opened")).to_have_text("perfusion frame 2", timeout=PATIENCE)
    open_list(page)
    page.get_by_role("option").nth(2).click()
    expect(page.locator("#status")).to_contain_text("perfusion.nii.gz, frame 3: all voxels", timeout=PATIENCE)
    expect(page.locator("#opened")).to_have_text("perfusion frame 2")
    expect(page.locator("#panel .v-select").first).to_contain_text("2 of 3")
    served.end()
    assert complaints(troubles) == []
