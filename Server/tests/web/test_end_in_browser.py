"""How a page of several users' ends: warned of, put off, asked for; and what is too large for it: make test-web."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("playwright", reason="run make test-web")
from playwright.sync_api import expect
from test_page_in_browser import (  # noqa: F401
    PATIENCE,
    browser,
    click,
    download,
    milliliters,
    picture,
    slice_views,
    status,
)
from test_several_users_in_browser import Program, show_sample, until_left

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
UNTOUCHED_MINUTES = 0.4


@pytest.fixture
def front():
    """Starts the address for all users with further options."""
    started = []

    def start(*options: str) -> Program:
        started.append(Program("serve-view", "--users", "1", "--idle", "0.1", *options))
        return started[-1]

    yield start
    for front in started:
        front.kill(15)


def enter(browser, front):  # noqa: F811 - the fixture
    page = browser.new_context(viewport={"width": 1280, "height": 720}, accept_downloads=True).new_page()
    page.goto(front.line.split()[-1])
    page.wait_for_selector("#sample", timeout=PATIENCE)
    return page


def test_a_page_warns_before_it_ends_and_stays_if_asked_to(front, browser):  # noqa: F811
    page = enter(browser, front("--untouched", str(UNTOUCHED_MINUTES)))
    warning = page.locator("#warning")
    expect(warning).to_have_count(0)
    expect(warning).to_contain_text("Nothing was done here for", timeout=60_000 * UNTOUCHED_MINUTES)
    expect(warning).to_contain_text("Download what you need, or press Stay.")
    picture(page, "browser-warning")
    warning.locator("button").click()
    expect(warning).to_have_count(0, timeout=3000)
    page.wait_for_timeout(60_000 * UNTOUCHED_MINUTES / 2)
    expect(page.locator("#sample")).to_be_visible()
    expect(page.locator("body")).to_contain_text("Nothing was done in your page", timeout=60_000 * UNTOUCHED_MINUTES)


def test_a_page_is_ended_after_a_question_and_an_image_too_large_leaves_its_work(front, browser, tmp_path):  # noqa: F811
    one = front("--memory", "1.5")
    page = enter(browser, one)
    click(page, *show_sample(page))
    known = milliliters(page)
    questions: list[str] = []
    answers = iter((True, False))
    page.on(
        "dialog",
        lambda dialog: (questions.append(dialog.message), dialog.accept() if next(answers) else dialog.dismiss()),
    )

    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((640, 640, 640), np.int16)), tmp_path / "large.nii.gz", True)
    page.set_input_files("#upload", tmp_path / "large.nii.gz")
    expect(page.locator("#status")).to_contain_text("large.nii.gz: 262,144,000 voxels of 16 bits", timeout=PATIENCE)
    assert "left for images" in status(page)
    assert milliliters(page) == known

    page.click("#end")
    page.wait_for_timeout(500)
    assert questions[1:] == ["Segments that were not downloaded are lost. End this page?"]
    assert milliliters(page) == known, "the answer was no"
    assert download(page, "seg-nrrd", tmp_path).stat().st_size > 1000
    page.wait_for_timeout(500)
    page.click("#end")
    expect(page.locator("body")).to_contain_text("You ended your page, and nothing of it is left.", timeout=20_000)
    assert len(questions) == 2, "everything was downloaded"
    until_left(one)
    page.click("text=Open a new page")
    page.wait_for_selector("#sample", timeout=PATIENCE)
