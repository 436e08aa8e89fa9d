"""What the benchmarks share: a network with weights, a patch, timing and peak memory."""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "Server" / "tests"))

import golden_fill
from networks import filled
from sammed3d import nets


def filled_network(name: str = "sam_med3d") -> nets.SamMed3d:
    """Build a network with the deterministic weights of the parity tests."""
    return filled(nets.build(name)).requires_grad_(False)


def patch(size: int = 128) -> torch.Tensor:
    """Return a normalised test patch (1, 1, size, size, size)."""
    return torch.from_numpy(golden_fill.patch(0, size))[None]


def seconds(
    action: Callable[[], object], repeats: int, warm_up: int = 1, wait: Callable[[], None] | None = None
) -> float:
    """Return the median time of an action; `wait` blocks until a device has finished."""
    times = []
    for n in range(warm_up + repeats):
        begin = time.perf_counter()
        action()
        if wait is not None:
            wait()
        if n >= warm_up:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def forget_peak() -> None:
    """Start the peak of `peak_mib` anew from what is in use now (Linux)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Return the peak resident memory of this process, MiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def in_own_process(script: str, *arguments: str) -> list[float]:
    """Run a script and return the numbers on its last line."""
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=True)  # noqa: S603
    return [float(word) for word in done.stdout.strip().splitlines()[-1].split()]
