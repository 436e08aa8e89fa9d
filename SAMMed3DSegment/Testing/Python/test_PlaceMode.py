"""Placing points with the panel: place mode is given back however it ends."""

import pytest
import slicer


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
