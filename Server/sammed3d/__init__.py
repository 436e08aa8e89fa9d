"""Click-to-segment for 3-D medical images with SAM-Med3D and its family.

World coordinates are patient RAS in mm; arrays are (I, J, K) in the order of the image file.

Example:
    >>> import sammed3d
    >>> volume = sammed3d.Volume.read("ct.nii.gz")
    >>> session = sammed3d.Session(volume, sammed3d.load_predictor("default"))
    >>> session.click((12.0, -30.5, 88.0))
    >>> mask = session.mask()

Importing this package does not import torch; `load_predictor`, `load_model` and `nets` do, when first used.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.drawings import Lasso, Scribble
from sammed3d.core.geometry import Box, Grid
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts
from sammed3d.errors import (
    AmbiguousFamilyError,
    CheckpointError,
    ModelError,
    ModelWarning,
    PredictionCancelled,
    PromptError,
    SAMMed3DError,
    VolumeError,
    VolumeWarning,
)
from sammed3d.files.picture import Picture
from sammed3d.files.volume import Volume
from sammed3d.inference.picture_session import PictureSession
from sammed3d.inference.predictor import Capabilities, PatchBox, PatchClick, PatchPrompts, Prediction, Predictor
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session
from sammed3d.inference.session_object import SessionObject, Update

if TYPE_CHECKING:
    from sammed3d import nets
    from sammed3d.zoo import LoadedModel, load_model, load_predictor

__version__ = "0.1.0"

if sys.platform == "darwin":
    # Apple's GPUs lack operations of the default model up to torch 2.8, which reads this when it is first imported
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

__all__ = [
    "AmbiguousFamilyError",
    "Box",
    "BoxPrompt",
    "Cancellation",
    "Capabilities",
    "CheckpointError",
    "Click",
    "Grid",
    "Lasso",
    "LoadedModel",
    "ModelError",
    "ModelWarning",
    "ObjectPrompts",
    "PatchBox",
    "PatchClick",
    "PatchPrompts",
    "Picture",
    "PictureSession",
    "Prediction",
    "PredictionCancelled",
    "Predictor",
    "Preset",
    "PromptError",
    "SAMMed3DError",
    "Scribble",
    "Session",
    "SessionObject",
    "Update",
    "Volume",
    "VolumeError",
    "VolumeWarning",
    "load_model",
    "load_predictor",
    "nets",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for."""
    if name == "nets":
        return importlib.import_module("sammed3d.nets")
    if name in ("LoadedModel", "load_model", "load_predictor"):
        return getattr(importlib.import_module("sammed3d.zoo"), name)
    raise AttributeError(f"module 'sammed3d' has no attribute {name!r}")
