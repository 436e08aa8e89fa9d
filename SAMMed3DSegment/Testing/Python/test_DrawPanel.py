"""Drawing with the mouse: buttons, keys, slice views in any orientation, and what goes wrong."""

import numpy as np
import pytest
import slicer
import vtk

import qt
from helpers import make_affine, phantom
from mrmlNodes import addVolume, voxels
from panels import settle
from sammed3d.core.rasterisation import voxels_of
from SAMMed3DSegmentLib import DrawingNodes
from SAMMed3DSegmentLib.PointList import GREEN, RED
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from slicerHarness.views import SliceView


@pytest.fixture
def volumeNode(module, ui, scene):
    """The phantom, chosen as the user would."""
    node = addVolume(scene, phantom((40, 50, 30)), make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30)))
    ui.volumeSelector.setCurrentNode(node)
    return node


@pytest.fixture
def view(module, volumeNode):
    """A slice view through something, in which the panel draws."""
    view = SliceView("ViewDrawing")
    view.show(volumeNode, through=centreOf(volumeNode))
    return view


def centreOf(volumeNode):
    return volumeFromNode(volumeNode).grid.to_world((20, 25, 15))


def circle(view, volumeNode, radius=30):
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.add(view.pixelOf(centreOf(volumeNode)), radius * np.stack([np.cos(turn), np.sin(turn)], axis=1))


def line(view, volumeNode, reach=25):
    return np.add(view.pixelOf(centreOf(volumeNode)), [(n, n / 3) for n in range(-reach, reach, 3)])


def test_what_is_being_drawn_has_the_colour_of_its_kind(module, ui, view):
    ui.scribbleButton.click()
    for takesAway, colour in ((False, GREEN), (True, RED), (False, GREEN)):
        ui.takesAwayCheckBox.setChecked(takesAway)
        view.interactor.SetEventInformation(200, 200)
        view.interactor.InvokeEvent("LeftButtonPressEvent")
        assert slicer.util.getNode("drawing").GetDisplayNode().GetSelectedColor() == colour
        module.panel.drawing.mode.freeHand.drop()


def drawn(module):
    return list(DrawingNodes.drawingNodes(module.panel.segmenter.segmentationNode, module.panel.segmentId))


@pytest.mark.parametrize("orientation", ["Axial", "Sagittal", "Reformat"])
def test_a_stroke_in_a_slice_becomes_a_scribble_where_the_mouse_was(module, ui, volumeNode, view, orientation):
    if orientation == "Reformat":
        matrix, transform = view.node.GetSliceToRAS(), vtk.vtkTransform()
        transform.SetMatrix(matrix)
        transform.RotateX(25)
        matrix.DeepCopy(transform.GetMatrix())
        view.node.UpdateMatrices()
    else:
        view.node.SetOrientation(orientation)
    view.show(volumeNode, through=centreOf(volumeNode))
    ui.scribbleButton.click()
    assert ui.scribbleButton.checked
    assert "Hold the left button" in ui.hintLabel.text
    pixels = line(view, volumeNode)
    expected = [view.worldAt(int(x), int(y)) for x, y in pixels]
    view.draw(pixels)
    settle(module)
    [node] = drawn(module)
    assert node.GetNumberOfControlPoints() == len(pixels)
    for index, world in enumerate(expected):
        assert np.allclose(node.GetNthControlPointPositionWorld(index), world, atol=1e-3)
    mask = voxels(module.panel.segmenter.segmentationNode, module.panel.segmentId)
    assert mask[tuple(voxels_of(DrawingNodes.drawingOf(node), volumeFromNode(volumeNode).grid).T)].all()
    assert ui.scribbleButton.checked, "drawing goes on"
    ui.undoButton.click()
    settle(module)
    assert drawn(module) == []
    ui.scribbleButton.click()
    assert not ui.scribbleButton.checked
    view.draw(pixels)
    settle(module)
    assert drawn(module) == [], "the mouse is the view's again"


def test_a_loop_that_takes_away_is_red_and_empties_what_it_encloses(module, ui, volumeNode, view):
    ui.scribbleButton.click()
    view.draw(line(view, volumeNode))
    settle(module)
    ui.takesAwayCheckBox.setChecked(True)
    ui.lassoButton.click()
    assert (ui.scribbleButton.checked, ui.lassoButton.checked) == (False, True)
    view.draw(circle(view, volumeNode, 12))
    settle(module)
    _, lasso = drawn(module)
    assert lasso.IsA("vtkMRMLMarkupsClosedCurveNode")
    assert lasso.GetDisplayNode().GetSelectedColor()[0] > 0.9
    inside = tuple(voxels_of(DrawingNodes.drawingOf(lasso), volumeFromNode(volumeNode).grid).T)
    segmentation, segmentId = module.panel.segmenter.segmentationNode, module.panel.segmentId
    assert len(inside[0])
    assert not voxels(segmentation, segmentId)[inside].any()
    ui.honourCheckBox.click()
    settle(module)
    assert not ui.honourCheckBox.checked
    ui.undoButton.click()
    settle(module)
    assert ui.honourCheckBox.checked
    assert not voxels(segmentation, segmentId)[inside].any()


