"""From a click in the browser's page to the painted mask, beside the same click in the module's code, in one run.

Chromium clicks into the sample, and a frame counts once it shows the mask and was painted; time runs from letting go
of the button, which places the click. In turn with it, so that all meet the same machine: the same clicks in the
module's code, in a process without windows, and in the page behind `serve-view`. All three run the default model
themselves. The goal: the page adds at most 0.25 s on two cores. Needs the environment of `make test-web`, and Chromium:

    .venv-web/bin/python benchmarks/page.py
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

PATIENCE = 240_000
STEP = 2
"""Pixels between the first clicks of two rounds, so that none finds its image known."""
KIDNEY, FURTHER = (68, -42), (0, 32)
"""From the middle of the coronal view, pixels; and from there, where a click adds to the mask."""
HALF, MARK = 72, 12
"""Of the square that is looked at, and of that round each click's mark, which is not; pixels."""
COLOUR, TINT = "#ff0000", 40
"""Of the segment; and of 255, by how much redder than green a pixel of the mask is at least: the image is grey."""
LEAST = 40
"""Pixels that turn into the mask's, or back: by them frames are told apart."""
RECORDER = """
window.seen = { frames: [], released: 0, ping: async (count) => {
  const times = [];
  for (let n = 0; n < count; n++) {
    const begin = performance.now();
    await window.trame.trigger("key", ["nothing"]);
    times.push(performance.now() - begin);
  }
  return times;
} };
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
document.addEventListener("load", ({ target }) => {
  if (!seen.square || !target.matches?.(".image-display-area")) return;
  const box = target.getBoundingClientRect(), [x, y, half] = seen.square;
  if (x < box.left || x > box.right || y < box.top || y > box.bottom) return;
  canvas.canvas.width = canvas.canvas.height = 2 * half;
  canvas.drawImage(target, x - half - box.left, y - half - box.top, 2 * half, 2 * half, 0, 0, 2 * half, 2 * half);
  const frame = { painted: Infinity, pixels: canvas.getImageData(0, 0, 2 * half, 2 * half).data };
  seen.frames.push(frame);
  requestAnimationFrame(() => {
    const after = new MessageChannel();
    after.port1.onmessage = () => (frame.painted = performance.now());
    after.port2.postMessage(0);
  });
}, true);
document.addEventListener("pointerup", (event) => (seen.released = event.timeStamp), true);
"""
SEEN = """({ released: seen.released, frames: seen.frames.map(({ painted, pixels }) =>
  ({ painted, pixels: btoa(pixels.reduce((text, value) => text + String.fromCharCode(value), "")) })) })"""


class PageBench:
    """A page in Chromium, in which the sample is open."""

    def __init__(self, browser: Any, address: str) -> None:
        self.page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        self.page.add_init_script(RECORDER)
        self.page.goto(address)
        self.page.wait_for_selector("#sample", timeout=PATIENCE)
        self.page.click("#sample")
        self._until("document.querySelector('#opened').innerText === 'ct_abdomen'")
        self.page.locator("#segments input[type=color]").first.evaluate(
            "(input, colour) => { input.value = colour; input.dispatchEvent(new Event('change')); }", COLOUR
        )
        self.page.wait_for_timeout(2000)
        boxes = [image.bounding_box() for image in self.page.locator("img.image-display-area").all()]
        view = min(boxes, key=lambda box: (box["y"], box["x"]))
        self._middle = view["x"] + view["width"] / 2, view["y"] + view["height"] / 2
        self.page.keyboard.press("p")
        self.page.wait_for_timeout(500)

    def first(self, number: int) -> tuple[float, float]:
        """Milliseconds of the first click of a segment: all, and what the prediction took of it."""
        self.page.bring_to_front()
        self.page.keyboard.press("Shift+R")
        self._until("document.querySelector('#segments .ml').innerText.trim() === ''")
        self._place = self._middle[0] + KIDNEY[0] + STEP * number, self._middle[1] + KIDNEY[1]
        return self._click([self._place])

    def further(self) -> tuple[float, float]:
        """The same of another click for the same object."""
        return self._click([self._place, (self._place[0] + FURTHER[0], self._place[1] + FURTHER[1])])

    def prompts(self) -> Any:
        """What was clicked, as it is downloaded."""
        return self.page.request.get(f"{self.page.url.removesuffix('index.html')}download/prompts.json").json()

    def pings(self, count: int) -> list[float]:
        """Milliseconds until the process has answered a call that does nothing."""
        times: list[float] = self.page.evaluate("count => seen.ping(count)", count)
        return times

    def _click(self, places: list[tuple[float, float]]) -> tuple[float, float]:
        page, before = self.page, self.page.inner_text("#status")
        page.evaluate("square => { seen.square = square; seen.frames = []; }", [*places[0], HALF])
        page.mouse.move(*places[-1], steps=3)
        page.wait_for_timeout(800)  # the last frame by now is of before
        page.mouse.click(*places[-1], delay=80)
        self._until(
            "(status => / ms \\(/.test(status) && status !== old)(document.querySelector('#status').innerText)", before
        )
        page.wait_for_timeout(1800)  # the last one by now shows the mask
        seen = page.evaluate(SEEN)
        frames = [(f["painted"], _pixels(f["pixels"])) for f in seen["frames"]]
        others = [(x - places[0][0], y - places[0][1]) for x, y in places]
        painted = first_with_mask(frames, seen["released"], others)
        return painted - seen["released"], float(page.inner_text("#status").split()[0])

    def _until(self, condition: str, old: str = "") -> None:
        # asked now and then: at each animation frame, as by default, Chromium would draw all the time, and take a core
        self.page.wait_for_function(f"old => {condition}", arg=old, polling=50, timeout=PATIENCE)


