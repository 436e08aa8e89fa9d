"""What the server adds to a click, on loopback, beside the same click in this process.

The server and its worker are processes of their own, as in use. First with a predictor that costs nothing, so that what
is measured is the way there and back; then with the default model, 1, 4 and 16 clients at once. Goals: at most 25 ms
more for a click on a known patch, 150 ms for one on a new patch, less than 6 MB and 100 kB on the wire.
"""

from __future__ import annotations

import multiprocessing
import socket
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import requests
from common import seconds

import sammed3d
from sammed3d import samples
from sammed3d.files.volume import Volume
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import Patch, cut_patch
from sammed3d.inference.predictor import Capabilities, PatchClick, PatchPrompts, Prediction
from sammed3d.inference.preset import Preset
from sammed3d.predictors.remote import RemotePredictor
from sammed3d.server.compute.worker_process import Loaded, ModelSpec, WorkerSettings, patch_of
from sammed3d.server.serve import build
from sammed3d.server.settings import ServerSettings
from sammed3d.zoo.store import BUNDLED


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


class Server:
    """A server in a process of its own."""

    def __init__(self, worker: WorkerSettings) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
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
        known = seconds(lambda: remote.predict(patches[0], clicks(next(more))), repeats=20)
        further_bytes = sent[-1]
        local = seconds(lambda: here.predict(patches[0], clicks(2)), repeats=10)
    finally:
        requests.Session.request = original
        server.stop()
    print(f"in this process              {1000 * local:7.1f} ms")
    print(f"new patch, remote            {1000 * new:7.1f} ms   +{1000 * (new - local):.1f} ms (goal 150)")
    print(f"known patch, remote          {1000 * known:7.1f} ms   +{1000 * (known - local):.1f} ms (goal 25)")
    print(f"on the wire, first click     {first_bytes / 1e6:7.2f} MB  (goal 6)")
    print(f"on the wire, further click   {further_bytes / 1e3:7.1f} kB  (goal 100)")


def throughput(numbers: Sequence[int] = (1, 4, 16), each: int = 24) -> None:
    worker = WorkerSettings((ModelSpec("default", "Default", "", "", BUNDLED),), "cpu")
    server = Server(worker)
    here = sammed3d.load_predictor("default", device="cpu")
    patch = ct_patches(1)[0]
    here.predict(patch, clicks(1))
    begin = time.perf_counter()
    for n in range(6):
        here.predict(patch, clicks(1, PatchClick((50.0 + n, 60.0, 60.0), False)))
    alone = 6 / (time.perf_counter() - begin)
    print(f"default model, known patch, in this process: {alone:.1f} clicks/s")
    try:
        RemotePredictor(server.url).predict(patch, clicks(1))
        for number in numbers:
            remotes = [RemotePredictor(server.url, patience=300) for _ in range(number)]
            places = iter(np.random.default_rng(number).uniform(20, 100, (1000, 3)).tolist())
            lock = threading.Lock()

            def work(remote, places=places, lock=lock, number=number):
                for _ in range(each // number or 1):
                    with lock:
                        place = next(places)
                    remote.predict(patch, clicks(1, PatchClick(tuple(place), True)))

            with ThreadPoolExecutor(number) as pool:
                begin = time.perf_counter()
                list(pool.map(work, remotes))
                done = (each // number or 1) * number / (time.perf_counter() - begin)
            print(f"default model, {number:2d} clients: {done:.1f} clicks/s, {done / alone:.2f} of this process alone")
    finally:
        server.stop()


def main() -> None:
    print(f"Python {sys.version.split()[0]}")
    overhead()
    throughput()


if __name__ == "__main__":
    main()
