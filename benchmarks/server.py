"""What the server adds to a click, on loopback, beside the same click in this process.

The server and its worker are processes of their own, as in use. First with a predictor that costs nothing, so that what
is measured is the way there and back; then with the default model, 1, 4, 16 and 64 clients at once. Goals: at most 25
ms more for a click on a known patch, 150 ms for one on a new patch, less than 6 MB and 60 kB on the wire.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import requests
import torch
from common import seconds

import sammed3d
from sammed3d import samples
from sammed3d.charts import line_chart
from sammed3d.files.volume import Volume
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import Patch, cut_patch
from sammed3d.inference.predictor import Capabilities, PatchClick, PatchPrompts, Prediction
from sammed3d.inference.preset import Preset
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.server.compute.worker_process import Loaded, ModelSpec, WorkerSettings, patch_of
from sammed3d.server.serve import build
from sammed3d.server.settings import ServerSettings
from sammed3d.zoo import load_model
from sammed3d.zoo.store import BUNDLED

PLOT = Path(__file__).parents[1] / "docs" / "pictures" / "server-load.svg"


class Instant:
    """A ball round the first click as logits; what a network would cost is left out."""

    name = "instant"
    preset = Preset()
    capabilities = Capabilities()

    def __init__(self) -> None:
        axis = np.arange(32, dtype=np.float32) * 4 + 1.5
        self._axes = axis[:, None, None], axis[None, :, None], axis[None, None, :]
        self._encoded: set[str] = set()

    def is_encoded(self, digest: str) -> bool:
        return digest in self._encoded

    def encode(self, patches, cancellation=None) -> float:
        self._encoded |= {patch.digest for patch in patches if patch.voxels.any()}
        return 0.0

    def predict(self, patch, prompts, cancellation=None) -> Prediction:
        if patch.digest not in self._encoded:
            self.encode([patch])
        squared = sum((a - c) ** 2 for a, c in zip(self._axes, prompts.clicks[0].voxel, strict=True))
        return Prediction((20 - len(prompts.clicks) - np.sqrt(squared) / 2).astype(np.float32), None, {"decode": 0.0})


def load_instant(settings: WorkerSettings) -> Loaded:
    return Loaded("cpu", 1, {"default": Instant()})


def serve(port: int, worker: WorkerSettings) -> None:
    import uvicorn

    app = build(ServerSettings(port=port), [worker])
    uvicorn.run(app, port=port, log_level="error", access_log=False)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server in a process of its own."""

    def __init__(self, worker: WorkerSettings) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._process = multiprocessing.get_context("spawn").Process(target=serve, args=(port, worker))
        self._process.start()
        while True:
            try:
                requests.get(self.url + "/readyz", timeout=1).raise_for_status()
                return
            except requests.RequestException:
                time.sleep(0.1)

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()


def ct_patches(count: int) -> list[Patch]:
    """Patches of the bundled CT, no two alike."""
    volume = Volume.read(samples.CT_ABDOMEN)
    lattice = Lattice(volume.grid, Preset().spacing)
    window = lattice.window_at(volume.grid.corners().mean(axis=0), Preset().patch_shape)
    voxels = cut_patch(volume, lattice, window, Preset()).voxels
    made = []
    for n in range(count):
        changed = np.roll(voxels, n, axis=0)
        changed.flags.writeable = False
        made.append(Patch(changed, window, patch_of(changed, str(n)).grid))
    return made


def clicks(count: int, *more: PatchClick) -> PatchPrompts:
    return PatchPrompts([*(PatchClick((60.0 + n, 64.0, 64.0), n % 2 == 0) for n in range(count)), *more])


def overhead() -> None:
    worker = WorkerSettings((ModelSpec("default", "Instant", "", "", Path()),), "cpu", load=load_instant)
    server, here, patches = Server(worker), Instant(), ct_patches(8)
    remote = RemotePredictor(server.url)
    sent: list[int] = []
    original = requests.Session.request

    def counted(session, method, url, **options):
        response = original(session, method, url, **options)
        sent.append(len(options.get("data") or b"") + len(response.content))
        return response

    requests.Session.request = counted
    try:
        fresh = iter(patches)
        new = seconds(lambda: remote.predict(next(fresh), clicks(1)), repeats=5)
        first_bytes = sum(sent[-3:])
        more = iter(range(2, 40))
        known = seconds(lambda: remote.predict_outline(patches[0], clicks(next(more))), repeats=20)
        further_bytes = sent[-1]
        local = seconds(lambda: here.predict(patches[0], clicks(2)), repeats=10)
    finally:
        requests.Session.request = original
        server.stop()
    print(f"in this process              {1000 * local:7.1f} ms")
    print(f"new patch, remote            {1000 * new:7.1f} ms   +{1000 * (new - local):.1f} ms (goal 150)")
    print(f"known patch, remote          {1000 * known:7.1f} ms   +{1000 * (known - local):.1f} ms (goal 25)")
    print(f"on the wire, first click     {first_bytes / 1e6:7.2f} MB  (goal 6)")
    print(f"on the wire, further click   {further_bytes / 1e3:7.1f} kB  (goal 60)")


