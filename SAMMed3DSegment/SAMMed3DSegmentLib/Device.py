"""The device in words, and the installation of what prediction in this Slicer needs."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Sequence

REQUIREMENTS = {"torch": "torch>=2.6", "safetensors": "safetensors"}


def deviceInWords(device: str) -> str:
    """Say where a model runs: "NVIDIA RTX 4090, 24 GB", "CPU, 8 threads", with a hint where more is possible.

    Args:
        device: a torch device ("cpu", "cuda:1", "mps").

    Imports torch: for the thread that has loaded a model, never for the main thread, which could meet a torch that
    another thread is in the middle of importing.
    """
    import torch  # noqa: PLC0415

    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        return f"{properties.name}, {round(properties.total_memory / 2**30)} GB"
    if device == "mps":
        return "Apple GPU"
    threads = torch.get_num_threads()
    words = "CPU, 1 thread" if threads == 1 else f"CPU, {threads} threads"
    if shutil.which("nvidia-smi") and torch.version.cuda is None:
        words += (
            ". This computer has an NVIDIA GPU, but the installed PyTorch is for CPUs only: reinstall it with the "
            "PyTorch extension to be many times faster"
        )
    return words


def install(packages: Sequence[str], confirm: Callable[[str], bool], pipInstall: Callable[[str], object]) -> bool:
    """Install packages after asking: PyTorch with the PyTorch extension where it is there, all else with pip.

    Args:
        packages: some of `REQUIREMENTS`.
        confirm: asks the user.
        pipInstall: installs a requirement.

    Returns:
        Whether it was done; False if the user did not want it.
    """
    rest = list(packages)
    if "torch" in rest:
        try:
            import PyTorchUtils  # noqa: PLC0415 - another extension, where it is installed
        except ImportError:
            question = (
                "The models need PyTorch (about 200 MB to 3 GB). The PyTorch extension finds the build for your GPU; "
                "it is not installed. Install the standard build with pip now?"
            )
            if not confirm(question):
                return False
        else:
            logic = PyTorchUtils.PyTorchUtilsLogic()
            version = REQUIREMENTS["torch"].removeprefix("torch")
            if logic.installTorch(askConfirmation=True, torchVersionRequirement=version) is None:
                return False
            rest.remove("torch")
    elif not confirm(f"The models need {' and '.join(rest)} (less than 2 MB). Install with pip now?"):
        return False
    for name in rest:
        pipInstall(REQUIREMENTS[name])
    importlib.invalidate_caches()
    return True