def test_what_is_no_loop_is_said_and_drawing_goes_on(module, ui, volumeNode, view):
    ui.lassoButton.click()
    view.draw([view.pixelOf(centreOf(volumeNode))] * 3)
    assert "lasso" in ui.statusLabel.text
    assert "\n" not in ui.statusLabel.text
    assert drawn(module) == []
    assert ui.lassoButton.checked
    view.draw(circle(view, volumeNode))
    settle(module)
    assert len(drawn(module)) == 1


def test_points_and_drawings_take_turns(module, ui, volumeNode, view):
    ui.scribbleButton.click()
    ui.positiveButton.click()
    assert (ui.scribbleButton.checked, ui.positiveButton.checked) == (False, True)
    ui.lassoButton.click()
    assert (ui.lassoButton.checked, ui.positiveButton.checked) == (True, False)
    module.exit()
    assert not module.panel.drawing.mode.freeHand.active
    module.enter()
    assert not ui.lassoButton.checked


def test_the_line_that_follows_the_mouse_is_gone_afterwards_and_is_never_saved(module, ui, volumeNode, view):
    curves = lambda: slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLMarkupsCurveNode")  # noqa: E731
    ui.scribbleButton.click()
    view.interactor.SetEventInformation(*map(int, view.pixelOf(centreOf(volumeNode))))
    view.interactor.InvokeEvent("LeftButtonPressEvent")
    assert curves() == 1
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsCurveNode")
    assert not node.GetSaveWithScene()
    assert not DrawingNodes.isDrawing(node)
    ui.scribbleButton.click()
    assert curves() == 0, "stopped in the middle"
    assert drawn(module) == []


def test_with_shift_or_in_place_mode_of_others_the_mouse_is_theirs(module, ui, volumeNode, view):
    ui.scribbleButton.click()
    view.draw(line(view, volumeNode), shift=1)
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.Place)
    view.draw(line(view, volumeNode))
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    assert drawn(module) == []


def test_drawings_are_hidden_with_the_points(module, ui, volumeNode, view):
    ui.scribbleButton.click()
    view.draw(line(view, volumeNode))
    settle(module)
    ui.pointsButton.click()
    assert not ui.pointsButton.checked
    assert not drawn(module)[0].GetDisplayVisibility()
    view.draw(line(view, volumeNode, 15))
    settle(module)
    assert not any(node.GetDisplayVisibility() for node in drawn(module)), "nor are new ones shown"
    ui.pointsButton.click()
    assert all(node.GetDisplayVisibility() for node in drawn(module))


def test_a_stroke_right_after_another_one_is_drawn_and_no_double_click(module, ui, volumeNode, view):
    """In a slice view of Slicer's a double click makes the view fill the window."""
    ui.scribbleButton.click()
    seen = []
    view.interactor.AddObserver("LeftButtonDoubleClickEvent", lambda *_: seen.append(True))
    view.draw(line(view, volumeNode))
    view.draw(line(view, volumeNode, 15), quickly=True)
    settle(module)
    assert len(drawn(module)) == 2
    assert seen == []


def test_keys_draw_and_shift_takes_away(module, ui, volumeNode, view):
    drawing = module.panel.drawing
    for kind, button in ((DrawingNodes.Scribble, ui.scribbleButton), (DrawingNodes.Lasso, ui.lassoButton)):
        drawing.toggle(kind, True)
        assert button.checked
        assert not ui.takesAwayCheckBox.checked
        drawing.toggle(kind, False)
        assert button.checked
        assert ui.takesAwayCheckBox.checked
        drawing.toggle(kind, False)
        assert not button.checked
    qt.QApplication.processEvents()


def test_that_drawings_are_not_to_hold_can_be_said_before_the_first_one(module, ui, volumeNode, view):
    ui.addSegmentButton.click()
    ui.honourCheckBox.click()
    settle(module)
    ui.scribbleButton.click()
    view.draw(line(view, volumeNode))
    settle(module)
    assert len(drawn(module)) == 1
    assert not ui.honourCheckBox.checked
    assert not module.panel.segmenter.honours(module.panel.segmentId)
