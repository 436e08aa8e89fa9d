"""Which device a network runs on, in which precision, and with how many threads."""

from __future__ import annotations

import os
from typing import Literal

import torch

from sammed3d.core.control_groups import threads_said, usable_processors
from sammed3d.errors import ModelError
from sammed3d.predictors import processor

AMPERE = 8
"""The first generation (compute capability) of NVIDIA's GPUs that multiplies bfloat16."""
Precision = Literal["auto", "float32", "bfloat16", "float16"]


def choose_device(device: str) -> torch.device:
    """Return the torch device for a name; "auto" takes CUDA, else MPS, else the CPU.

    Raises:
        ModelError: the name is malformed, or this machine has no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"Device {device!r} cannot be used here. Use auto, cpu, cuda, cuda:N or mps.") from error
    return chosen


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Return the autocast dtype, or None for plain float32.

    Raises:
        ModelError: unknown, or not supported by the device.
    """
    if precision == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if has_bfloat16(device) else torch.float16
    dtypes = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if precision not in dtypes:
        raise ModelError(f"Unknown precision {precision!r}. Use auto, float32, bfloat16 or float16.")
    if precision == "float16" and device.type == "cpu":
        raise ModelError("float16 is not supported on the CPU. Use float32 or bfloat16.")
    return dtypes[precision]


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 itself; where that is emulated it takes many times as long as float32.

    `torch.cuda.is_bf16_supported` counts emulation in, and asks the current GPU.
    """
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= AMPERE
    return device.type == "cpu" and processor.has_bfloat16()


def check_not_forked(process: int) -> None:
    """Refuse a process that was forked from another one, in which torch would wait for threads that are not there.

    Args:
        process: number of the process in which a network was made.

    Raises:
        ModelError: this is another one, and torch computes with several threads.
    """
    if os.getpid() != process and torch.get_num_threads() > 1:
        raise ModelError(
            "This process was forked from the one that loaded the model, and torch cannot compute in both. Start "
            'processes by "spawn" (multiprocessing.get_context("spawn")) and load the model in each of them.'
        )


def limit_threads(most: int = 0) -> int:
    """Let torch use no more threads than there are processors for it; returns how many it uses.

    torch counts the processors of the host. In a container that may use two of 64 its threads would wait for each
    other, and a click would take many times as long. What a user has set (`OMP_NUM_THREADS`) stays.

    Args:
        most: the share of this process where several share the processors; 0 for all of them.
    """
    now = torch.get_num_threads()
    wanted = min(now, usable_processors(), most or now)
    if wanted < now and not threads_said():
        torch.set_num_threads(wanted)
    return torch.get_num_threads()
