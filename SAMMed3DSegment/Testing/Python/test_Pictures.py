"""Coloured pictures in the panel, as Slicer loads PNG files: a slice of red, green and blue."""

import numpy as np
import pytest
import slicer

from helpers import RegionPredictor
from mrmlNodes import voxels
from panels import settle, shownSegmentation
from sammed3d import Grid, Picture, PictureSession
from sammed3d.files.picture import PLANE, PictureVolume
from sammed3d.web.volume_nodes import volume_node_of
from SAMMed3DSegmentLib.VolumeBridge import segmentableFromNode


@pytest.fixture
def predictor():
    """Stands for a 2-D model."""
    return RegionPredictor()


@pytest.fixture
def picture(scene):
    """Two bright squares on a tint, and its node."""
    pixels = np.full((64, 96, 3), (40, 20, 0), np.uint8)
    pixels[30:50, 10:30] = pixels[5:25, 60:80] = 255
    picture = Picture(pixels, Grid((96, 64, 1), PLANE), "lesion.png")
    return picture, volume_node_of(PictureVolume.of(picture))


def test_a_picture_is_chosen_and_clicked_as_a_volume(module, ui, picture, predictor):
    shown, node = picture
    ui.volumeSelector.setCurrentNode(node)
    assert ui.volumeSelector.currentNode() is node
    ui.positiveButton.click()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    points = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    points.AddControlPointWorld(-15.0, -35.0, 0.0)
    settle(module)
    session = PictureSession(shown, predictor)
    session.click(15, 35)
    [segment_id] = shownSegmentation(module).GetSegmentation().GetSegmentIDs()
    made = voxels(shownSegmentation(module), segment_id, (96, 64, 1))[..., 0].T
    assert made.any()
    assert np.array_equal(made, session.mask())
    assert np.array_equal(segmentableFromNode(node).picture.pixels, shown.pixels)


def test_what_needs_a_volume_says_so_in_one_line(module, ui, picture):
    ui.volumeSelector.setCurrentNode(picture[1])
    ui.findSection.collapsed = False
    ui.findButton.click()
    assert "lesion: this is a colour or vector volume" in ui.findLabel.text
