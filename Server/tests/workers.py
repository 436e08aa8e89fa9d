"""What worker processes load in tests: stand-ins that wait, fail and die on demand. A folder says what they do."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from helpers import FakePredictor, ThresholdPredictor
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.freed_memory import keep_freed
from sammed3d.inference.predictor import Capabilities, PatchPrompts, Prediction
from sammed3d.inference.preset import Preset
from sammed3d.server.compute.scheduler import Job
from sammed3d.server.compute.worker_process import Loaded, ModelSpec, WorkerSettings, patch_of

SMALL = Preset(patch_shape=(16, 16, 16), low_res_shape=(4, 4, 4))


class Troubled(ThresholdPredictor):
    """Does what files in a folder say: `slow` waits, `die` ends the process, `fail` raises, `once` does so only once.

    `asked` and `calls` get a line for each question, and for each whose patch was there.
    `hurt` holds a threshold: only predictions whose first click has a larger first coordinate are troubled.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(preset=SMALL)
        self.folder = folder

    def predict(self, patch, prompts, cancellation: Cancellation | None = None) -> Prediction:
        with (self.folder / "asked").open("a") as file:
            file.write("\n")
        _ = patch.voxels
        with (self.folder / "calls").open("a") as file:
            file.write(f"{os.getpid()} {patch.digest[:8]} {len(prompts.clicks)}\n")
        hurt = self.folder / "hurt"
        if not hurt.exists() or prompts.clicks[0].voxel[0] > float(hurt.read_text()):
            self._trouble(cancellation or Cancellation())
        return super().predict(patch, prompts, cancellation)

    def _trouble(self, cancellation: Cancellation) -> None:
        has = {name: (self.folder / name).exists() for name in ("die", "fail", "slow")}
        if (self.folder / "once").exists():
            for name in ("die", "fail"):
                (self.folder / name).unlink(missing_ok=True)
        if has["die"]:
            os._exit(3)
        if has["fail"]:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nand more")
        while (self.folder / "slow").exists():
            cancellation.check()
            time.sleep(0.01)


class Echo(FakePredictor):
    """Answers with what it was asked, written into the logits: see `echoed`."""

    name = "echo"
    score = 0.5

    def __init__(self) -> None:
        super().__init__(replace(SMALL, boxes=True), Capabilities(boxes=True, all_clicks=True, scores=True))

    def answer(self, patch, prompts: PatchPrompts) -> np.ndarray:
        return echoed(prompts)


def echoed(prompts: PatchPrompts) -> np.ndarray:
    """What `Echo` answers: box, number of clicks, all clicks, and the sum of the mask prompt."""
    box = [0.0] * 6 if prompts.box is None else [*prompts.box.begin, *prompts.box.end]
    clicks = [v for click in prompts.clicks for v in (*click.voxel, float(click.positive))]
    mask = 0.0 if prompts.mask_prompt is None else float(prompts.mask_prompt.sum())
    numbers = [*box, float(len(prompts.clicks)), mask, *clicks]
    return np.array(numbers + [0.0] * (64 - len(numbers)), np.float32).reshape(4, 4, 4)


def load_echo(settings: WorkerSettings) -> Loaded:
    """Load `Echo`."""
    return Loaded("cpu", 1, {spec.name: Echo() for spec in settings.models})


def load_troubled(settings: WorkerSettings) -> Loaded:
    """Load the stand-in; the model's path is its folder."""
    folder = settings.models[0].path
    if (folder / "broken").exists():
        raise OSError("cannot be started")
    while (folder / "stuck").exists():
        time.sleep(0.01)
    return Loaded("cpu", 1, {spec.name: Troubled(folder) for spec in settings.models})


def troubled(folder: Path) -> WorkerSettings:
    """Return settings for a worker with the stand-in."""
    return WorkerSettings((ModelSpec("default", "Stand-in", "0" * 64, "", folder),), "cpu", load=load_troubled)


def job(seed: int = 0, first: float = 1.0, clicks: int = 1, user: str = "", session: str = "") -> Job:
    """Make a job on a random patch."""
    from sammed3d.inference.predictor import PatchClick

    voxels = np.random.default_rng(seed).standard_normal((16, 16, 16)).astype(np.float32)
    patch = patch_of(voxels, f"{seed:064x}")
    prompts = PatchPrompts([PatchClick((first, 2.0, 3.0 + n), True) for n in range(clicks)])
    return Job("default", patch, prompts, user=user, session=session)


class Greedy(ThresholdPredictor):
    """Says that it encodes each patch, for which it needs 100 MiB."""

    def predict(self, patch, prompts, cancellation: Cancellation | None = None) -> Prediction:
        blocks = [b"x" * (1 << 20) for _ in range(100)]
        del blocks
        return replace(super().predict(patch, prompts, cancellation), seconds={"encode": 0.1})


def load_greedy(settings: WorkerSettings) -> Loaded:
    """Let the C library keep what is freed."""
    keep_freed(1024)
    return Loaded("cpu", 1, {"default": Greedy(preset=SMALL)})


def load_idle(settings: WorkerSettings) -> Loaded:
    """Load torch, and a model that needs nothing of it."""
    import torch

    torch.set_num_threads(3)
    return Loaded("cpu", 1, {"default": ThresholdPredictor(preset=SMALL)})


def load_computing(settings: WorkerSettings) -> Loaded:
    """The same, computing something in three threads meanwhile."""
    import torch

    loaded = load_idle(settings)
    torch.rand(4_000_000).exp().sum()
    return loaded


class Verbose(FakePredictor):
    """Answers with 1 MiB, which no pipe takes while nobody reads."""

    def __init__(self) -> None:
        super().__init__(replace(SMALL, low_res_shape=(64, 64, 64)), Capabilities())

    def predict(self, patch, prompts: PatchPrompts, cancellation: Cancellation | None = None) -> Prediction:
        _ = patch.voxels  # which are asked for where they were not sent along
        return super().predict(patch, prompts, cancellation)

    def answer(self, patch, prompts: PatchPrompts) -> np.ndarray:
        return np.full(self.preset.low_res_shape, len(prompts.clicks), np.float32)


def load_verbose(settings: WorkerSettings) -> Loaded:
    """Load `Verbose`."""
    return Loaded("cpu", 1, {"default": Verbose()})
