"""Structures of labelled volumes, as several benchmarks take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sammed3d.files.datasets import cases_of, read_labels
from sammed3d.files.volume import Volume


@dataclass(frozen=True, eq=False)
class Structure:
    """A structure of a case.

    Attributes:
        case: the case's name.
        name: the structure's.
        volume: the image.
        truth: (I, J, K), 1 inside.
        millilitres: its volume.
    """

    case: str
    name: str
    volume: Volume
    truth: npt.NDArray[np.uint8]
    millilitres: float

    @property
    def told(self) -> dict[str, str | int]:
        """What names it in a line of results."""
        return {"case": self.case, "structure": self.name, "ml": round(self.millilitres)}


def structures(dataset: Path, smallest: float, every: int = 1, only: Sequence[str] = ()) -> Iterator[Structure]:
    """Yield every n-th structure of each case, or those of some names alone, unless it is too small.

    Args:
        dataset: folder of cases.
        smallest: ml.
        every: n.
        only: names; none for any.
    """
    for case in cases_of([dataset]):
        volume = Volume.read(case.image)
        labels = read_labels(case, volume.grid)
        for number, (name, values) in enumerate(case.structures_in(labels).items()):
            if name not in only if only else number % every:
                continue
            truth = np.isin(labels, values).astype(np.uint8)
            millilitres = float(truth.sum()) * volume.grid.voxel_volume / 1000
            if millilitres >= smallest:
                yield Structure(case.name, name, volume, truth, millilitres)
