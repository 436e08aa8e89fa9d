"""How much of the machine is for this process, by control groups (cgroup v1 and v2, Linux) and by the user's word."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

THREADS = "OMP_NUM_THREADS"
"""The variable that OpenMP (torch) and OpenBLAS (NumPy, SciPy) take their number of threads from."""
THREADS_SAID = (THREADS, "MKL_NUM_THREADS")
"""Variables by which a user has decided about threads already."""


def threads_said() -> bool:
    """Tell whether the user has decided how many threads libraries start."""
    return any(os.environ.get(name) for name in THREADS_SAID)


def folders_of_groups(controller: str, root: Path = Path("/")) -> Iterator[tuple[int, Path]]:
    """Yield the folders in which the limits of this process's group may stand, and of those round it.

    Args:
        controller: "memory" or "cpu".
        root: root of the file system in which the kernel tells of control groups.

    Yields:
        The version of the interface, 1 or 2, and a folder, which need not exist.
    """
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    mounts = root / "sys" / "fs" / "cgroup"
    for line in lines:
        number, controllers, path = line.split(":", 2)
        groups = [PurePosixPath(path), *PurePosixPath(path).parents]
        if number == "0":
            version, folders = 2, [mounts, mounts / "unified"]
        elif controller in controllers.split(","):
            version, folders = 1, [mounts / controller, mounts / controllers]
        else:
            continue
        yield from ((version, folder / str(group).lstrip("/")) for folder in folders for group in groups)


def usable_processors(root: Path = Path("/")) -> int:
    """Return how many processors this process may use: those of its affinity, or fewer by a control group's quota.

    Args:
        root: root of the file system in which the kernel tells of control groups.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (_processors(version, folder) for version, folder in folders_of_groups("cpu", root))
    return max(1, min([affinity, *(math.ceil(quota) for quota in quotas if quota is not None)]))


def _processors(version: int, folder: Path) -> float | None:
    """Return the processors that a control group's quota of time is worth; None where it has none."""
    try:
        if version == 2:
            quota, _, period = (folder / "cpu.max").read_text().strip().partition(" ")
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except OSError:
        return None
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:  # "max", or -1
        return None
    return int(quota) / int(period)
