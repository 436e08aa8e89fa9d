"""What those hear who do not see the page: place, value, segments and clicks at the crosshair."""

import numpy as np
import pytest
import slicer

from helpers import phantom
from sammed3d import Grid, Volume
from sammed3d.web.crosshair import at_crosshair
from segmenters import until

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


@pytest.fixture
def cursor(scene):
    """Moves the crosshair."""
    node = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    if node is None:
        node = slicer.vtkMRMLCrosshairNode()
        node.SetSingletonTag("default")
        node = slicer.mrmlScene.AddNode(node)
    return node.SetCursorPositionRAS


def test_place_value_segments_and_clicks_are_said(work, cursor):
    assert at_crosshair(work) == ""
    array = phantom((40, 50, 30))
    work.open(Volume(array, Grid((40, 50, 30), AFFINE), "CT 7"))
    cursor([-500.0, 0.0, 0.0])
    assert at_crosshair(work) == "Outside the image."
    cursor([40.0, 50.0, 45.0])
    value = f"{float(array[20, 25, 15]):.6g}"
    assert at_crosshair(work) == f"R 40, A 50, S 45 mm: value {value}, no segment."
    work.segmenter.click(work.segment_id, (40.0, 50.0, 45.0))
    until(lambda: not work.segmenter.busy, work.poll)
    assert at_crosshair(work) == f"R 40, A 50, S 45 mm: value {value}, Segment_1, a positive click."
    work.undo()
    assert at_crosshair(work).endswith("no segment.")
