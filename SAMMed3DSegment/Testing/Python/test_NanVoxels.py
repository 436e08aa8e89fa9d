"""NaN and infinite voxels are told in the panel, not in the Python console alone."""

import numpy as np
import pytest
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from moving_ball import predictor as ballPredictor
from panels import carry, clickWorld, settle

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::sammed3d.errors.VolumeWarning")]
TOLD = "heart: 3 NaN or infinite voxels were treated as the smallest value (300)."


@pytest.fixture
def predictor():
    return ballPredictor()


def damage(node):
    """Give a volume node real voxels, three of which are no numbers."""
    image, whole = vtk.vtkImageData(), node.GetImageData()
    image.SetDimensions(whole.GetDimensions())
    image.AllocateScalars(vtk.VTK_FLOAT, 1)
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    voxels[:] = vtk_to_numpy(whole.GetPointData().GetScalars())
    voxels[[0, 7, 40]] = np.nan, np.inf, -np.inf
    node.SetAndObserveImageData(image)


@pytest.fixture
def series(browser):
    """The second and the fourth frame are damaged; the second is shown."""
    sequence = browser.GetMasterSequenceNode()
    for number in (1, 3):
        damage(sequence.GetNthDataNode(number))
    browser.SetSelectedItemNumber(1)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser


def test_the_first_click_on_an_object_says_so(module, ui, series, ball):
    clickWorld(module, ball.centres[1])
    assert ui.statusLabel.text.endswith(TOLD)
    clickWorld(module, ball.centres[1] + 4)
    assert "NaN" not in ui.statusLabel.text, "once for each object"
    module.panel.addSegment()
    clickWorld(module, ball.centres[1])
    assert ui.statusLabel.text.endswith(TOLD)
    series.SetSelectedItemNumber(2)
    module.panel.addSegment()
    clickWorld(module, ball.centres[2])
    assert "NaN" not in ui.statusLabel.text, "nothing is wrong in this frame"


def test_carrying_says_in_which_frames(module, ui, series, ball):
    clickWorld(module, ball.centres[1])
    carry(module)
    text = ui.propagateLabel.text
    assert text.startswith("5 of 5 frames are done.")
    assert text.endswith("NaN or infinite voxels were treated as the smallest value in frames: 2, 4.")


def test_a_search_says_so(module, ui, scene, series, ball):
    region = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "here")
    region.SetCenter(*ball.centres[1])
    region.SetSize(14, 14, 14)
    ui.findSection.collapsed = False
    ui.regionSelector.setCurrentIndex(1)
    ui.roiSelector.setCurrentNode(region)
    ui.findButton.click()
    settle(module)
    assert ui.findLabel.text.endswith(f" {TOLD}")
    series.SetSelectedItemNumber(0)
    settle(module)
    ui.findButton.click()
    settle(module)
    assert "found" in ui.findLabel.text
    assert "NaN" not in ui.findLabel.text
