"""Placing points with the panel: place mode is given back however it ends."""

import numpy as np
import pytest
import slicer

from panels import placeClick, settle
from SAMMed3DSegmentLib import PointList
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import SPOTS
from slicerHarness.views import SliceView


def placeState():
    logic = slicer.app.applicationLogic()
    selection, interaction = logic.GetSelectionNode(), logic.GetInteractionNode()
    return (
        selection.GetActivePlaceNodeClassName(),
        selection.GetActivePlaceNodeID(),
        interaction.GetPlaceModePersistence(),
    )


@pytest.fixture
def otherList(scene):
    """Another module's point list, the active one."""
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "Diameter")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsLineNode")
    selection.SetReferenceActivePlaceNodeID(points.GetID())
    yield points
    selection.SetReferenceActivePlaceNodeID(None)


@pytest.mark.parametrize("ending", ["button", "right click", "module left"])
def test_place_mode_is_given_back_however_it_ends(module, ui, chosenVolume, otherList, ending):
    before = placeState()
    ui.positiveButton.click()
    assert placeState() != before
    if ending == "button":
        ui.positiveButton.click()
    elif ending == "right click":
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    else:
        module.parent.exit()
    assert placeState() == before
    assert not ui.positiveButton.checked


def test_a_roi_drawn_for_the_box_takes_place_mode_over(module, ui, chosenVolume, scene):
    """As the Markups toolbar does it: our list is not the active one any more, and one ROI is drawn, not many."""
    ui.positiveButton.click()
    assert ui.positiveButton.checked
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsROINode")
    selection.SetReferenceActivePlaceNodeID(roi.GetID())
    assert not ui.positiveButton.checked, "points would not be clicks now"
    assert placeState() == ("vtkMRMLMarkupsROINode", roi.GetID(), 0)
    assert module.panel.segmenter.objectPrompts([module.panel.segmentId])[0].clicks == ()


def test_place_mode_ends_with_the_point_list(module, ui, chosenVolume, otherList, scene):
    """Else Slicer would put the next click in a list of its own, and nothing would be segmented."""
    before, interaction = placeState(), slicer.app.applicationLogic().GetInteractionNode()
    ui.positiveButton.click()
    scene.RemoveNode(next(PointList.pointLists()))
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert placeState() == before
    assert not ui.positiveButton.checked
    ui.positiveButton.click()
    assert ui.positiveButton.checked
    placeClick(module, SPOTS[0])
    assert len(module.panel.segmenter.objectPrompts([module.panel.segmentId])[0].clicks) == 1


def test_what_others_place_goes_on_when_the_point_list_is_removed(module, ui, chosenVolume, otherList, scene):
    ui.positiveButton.click()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetReferenceActivePlaceNodeID(otherList.GetID())
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    scene.RemoveNode(next(PointList.pointLists()))
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert selection.GetActivePlaceNodeID() == otherList.GetID()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)


def test_drawing_ends_what_others_were_placing(module, ui, chosenVolume, otherList):
    """The button is pressed, so the mouse draws."""
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.Place)
    centre = volumeFromNode(chosenVolume).grid.to_world(SPOTS[0])
    view = SliceView("Placing")
    view.show(chosenVolume, through=centre)
    ui.scribbleButton.click()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    view.draw(np.add(view.pixelOf(centre), [(n, 0) for n in range(-20, 20, 4)]))
    settle(module)
    assert len(module.panel.segmenter.objectPrompts([module.panel.segmentId])[0].drawings) == 1
    assert otherList.GetNumberOfControlPoints() == 0
