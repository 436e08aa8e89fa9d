"""Sessions on a phantom that tests draw in."""

import numpy as np

from helpers import CENTRE, ThresholdPredictor, make_affine, small_volume
from sammed3d.core.geometry import Grid
from sammed3d.core.rasterisation import voxels_of
from sammed3d.files.volume import Volume
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session

STROKE = ((45.0, 75.0, 45.0), (60.0, 80.0, 45.0), (80.0, 75.0, 45.0))
LOOP = ((45.0, 60.0, 45.0), (80.0, 60.0, 45.0), (80.0, 95.0, 45.0), (45.0, 95.0, 45.0))
BOX = ((30.0, 45.0, 30.0), (90.0, 105.0, 63.0))

PRESET = Preset(spacing=(3.0, 3.0, 3.0), patch_shape=(64, 64, 64), low_res_shape=(16, 16, 16))


def session_of(volume=None, threshold=0.437, preset=PRESET):
    """A session on `small_volume()` or another volume; what is brighter than the threshold is inside."""
    return Session(volume or small_volume(), ThresholdPredictor(threshold, preset))


def marks(session, drawing):
    """The mask in the voxels that a drawing marks."""
    return session.mask()[tuple(voxels_of(drawing, session.volume.grid).T)]


def bright_ball(radius=20.0, shape=(40, 50, 30)):
    """A ball round CENTRE in 3 mm voxels."""
    grid = Grid(shape, make_affine((3, 3, 3)))
    distance = np.linalg.norm(grid.to_world(np.stack(np.indices(shape), -1)) - CENTRE, axis=-1)
    return Volume(np.where(distance < radius, 900, 100).astype(np.int16), grid, "ball")
