"""Clicks through the real interactor, in offscreen slice and 3-D views."""

import numpy as np
import pytest
import slicer
import vtk

from mrmlNodes import voxels
from SAMMed3DSegmentLib import PointList, Surface
from SAMMed3DSegmentLib.PlaceMode import PlaceMode
from SAMMed3DSegmentLib.Shortcuts import SLICE_VIEW_KEYS_TAKEN
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import settle
from slicerHarness.views import SliceView, ThreeDView


@pytest.fixture
def placing(segmenter, segmentationNode):
    """Place mode in a new segment."""
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("liver")
    mode = PlaceMode()
    mode.start(lambda: segmenter.pointsFor(segmentId))
    yield segmentId
    mode.close()


def pixelSize(view):
    corner, next_ = view.worldAt(0, 0), view.worldAt(1, 0)
    return np.linalg.norm(np.subtract(next_, corner))


@pytest.mark.parametrize("orientation", ["Axial", "Sagittal", "Coronal", "Reformat"])
def test_clicks_in_a_slice_land_where_the_pixel_says(segmenter, segmentationNode, placing, orientation):
    centre = volumeFromNode(segmenter.volumeNode).grid.to_world((20, 25, 15))
    view = SliceView(f"View{orientation}", "Axial" if orientation == "Reformat" else orientation)
    if orientation == "Reformat":
        matrix = view.node.GetSliceToRAS()
        transform = vtk.vtkTransform()
        transform.SetMatrix(matrix)
        transform.RotateX(25)
        transform.RotateY(-15)
        matrix.DeepCopy(transform.GetMatrix())
        view.node.UpdateMatrices()
    view.show(segmenter.volumeNode, through=centre)
    pixels = [view.pixelOf(centre), np.add(view.pixelOf(centre), (14, -9))]
    for pixel in pixels:
        view.click(*pixel)
        settle(segmenter)
    points = segmenter.pointsFor(placing)
    assert points.GetNumberOfDefinedControlPoints() == 2, "placing goes on after the first point"
    for index, pixel in enumerate(pixels):
        expected = view.worldAt(int(pixel[0]), int(pixel[1]))
        assert np.linalg.norm(np.subtract(points.GetNthControlPointPositionWorld(index), expected)) < pixelSize(view)
    assert voxels(segmentationNode, placing).any()


def test_polarity_may_change_while_a_point_follows_the_mouse(segmenter, placing):
    centre = volumeFromNode(segmenter.volumeNode).grid.to_world((20, 25, 15))
    view = SliceView("ViewPolarity")
    view.show(segmenter.volumeNode, through=centre)
    points, start = segmenter.pointsFor(placing), view.pixelOf(centre)
    for n, positive in enumerate((True, False, True)):
        segmenter.positive = positive
        at = np.add(start, (20 * n, 10 * n)).astype(int)
        view.interactor.SetEventInformation(*at.tolist())
        view.interactor.InvokeEvent("MouseMoveEvent")
        preview = points.GetNumberOfControlPoints() - 1
        assert not PointList.isPlaced(points, preview)
        assert bool(points.GetNthControlPointSelected(preview)) == positive, "it has the colour of what it will be"
        view.click(*at)
        settle(segmenter)
    assert [click.positive for click in PointList.clicksFromPointList(points, segmenter.volumeNode)] == [
        True,
        False,
        True,
    ]


def test_a_point_is_dragged_in_a_slice(segmenter, placing, predictor):
    centre = volumeFromNode(segmenter.volumeNode).grid.to_world((20, 25, 15))
    view = SliceView("ViewDrag")
    view.show(segmenter.volumeNode, through=centre)
    start = view.pixelOf(centre)
    view.click(*start)
    settle(segmenter)
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    calls, end = len(predictor.calls), np.add(start, (30, 20))
    view.drag(start, end)
    settle(segmenter)
    moved = segmenter.pointsFor(placing).GetNthControlPointPositionWorld(0)
    assert np.linalg.norm(np.subtract(moved, view.worldAt(*map(int, end)))) < 2 * pixelSize(view)
    assert len(predictor.calls) == calls + 1, "one prediction, when the mouse is let go"


def test_clicks_on_a_surface_in_3d(segmenter, segmentationNode, placing):
    grid = volumeFromNode(segmenter.volumeNode).grid
    segmenter.click(placing, grid.to_world((20, 25, 15)))
    settle(segmenter)
    Surface.show(segmentationNode, True)
    view = ThreeDView("3D")
    camera = view.renderer.GetActiveCamera()
    centre = np.mean(grid.corners(), axis=0)
    camera.SetFocalPoint(*centre)
    camera.SetPosition(centre[0], centre[1] + 400, centre[2])
    view.renderer.ResetCameraClippingRange()
    view.window.Render()
    view.click(200, 200)
    settle(segmenter)
    points = segmenter.pointsFor(placing)
    assert points.GetNumberOfDefinedControlPoints() == 2
    clicked = PointList.clicksFromPointList(points, segmenter.volumeNode)[1]
    surface = vtk.vtkPolyData()
    segmentationNode.GetClosedSurfaceRepresentation(placing, surface)
    assert grid.contains(clicked.world)
    assert np.abs(np.subtract(clicked.world, centre)[[0, 2]]).max() < 3, "under the pixel in the middle"


def test_of_the_slice_views_keys_two_are_taken_and_no_other(module, volumeNode):
    view = SliceView()
    view.show(volumeNode)
    composite = view.logic.GetSliceCompositeNode()
    composite.SetForegroundVolumeID(volumeNode.GetID())
    for event in ("EnterEvent", "MouseMoveEvent"):
        view.interactor.SetEventInformation(200, 200)
        view.interactor.InvokeEvent(event)

    def look():
        node = view.node
        return node.GetSliceOffset(), node.GetFieldOfView(), node.GetSliceVisible(), composite.GetForegroundOpacity()

    def does(key):
        """Tell whether a key changes what a slice view shows."""
        composite.SetForegroundOpacity(0.5)
        view.node.SetFieldOfView(111, 111, 1)
        before = look()
        view.interactor.SetKeyCode(key.lower())
        view.interactor.SetKeySym(key.lower())
        view.interactor.InvokeEvent("KeyPressEvent")
        return look() != before

    assert all(does(key) for key in "BFTVR"), "the view has the keys"
    keys = {shortcut.key.toString() for shortcut in module.panel.shortcuts.keys}
    assert {key for key in keys if len(key) == 1 and does(key)} == SLICE_VIEW_KEYS_TAKEN == {"B", "T"}
