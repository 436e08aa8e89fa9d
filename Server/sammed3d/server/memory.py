"""How much memory there is, and who may take how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from sammed3d.core.control_groups import folders_of_groups
from sammed3d.errors import ModelError

MIB = 2**20
FRONT_MIB = 256
"""What the front process takes beside its caches."""
WORKER_MIB = 960
"""What torch takes in a worker at its peak, weights and caches left out; `benchmarks/server_memory.py` measures it."""
WEIGHTS = 2.5
"""Times its file that a model takes while it works on a CPU."""
MOST_MIB = 32 * 1024
"""More is taken only where it is said."""
LEAST_MIB = 64
"""Below this, a cache serves nobody."""
PATCH_MIB = 8
LIMIT_FILES = {1: "memory.limit_in_bytes", 2: "memory.max"}
"""Where control groups have their limit, by the version of the interface."""
FEWEST, MOST = 16, 256
"""Predictions that may wait or run, on small and on large machines."""
SHARES = {"patches": 2, "volumes": 2, "uploads": 1, "host": 4}
"""In which proportion what is left is divided."""
MOST_GPU_MIB = 512
"""For each cache on a GPU, where nothing is said: GPUs have other guests, whom only the administrator knows."""


@dataclass(frozen=True)
class Limit:
    """The memory that there is.

    Attributes:
        bytes: its size.
        source: where the number comes from, in words.
    """

    bytes: int
    source: str


def memory_limit(root: Path = Path("/")) -> Limit:
    """Find out how much memory this process and its children can have.

    Args:
        root: root of the file system in which the kernel tells of control groups.

    Returns:
        The machine's memory, or that of the narrowest control group (cgroup v1 or v2) round this process.
    """
    narrowest = Limit(psutil.virtual_memory().total, "the machine")
    for version, folder in folders_of_groups("memory", root):
        try:
            text = (folder / LIMIT_FILES[version]).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and 0 < int(text) < narrowest.bytes:  # others: "max"
            narrowest = Limit(int(text), "the control group")
    return narrowest


@dataclass(frozen=True)
class Budget:
    """Who may take how much, in MiB.

    Attributes:
        total: all of it: processes, weights, caches and uploads.
        source: where that number comes from.
        patches: uploaded patches.
        volumes: volumes of clients of other products.
        uploads: bodies of requests that are on their way.
        gpu_cache: embeddings on a GPU, and logits again.
        host_cache: embeddings in the computer's memory, for each device, and logits again; on a CPU all there are.
    """

    total: int
    source: str
    patches: int
    volumes: int
    uploads: int
    gpu_cache: int
    host_cache: int

    @property
    def queue(self) -> int:
        """Predictions that may wait or run: each may hold a patch that the cache has no room for any more."""
        return max(FEWEST, min(MOST, self.patches // PATCH_MIB))

    def __str__(self) -> str:
        return (
            f"memory: {self.total} MiB ({self.source}), of which patches {self.patches}, volumes {self.volumes}, "
            f"uploads {self.uploads}, and on each device embeddings {self.host_cache} and logits {self.host_cache} "
            f"(on a GPU {self.gpu_cache} each of its own memory)"
        )


@dataclass(frozen=True)
class Wishes:
    """What the administrator says, in MiB; None for what is to follow from the memory there is.

    Attributes:
        total, patches, volumes, gpu_cache, host_cache: those of `Budget`.
    """

    total: int | None = None
    patches: int | None = None
    volumes: int | None = None
    gpu_cache: int | None = None
    host_cache: int | None = None


def divide(wishes: Wishes, weights: Sequence[int], workers: int, limit: Limit, volumes: bool = True) -> Budget:
    """Divide the memory: half of what there is, less what processes and weights need, among caches and uploads.

    Args:
        wishes: the sizes that were asked for; they come first, and the rest shares what they leave.
        weights: bytes of each model's file.
        workers: processes that load the models.
        limit: the memory there is.
        volumes: whether volumes are kept at all.

    Raises:
        ModelError: the models do not fit.
    """
    total = wishes.total or min(limit.bytes // 2 // MIB, MOST_MIB)
    share_of = "half" if total < MOST_MIB else "a part"
    source = "--memory-mib" if wishes.total else f"{share_of} of {limit.bytes // MIB} MiB, {limit.source}'s"
    needed = FRONT_MIB + workers * (WORKER_MIB + round(WEIGHTS * sum(weights) / MIB))
    host = None if wishes.host_cache is None else 2 * workers * wishes.host_cache
    fixed = {"patches": wishes.patches, "volumes": wishes.volumes if volumes else 0, "host": host}
    left = total - needed - sum(n for n in fixed.values() if n is not None)
    shares = {name: parts for name, parts in SHARES.items() if fixed.get(name) is None}
    if left < LEAST_MIB * len(shares):
        raise ModelError(
            f"{total} MiB of memory ({source}) are too few: models and caches need {needed + LEAST_MIB * 4}. "
            "Serve fewer models, allow more (--memory-mib), or take smaller caches."
        )
    unit = left / sum(shares.values())
    share = {name: int(unit * shares[name]) if n is None else n for name, n in (fixed | {"uploads": None}).items()}
    gpu = MOST_GPU_MIB if wishes.gpu_cache is None else wishes.gpu_cache
    return Budget(
        total, source, share["patches"], share["volumes"], share["uploads"], gpu, share["host"] // (2 * workers)
    )


def resident_bytes() -> int:
    """Return the memory that this process has in use."""
    return int(psutil.Process().memory_info().rss)
