"""What this machine brings for networks, in words; and how long clicks take on it."""

from __future__ import annotations

import os

import torch

from sammed3d import samples
from sammed3d.core.control_groups import usable_processors
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.session import Session
from sammed3d.predictors import processor
from sammed3d.predictors.device import limit_threads
from sammed3d.predictors.products import rates

PLACES = ((-85.0, 110.3, 364.3), (-64.0, 104.3, 388.3))
"""In the left kidney of the sample CT, RAS mm."""


def describe_machine() -> dict[str, str]:
    """Return what a network finds here: what it is, and what it is like."""
    threads = limit_threads()
    usable, all_of_them = usable_processors(), os.cpu_count() or 1
    about = {
        "processor": processor.name(),
        "instructions": ", ".join(processor.instructions()) or "only what every processor has",
        "processors": str(usable) if usable == all_of_them else f"{usable} of {all_of_them} may be used here",
        "threads": str(threads),
        "PyTorch": torch.__version__,
        "libraries": ", ".join(_libraries()) or "PyTorch's own",
        "matrix products": str(rates()),
    }
    for number in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(number)
        about[f"cuda:{number}"] = f"{found.name}, {found.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        about["mps"] = "Apple GPU"
    return about


def click_seconds(predictor: Predictor) -> tuple[float, float]:
    """Return how long a first click and a further one take: in the left kidney of the sample CT.

    Args:
        predictor: the network. Of a 2-D model, a click goes through all slices of the kidney.
    """
    session = Session(Volume.read(samples.CT_ABDOMEN), predictor)
    first, further = (sum(session.click(place).seconds.values()) for place in PLACES)
    return first, further


def _libraries() -> list[str]:
    there = {"MKL": torch.backends.mkl.is_available(), "oneDNN": torch.backends.mkldnn.is_available()}  # type: ignore[no-untyped-call]
    return [name for name, available in there.items() if available]
