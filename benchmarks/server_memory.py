"""Memory of a worker with the default model over 600 clicks, a third on new patches, on a machine said to have 4 GB.

The budget is the one that `sammed3d serve` divides; goal: the worker's peak, and all else that the budget gives away,
stay below 2 GB together, and nothing grows once the caches are full.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sammed3d.inference.predictor import PatchClick, PatchPrompts
from sammed3d.server.compute.scheduler import Job
from sammed3d.server.compute.worker import Worker
from sammed3d.server.compute.worker_process import ModelSpec, WorkerSettings, patch_of
from sammed3d.server.memory import Limit
from sammed3d.server.serve import budget_of
from sammed3d.server.settings import read_settings
from sammed3d.zoo.store import BUNDLED

CLICKS, GIB = 600, 1 << 30


def main() -> None:
    spec = ModelSpec("default", "Default", "", "", BUNDLED)
    budget = budget_of(read_settings(None), (spec,), Limit(4 * GIB, "the control group"))
    worker = Worker(WorkerSettings((spec,), "cpu", host_cache_mib=budget.host_cache))
    rest = 256 + budget.patches + budget.volumes + budget.uploads
    rng = np.random.default_rng(0)
    voxels = rng.standard_normal((128, 128, 128)).astype(np.float32)
    patches: list[int] = []
    try:
        for n in range(1, CLICKS + 1):
            if n % 3 == 1:
                patches = [*patches[-9:], n]
            number = int(rng.choice(patches))
            place = tuple(rng.uniform(20, 100, 3).tolist())
            prompts = PatchPrompts([PatchClick((64.0, 64.0, 64.0), True), PatchClick(place, n % 4 > 0)])
            worker.submit(Job("default", patch_of(voxels + number, f"{number:064x}"), prompts)).result(300)
            if n % 100 == 0:
                resident, peak = (of_process(worker.pid or 0, name) for name in ("VmRSS", "VmHWM"))
                caches = ", ".join(f"{k} {h >> 20} of {m >> 20}" for k, (h, m) in worker.held.caches.items())
                print(
                    f"{n} clicks: worker {resident} MiB, peak {peak}; {caches}; "
                    f"with what the front may hold {peak + rest} MiB (goal: below 2048)",
                    flush=True,
                )
    finally:
        worker.close()


def of_process(pid: int, name: str) -> int:
    """Return a value in MiB of a process's status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) // 1024


if __name__ == "__main__":
    main()
