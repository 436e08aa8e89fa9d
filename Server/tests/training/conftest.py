"""Data that the tests of training share."""

import numpy as np
import pytest

from helpers import make_affine, phantom, write_image
from sammed3d.files.datasets import find_cases
from sammed3d.training import prepared
from training_runs import SHAPE


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Five cases with two structures, prepared at 3 mm."""
    folder = tmp_path_factory.mktemp("data")
    affine = make_affine((3.0, 3.0, 4.0))
    axes = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    for n in range(5):
        labels = np.zeros(SHAPE, np.uint8)
        for value, centre in ((1, (10 + n, 12, 10)), (2, (20, 20 + n, 16))):
            labels[sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) < 25] = value
        image = phantom(SHAPE, n) // 4 + 400 * (labels > 0) + 1
        case = folder / "raw" / f"case{n}"
        case.mkdir(parents=True)
        write_image(case / "image.nii.gz", image.astype(np.int16), affine)
        write_image(case / "label.nii.gz", labels, affine)
        (case / "labels.json").write_text('{"1": "left kidney", "2": "spleen"}')
    prepared.prepare(find_cases(folder / "raw"), folder / "ready", "ct_test", spacing=3.0, validation=0.2, seed=1)
    return folder
