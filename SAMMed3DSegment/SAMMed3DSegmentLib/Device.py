"""The device in words, and the installation of PyTorch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from SAMMed3DSegmentLib.Predictors import torchInstalled

REQUIREMENT = ">=2.6"


def deviceInWords(device: str = "auto", torch: Any = None) -> str:
    """Say where a model would run: "NVIDIA RTX 4090, 24 GB", "CPU, 8 threads", with a hint where more is possible.

    Args:
        device: as in `load_predictor`.
        torch: the module, where it was imported already; it is not imported for this.
    """
    if not torchInstalled():
        return "PyTorch is not installed"
    if torch is None:
        return "known when the model is first used"
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        return f"{properties.name}, {round(properties.total_memory / 2**30)} GB"
    if device == "mps":
        return "Apple GPU"
    words = f"CPU, {torch.get_num_threads()} threads"
    if shutil.which("nvidia-smi") and torch.version.cuda is None:
        words += (
            ". This computer has an NVIDIA GPU, but the installed PyTorch is for CPUs only: reinstall it with the "
            "PyTorch extension to be many times faster"
        )
    return words


def installTorch(confirm: Callable[[str], bool], pipInstall: Callable[[str], None]) -> bool:
    """Install PyTorch after asking: with the PyTorch extension where it is there, else with pip.

    Returns:
        Whether torch can be used now.
    """
    try:
        import PyTorchUtils  # noqa: PLC0415 - another extension, where it is installed
    except ImportError:
        question = (
            "The models need PyTorch (about 200 MB to 3 GB). The PyTorch extension finds the build for your GPU; "
            "it is not installed. Install the standard build with pip now?"
        )
        if not confirm(question):
            return False
        pipInstall(f"torch{REQUIREMENT}")
        pipInstall("safetensors")
    else:
        logic = PyTorchUtils.PyTorchUtilsLogic()
        if logic.installTorch(askConfirmation=True, torchVersionRequirement=REQUIREMENT) is None:
            return False
        pipInstall("safetensors")
    return torchInstalled()
