"""Several users of `sammed3d serve-view` and one inference server, each in a browser of their own: make test-web."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_page_in_browser import PATIENCE, browser, click, download, milliliters, slice_views, status  # noqa: F401

from ports import unused_port

pytest.importorskip("uvicorn", reason="the extra serve is not installed: run make test-web")

from playwright.sync_api import expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
IDLE_MINUTES = 0.1


class Program:
    """A command of `sammed3d` in a process of its own, once its line says that it is ready."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "sammed3d", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.line = self.process.stdout.readline()
        assert self.line, "it did not start"

    @property
    def children(self) -> set[int]:
        """Processes that it started and that run."""
        return set(map(int, Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()))

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(30)
        self.process.stdout.close()


def start_server(port: int) -> Program:
    return Program("serve", "--port", str(port), "--device", "cpu")


@pytest.fixture(scope="module")
def inference():
    """A server that predicts, in a list, so that a test can put another one there."""
    port = unused_port()
    servers = [start_server(port)]
    yield servers, port
    servers[-1].kill(signal.SIGTERM)


@pytest.fixture(scope="module")
def front(inference):
    options = ("--users", "2", "--idle", str(IDLE_MINUTES), "--server", f"http://127.0.0.1:{inference[1]}")
    front = Program("serve-view", *options)
    yield front
    front.kill(signal.SIGTERM)


def enter(browser, front):  # noqa: F811 - the fixture
    page = browser.new_context(viewport={"width": 1280, "height": 720}, accept_downloads=True).new_page()
    page.goto(front.line.split()[-1])
    return page


def show_sample(page) -> tuple[float, float]:
    """Open the sample to click into it; returns a place in the left kidney."""
    page.wait_for_selector("#sample", timeout=PATIENCE)
    page.click("#sample")
    expect(page.locator("#opened")).to_have_text("ct_abdomen", timeout=PATIENCE)
    page.wait_for_timeout(1500)
    coronal, _, _ = slice_views(page)
    page.keyboard.press("p")
    expect(page.locator("#positive")).to_have_attribute("aria-pressed", "true")
    return coronal[0] + 66, coronal[1] - 53


def test_users_do_not_see_each_other_and_a_killed_server_loses_no_click(front, inference, browser, tmp_path):  # noqa: F811
    servers, port = inference
    anna, ben = enter(browser, front), enter(browser, front)
    kidney = show_sample(anna)
    click(anna, *kidney)
    [of_anna] = milliliters(anna)
    assert of_anna > 5
    expect(anna.locator("#place")).to_have_count(0)
    ben.wait_for_selector("#sample", timeout=PATIENCE)
    assert ben.inner_text("#opened") == ""
    assert milliliters(ben) == []
    address = ben.url.removesuffix("index.html")
    assert ben.request.get(f"{address}download/seg.nrrd").status == 409, "there is nothing of hers to download"
    assert download(anna, "seg-nrrd", tmp_path).stat().st_size > 1000
    carl = enter(browser, front)
    expect(carl.locator("body")).to_contain_text("All 2 places are taken. Try again later.", timeout=PATIENCE)

    servers[-1].kill()
    anna.mouse.move(kidney[0] - 6, kidney[1] + 12, steps=3)
    anna.mouse.click(kidney[0] - 6, kidney[1] + 12)
    anna.wait_for_timeout(3000)
    assert milliliters(anna) == [of_anna], "what there was stays while nobody answers"
    expect(anna.locator("#cancel")).to_be_enabled()
    servers.append(start_server(port))
    end = time.monotonic() + PATIENCE / 1000
    while milliliters(anna) == [of_anna] or " ms (" not in status(anna):
        assert time.monotonic() < end, status(anna)
        anna.wait_for_timeout(100)
    for page in (anna, ben):
        page.context.close()
    until_left(front)


def test_a_page_that_is_closed_in_the_middle_of_a_prediction_frees_its_process(front, inference, browser):  # noqa: F811
    servers, _ = inference
    page = enter(browser, front)
    kidney = show_sample(page)
    os.kill(servers[-1].process.pid, signal.SIGSTOP)  # the prediction goes on until somebody ends it
    try:
        page.mouse.move(*kidney, steps=3)
        page.mouse.click(*kidney)
        expect(page.locator("#cancel")).to_be_enabled()
        assert len(front.children) == 2, "the page, and who removes its files"
        page.context.close()
        until_left(front)
    finally:
        os.kill(servers[-1].process.pid, signal.SIGCONT)


def until_left(front: Program) -> None:
    """Wait until no user's process is there; who removes files stays."""
    end = time.monotonic() + 60 * IDLE_MINUTES + 20
    while len(front.children) > 1:
        assert time.monotonic() < end, "the process is still there"
        time.sleep(0.2)
