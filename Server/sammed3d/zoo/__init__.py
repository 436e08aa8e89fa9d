"""The zoo: which models exist, where they are kept, and how a name or a file becomes a predictor.

Only `load` and what reads checkpoints need torch; the registry, the store and downloads do not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sammed3d.zoo.load import load_predictor

__all__ = ["load_predictor"]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for."""
    if name == "load_predictor":
        return importlib.import_module("sammed3d.zoo.load").load_predictor
    raise AttributeError(f"module 'sammed3d.zoo' has no attribute {name!r}")