def loads(numbers: Sequence[int], least: int = 12) -> Iterator[dict[str, float]]:
    """Yield clicks a second of the default model with several clients, beside this process alone in the same minute.

    Args:
        numbers: of clients that click at once.
        least: clicks of all of them together, at least; each makes two or more.

    Yields:
        "clients", "rate" and "alone" (clicks a second), "p50" and "p95" of the seconds that a click takes.
    """
    worker = WorkerSettings((ModelSpec("default", "Default", "", "", BUNDLED),), "cpu")
    server = Server(worker)
    here = sammed3d.load_predictor("default", device="cpu")
    patch = ct_patches(1)[0]
    here.predict(patch, clicks(1))
    places = iter(np.random.default_rng(0).uniform(20, 100, (10_000, 3)).tolist())
    try:
        RemotePredictor(server.url).predict_outline(patch, clicks(1))
        for number in numbers:
            alone = in_this_process(here, patch, places)
            count = max(2, least // number)
            rate, waits = together(server.url, [patch] * number, places, count)
            median, late = np.percentile(waits, [50, 95])
            yield {"clients": number, "rate": rate, "alone": alone, "p50": float(median), "p95": float(late)}
    finally:
        server.stop()


def throughput(numbers: Sequence[int]) -> list[dict[str, float]]:
    """Tell how many clicks a second several clients make."""
    rows = []
    for row in loads(numbers):
        print(
            f"default model, {row['clients']:2.0f} clients: {row['rate']:.2f} clicks/s, "
            f"{row['rate'] / row['alone']:.2f} of this process alone ({row['alone']:.2f}); "
            f"p50 {row['p50']:.2f} s, p95 {row['p95']:.2f} s",
            flush=True,
        )
        rows.append(row)
    return rows


def plot(rows: list[dict[str, float]]) -> str:
    """Draw rates as shares of the highest, with one process as a level, and how evenly clients wait."""
    alone = sum(row["alone"] for row in rows) / len(rows)
    most = max(alone, *(row["rate"] for row in rows))
    curves = {
        f"clicks a second, as a share of {most:.2f}": [(row["clients"], row["rate"] / most) for row in rows],
        "clicks a second in one process alone, on average": [(row["clients"], alone / most) for row in rows],
        "median wait by its 95th percentile (goal: 0.4)": [(row["clients"], row["p50"] / row["p95"]) for row in rows],
    }
    return line_chart(curves, "clients at once", "share")


def in_this_process(predictor, patch: Patch, places: Iterator[list[float]], count: int = 6) -> float:
    """Clicks a second."""
    begin = time.perf_counter()
    for _ in range(count):
        predictor.predict(patch, clicks(1, PatchClick(tuple(next(places)), True)))
    return count / (time.perf_counter() - begin)


def together(
    url: str, patches: Sequence[Patch], places: Iterator[list[float]], count: int
) -> tuple[float, list[float]]:
    """Let a client click on each patch at once; returns clicks a second, and how long each click took."""
    number = len(patches)
    lock, ready = threading.Lock(), threading.Barrier(number)

    def work(patch: Patch) -> list[float]:
        remote = RemotePredictor(url, patience=600)
        ready.wait(60)
        times = []
        for _ in range(count):
            with lock:
                place = tuple(next(places))
            begin = time.perf_counter()
            remote.predict_outline(patch, clicks(1, PatchClick(place, True)))
            times.append(time.perf_counter() - begin)
        return times

    with ThreadPoolExecutor(number) as pool:
        begin = time.perf_counter()
        waits = [wait for times in pool.map(work, patches) for wait in times]
        return number * count / (time.perf_counter() - begin), waits


def batching(sizes: Sequence[int] = (1, 2, 4), repeats: int = 3) -> None:
    """Processor time of a click when the clicks of several users go through the decoder together."""
    network = load_model("default").network.eval()
    with torch.inference_mode():
        embedding = network.encode(torch.from_numpy(np.array(ct_patches(1)[0].voxels))[None, None])
        for size in sizes:
            coords, labels = torch.rand(size, 2, 3) * 80 + 20, torch.ones(size, 2, dtype=torch.long)
            low_res = torch.zeros(size, 1, 64, 64, 64)
            begin = time.process_time()
            for _ in range(repeats):
                network.decode(embedding.expand(size, -1), coords, labels, low_res)
            print(f"decoder, {size} clicks together: {(time.process_time() - begin) / repeats / size:.3f} s a click")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", nargs="+", type=int, help="only the load of so many clients; draws nothing")
    if (numbers := parser.parse_args().clients) is not None:
        throughput(numbers)
        return
    print(f"Python {sys.version.split()[0]}")
    overhead()
    batching()
    PLOT.write_text(plot(throughput((1, 4, 16, 64))), encoding="utf-8")


if __name__ == "__main__":
    main()
