"""The zoo: which models exist, where they are kept, and how a name or a file becomes a predictor.

Only `load` and what reads checkpoints need torch; the registry, the store and downloads do not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sammed3d.zoo.load import load_model, load_predictor
    from sammed3d.zoo.model import LoadedModel

__all__ = ["LoadedModel", "load_model", "load_predictor"]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for."""
    if name in ("load_model", "load_predictor"):
        return getattr(importlib.import_module("sammed3d.zoo.load"), name)
    if name == "LoadedModel":
        return importlib.import_module("sammed3d.zoo.model").LoadedModel
    raise AttributeError(f"module 'sammed3d.zoo' has no attribute {name!r}")
