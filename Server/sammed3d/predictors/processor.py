"""What the processor is and can do, as far as it matters to networks."""

from __future__ import annotations

import platform
from typing import Any

import torch

FEATURES = {
    "avx2": "AVX2",
    "avx512_f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "bfloat16",
    "amx_bf16": "AMX",
    "neon": "NEON",
    "sve": "SVE",
    "i8mm": "I8MM",
    "bf16": "BF16",
}
"""Instruction sets that matter to networks: torch's names and the usual ones; the last four are ARM's."""


def name() -> str:
    """Return the processor's name, as it calls itself."""
    return str(_capabilities().get("cpu_name") or platform.processor() or platform.machine())


def instructions() -> list[str]:
    """Return which of `FEATURES` there are; of older versions of torch the one name that they know."""
    known = _capabilities()
    if not known:
        return [word for word in [torch.backends.cpu.get_cpu_capability()] if word != "DEFAULT"]
    return [word for feature, word in FEATURES.items() if known.get(feature)]


def has_bfloat16() -> bool:
    """Whether it multiplies bfloat16 itself; where that is emulated it takes many times as long as float32.

    Not on ARM, whatever the processor has: whether torch makes use of it there depends on how it was built.
    """
    return not {"bfloat16", "AMX"}.isdisjoint(instructions())


def is_slow_with_mkl() -> bool:
    """Whether MKL leaves much of it unused: on AMD's processors it does not use AVX-512."""
    return "AVX-512" in instructions() and name().startswith("AMD")


def _capabilities() -> dict[str, Any]:
    """What torch knows of the processor; nothing where it is too old to tell."""
    ask = getattr(torch.cpu, "get_capabilities", None)
    return {} if ask is None else dict(ask())