def _pixels(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).astype(int).reshape(2 * HALF, 2 * HALF, 4)[..., :3]


def first_with_mask(frames: list[tuple[float, np.ndarray]], released: float, marks: list[tuple[float, float]]) -> float:
    """Return when the first frame was painted that shows what the last one shows and the last one before did not.

    Args:
        frames: when each was painted, and its pixels.
        released: when the button was let go.
        marks: of the clicks, from the middle of the frames; they are not looked at.
    """
    shown = [image[..., 0] - image[..., 1] > TINT for _, image in frames]
    before = [mask for mask, (painted, _) in zip(shown, frames, strict=True) if painted < released][-1]
    changed = before != shown[-1]
    rows, columns = np.mgrid[-HALF:HALF, -HALF:HALF]
    for x, y in marks:
        changed &= np.maximum(np.abs(columns - x), np.abs(rows - y)) > MARK
    if changed.sum() < LEAST:
        raise SystemExit(f"The mask changed in {changed.sum()} pixels only: too few to tell frames apart.")
    with_mask = [(mask == shown[-1])[changed].mean() > 0.5 for mask in shown]
    return min(painted for there, (painted, _) in zip(with_mask, frames, strict=True) if there and painted > released)


class ModuleBench:
    """The module's code in a process of its own, without windows."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own
            [sys.executable, __file__, "--module"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def clicks(self, prompts: Any) -> list[tuple[float, float]]:
        """Milliseconds of clicks for a new object: all, and what the predictions took of it."""
        print(json.dumps(prompts), file=self._process.stdin, flush=True)
        return [(total, prediction) for total, prediction in json.loads(self._process.stdout.readline())]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def module_process() -> None:
    """Answer lines of clicks with lines of milliseconds."""
    from sammed3d.core import prompt_files
    from sammed3d.files.volume import Volume
    from sammed3d.samples import CT_ABDOMEN
    from sammed3d.web import slicer_scene

    slicer_scene.start()
    from sammed3d.web.places import Offer, Places  # there once the scene is
    from sammed3d.web.work import Work

    places = Places(lambda: [Offer("default", "")])
    work = Work(places.predictors.load, places.choice_of)
    work.segmenter.model = "default"
    work.open(Volume.read(CT_ABDOMEN))
    segmenter = work.segmenter
    for line in sys.stdin:
        work.reset()
        times = []
        for click in prompt_files.loads(line)[0].clicks:
            begin = time.perf_counter()
            segmenter.click(work.segment_id, click.world, click.positive)
            while segmenter.busy:
                segmenter.poll()
                time.sleep(0.001)
            times.append((1000 * (time.perf_counter() - begin), 1000 * sum(segmenter.seconds.values())))
            time.sleep(0.2)
        print(json.dumps(times), flush=True)
    work.close()


@contextmanager
def program(*arguments: str) -> Iterator[str]:
    """Run a command of sammed3d meanwhile; gives the address that it prints."""
    command = [sys.executable, "-m", "sammed3d", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--module", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.module:
        module_process()
        return
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright, ExitStack() as stack:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        stack.callback(browser.close)
        pages = {
            "page": PageBench(browser, stack.enter_context(program("view", "--no-browser"))),
            "page behind serve-view": PageBench(browser, stack.enter_context(program("serve-view", "--users", "1"))),
        }
        module = ModuleBench()
        stack.callback(module.close)
        measure(pages, module, options.rounds)


def measure(pages: dict[str, PageBench], module: ModuleBench, rounds: int) -> None:
    """Click in turn, and print each round and the medians."""
    times: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in ("module", *pages)}
    for number in range(rounds + 1):
        for name, bench in pages.items():
            times[name].append([bench.first(number), bench.further()])
        times["module"].append(module.clicks(next(iter(pages.values())).prompts()))
        if number == 0:  # the models were loaded
            times = {name: [] for name in times}
            continue
        last = ", ".join(f"{name} {rows[-1][0][0]:.0f} and {rows[-1][1][0]:.0f}" for name, rows in times.items())
        print(f"round {number}, load {os.getloadavg()[0]:.1f}, first and further click in ms: {last}", flush=True)
    for n, kind in enumerate(("first click", "further click")):
        alone = statistics.median(row[n][0] for row in times["module"])
        for name, rows in times.items():
            total, prediction = (statistics.median(row[n][k] for row in rows) for k in (0, 1))
            rest = statistics.median(row[n][0] - row[n][1] for row in rows)
            added = statistics.median(row[n][0] - own[n][0] for row, own in zip(rows, times["module"], strict=True))
            print(
                f"{kind}, {name}: {total:.0f} ms, the prediction {prediction:.0f} and the rest {rest:.0f}; "
                f"{total / alone:.2f} times the module's, {added:+.0f} ms (goal +250)"
            )
    for name, bench in pages.items():
        print(f"an answer of the {name}: {statistics.median(bench.pings(60)):.1f} ms")


if __name__ == "__main__":
    main()
