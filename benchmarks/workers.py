"""Cases a minute of `sammed3d evaluate` in one process, in two, and as tasks of a Ray cluster of this machine.

One process has all cores for each case; two share them, and each loads the model. What two gain is what one process
leaves unused between the network's passes.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from sammed3d import samples
from sammed3d.evaluation.apart import Workers
from sammed3d.evaluation.protocols import PROTOCOLS
from sammed3d.evaluation.results import Evaluation
from sammed3d.evaluation.run import evaluate, evaluate_apart
from sammed3d.files.datasets import Case, find_cases
from sammed3d.zoo import load_predictor

CASES, EVERY, ROUNDS = 6, 20, 1
PORT = 6399


def dataset(folder: Path) -> list[Case]:
    """The sample CT, shifted by another voxel each time, so that no case is known from another one."""
    for n in range(CASES):
        case = folder / f"case{n}"
        case.mkdir(parents=True)
        for source, name in ((samples.CT_ABDOMEN, "image"), (samples.CT_ABDOMEN_LABELS, "label")):
            image = sitk.ReadImage(str(source))
            moved = sitk.GetImageFromArray(np.roll(sitk.GetArrayFromImage(image), n, axis=2))
            moved.CopyInformation(image)
            sitk.WriteImage(moved, str(case / f"{name}.nii.gz"))
        shutil.copy(samples.FOLDER / "ct_abdomen_labels.json", case / "labels.json")
    return find_cases(folder)


def rate(cases: list[Case], workers: Workers) -> float:
    """Return cases a minute, starting processes and loading the model included."""
    measure = functools.partial(evaluate, protocol=PROTOCOLS["honest"], clicks=3, every=EVERY)
    begin = time.perf_counter()
    empty = Evaluation("default", PROTOCOLS["honest"], 2023)
    done = evaluate_apart(cases, measure, functools.partial(load_predictor, "default", "cpu"), workers, empty)
    assert not done.failures, done.failures
    return 60 * len(cases) / (time.perf_counter() - begin)


def main() -> None:
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "of-this-benchmark-alone",
    }
    ray = Path(sys.executable).with_name("ray")
    command = [ray, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={PORT}"]
    cluster = subprocess.Popen([*command, "--include-dashboard=false"], stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert any("runtime started" in line for line in cluster.stdout or ())
        with tempfile.TemporaryDirectory() as folder:
            cases = dataset(Path(folder))
            for _ in range(ROUNDS):
                one, two, on_ray = (rate(cases, w) for w in (Workers(1), Workers(2), Workers(ray=f"127.0.0.1:{PORT}")))
                print(
                    f"{CASES} cases: {one:.1f} a minute in one process, {two:.1f} in two ({two / one:.2f}), "
                    f"{on_ray:.1f} on a cluster ({on_ray / one:.2f})",
                    flush=True,
                )
    finally:
        cluster.terminate()
        cluster.wait(60)


if __name__ == "__main__":
    main()
