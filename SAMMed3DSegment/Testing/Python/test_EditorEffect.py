"""The Segment Editor's effect "SAM-Med3D", in an editor that is as strict as Slicer's."""

import sys

import numpy as np
import pytest
import slicer

import qt
from large_objects import FloodPredictor, bar, start_of
from mrmlNodes import addVolume, drawByHand, voxels
from panels import MODULE, keptModules, settle
from sammed3d import Box
from SAMMed3DSegmentLib import DrawingNodes, PointList
from SAMMed3DSegmentLib.SegmentReader import digestOfSegment, heldMask
from SAMMed3DSegmentLib.SegmentWriter import overwriteMode
from SAMMed3DSegmentLib.Settings import SERVER
from segmenters import SPOTS, worldOf
from slicerHarness import segmentEditor
from slicerHarness.views import SliceView


def place(module, ijk):
    """Click where place mode puts the point: in the active list."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    points = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    points.AddControlPointWorld(worldOf(module.panel.segmenter, ijk))
    settle(module)


def clicksOf(segmentationNode, segmentId):
    points = PointList.pointListOf(segmentationNode, segmentId)
    return [] if points is None else [PointList.isPositive(points, n) for n in range(points.GetNumberOfControlPoints())]


def test_the_effect_is_registered_hidden_module_and_all(registered):
    assert registered.hidden
    assert "SAMMed3DSegment" in registered.dependencies
    [effect] = segmentEditor.qSlicerSegmentEditorEffectFactory.instance().registered
    assert effect.name == effect.title == "SAM-Med3D"
    assert effect.perSegment
    assert not effect.self().icon().isNull()
    assert "not for clinical decisions" in effect.self().helpText()
    assert slicer.SegmentEditorSAMMed3DLib is effect.self()


@pytest.mark.slow
def test_nothing_of_the_module_is_loaded_before_the_effect_is_used():
    import subprocess

    code = (
        "import sys, types; sys.path[:0] = {path}\n"
        "import slicer, slicerHarness, SegmentEditorSAMMed3D\n"
        "slicer.modules.sammed3dsegment = types.SimpleNamespace(path={module!r})\n"
        "SegmentEditorSAMMed3D.SegmentEditorSAMMed3D(types.SimpleNamespace(path={source!r}))\n"
        "slicerHarness.scene.startupFunctions[-1]()\n"
        "assert slicer.qMRMLSegmentEditorWidget().effectByName('SAM-Med3D') is not None\n"
        "assert not any(m in sys.modules for m in ('torch', 'sammed3d', 'requests', 'SAMMed3DSegmentLib')), 'heavy'"
    )
    module = MODULE.parent
    source = module.parent / "SegmentEditorSAMMed3D" / "SegmentEditorSAMMed3D.py"
    folders = [str(module / "Testing" / "SlicerHarness"), str(source.parent)]
    code = code.format(path=folders, source=str(source), module=str(module / "SAMMed3DSegment.py"))
    subprocess.run([sys.executable, "-c", code], check=True)


def test_clicks_in_views_refine_the_selected_segment(module, editor, effect, volumeNode, segmentationNode, segmentIds):
    view, spot = SliceView(), worldOf(module.panel.segmenter, SPOTS[0])
    view.show(volumeNode, through=spot)
    effect.positiveButton.click()
    assert editor.activeEffect() is not None, "place mode does not switch the effect off"
    view.click(*view.pixelOf(spot))
    settle(module)
    assert voxels(segmentationNode, segmentIds[0]).any()
    assert not voxels(segmentationNode, segmentIds[1]).any()
    effect.negativeButton.click()
    assert (effect.positiveButton.checked, effect.negativeButton.checked) == (False, True)
    view.click(*view.pixelOf(worldOf(module.panel.segmenter, (24, 25, 15))))
    settle(module)
    assert clicksOf(segmentationNode, segmentIds[0]) == [True, False]
    effect.negativeButton.click()
    assert not module.panel.placeMode.active


def test_the_module_and_the_effect_share_clicks(module, ui, editor, effect, volumeNode, segmentationNode, segmentIds):
    effect.positiveButton.click()
    place(module, SPOTS[0])
    first = voxels(segmentationNode, segmentIds[0])
    editor.setActiveEffect(None)
    slicer.util.selectModule("SAMMed3DSegment")
    assert ui.volumeSelector.currentNode() is volumeNode
    assert module.panel.segmentId == segmentIds[0]
    ui.positiveButton.click()
    place(module, SPOTS[1])
    assert clicksOf(segmentationNode, segmentIds[0]) == [True, True]
    for expected in (first, np.zeros_like(first)):
        ui.undoButton.click()
        settle(module)
        assert np.array_equal(voxels(segmentationNode, segmentIds[0]), expected)


def test_another_segment_in_the_editor_gets_the_clicks(module, editor, effect, segmentationNode, segmentIds):
    effect.positiveButton.click()
    place(module, SPOTS[0])
    before = voxels(segmentationNode, segmentIds[0])
    editor.setCurrentSegmentID(segmentIds[1])
    assert effect.positiveButton.checked
    place(module, SPOTS[1])
    assert voxels(segmentationNode, segmentIds[1]).any()
    assert np.array_equal(voxels(segmentationNode, segmentIds[0]), before)


def test_a_segment_added_by_key_is_selected_in_the_editor(module, ui, editor, effect, segmentationNode):
    effect.positiveButton.click()
    place(module, SPOTS[1])
    ui.nextSegmentButton.click()
    assert segmentationNode.GetSegmentation().GetNumberOfSegments() == 3
    assert editor.mrmlSegmentEditorNode().GetSelectedSegmentID() == module.panel.segmentId
    place(module, SPOTS[0])
    assert voxels(segmentationNode, module.panel.segmentId).any()


def test_undo_of_the_editor_takes_back_the_click_with_its_voxels(module, editor, effect, segmentationNode, segmentIds):
    effect.positiveButton.click()
    states = [voxels(segmentationNode, segmentIds[0])]
    for spot in SPOTS[:3]:
        place(module, spot)
        states.append(voxels(segmentationNode, segmentIds[0]))
    for count in (2, 1):
        editor.undo()
        settle(module)
        qt.QApplication.processEvents()
        assert np.array_equal(voxels(segmentationNode, segmentIds[0]), states[count])
        assert len(clicksOf(segmentationNode, segmentIds[0])) == count
    editor.redo()
    qt.QApplication.processEvents()
    assert np.array_equal(voxels(segmentationNode, segmentIds[0]), states[2])
    assert len(clicksOf(segmentationNode, segmentIds[0])) == 2
    place(module, SPOTS[3])
    assert len(clicksOf(segmentationNode, segmentIds[0])) == 3, "and goes on from there"
    module.panel.segmenter.undo(segmentIds[0])
    settle(module)
    assert np.array_equal(voxels(segmentationNode, segmentIds[0]), states[2])


def test_painting_between_clicks_stays_and_is_undone_by_the_editor(
    module, editor, effect, volumeNode, segmentationNode, segmentIds
):
    effect.positiveButton.click()
    place(module, SPOTS[0])
    clicked = voxels(segmentationNode, segmentIds[0])
    editor.saveStateForUndo()  # as Paint does
    drawByHand(segmentationNode, segmentIds[0], volumeNode, Box((1, 1, 1), (5, 5, 5)))
    qt.QApplication.processEvents()
    painted = voxels(segmentationNode, segmentIds[0])
    assert painted[2, 2, 2]
    place(module, SPOTS[1])
    assert not np.array_equal(voxels(segmentationNode, segmentIds[0]), painted)
    for expected in (painted, clicked):
        editor.undo()
        qt.QApplication.processEvents()
        assert np.array_equal(voxels(segmentationNode, segmentIds[0]), expected)
    assert clicksOf(segmentationNode, segmentIds[0]) == [True]


def test_masking_and_overlaps_are_the_editors(module, editor, effect, volumeNode, segmentationNode, segmentIds):
    node, other = editor.mrmlSegmentEditorNode(), segmentIds[1]
    drawByHand(segmentationNode, other, volumeNode, Box((0, 0, 0), (40, 50, 15)))
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    node.SetMaskSegmentID(other)
    effect.positiveButton.click()
    place(module, SPOTS[0])
    held = voxels(segmentationNode, segmentIds[0])
    assert held.any()
    assert not (held & ~voxels(segmentationNode, other)).any(), "inside the mask segment alone"
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    node.SetOverwriteMode(node.OverwriteAllSegments)
    theirs = voxels(segmentationNode, other)
    place(module, SPOTS[1])
    added = voxels(segmentationNode, segmentIds[0]) & ~held
    assert (added & theirs).any()
    assert not (added & voxels(segmentationNode, other)).any(), "what overlaps is taken from the other"
    editor.undo()
    qt.QApplication.processEvents()
    assert np.array_equal(voxels(segmentationNode, segmentIds[0]), held)
    editor.setActiveEffect(None)
    assert overwriteMode() == node.OverwriteNone, "in the module, the module's own"


def test_masks_of_an_editor_in_another_module_hold_too(
    registered, module, scene, volumeNode, segmentationNode, segmentIds
):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "another module's")
    widget = slicer.qMRMLSegmentEditorWidget()
    widget.setMRMLScene(scene)
    widget.setMRMLSegmentEditorNode(node)
    widget.setSegmentationNode(segmentationNode)
    widget.setSourceVolumeNode(volumeNode)
    widget.setCurrentSegmentID(segmentIds[0])
    drawByHand(segmentationNode, segmentIds[1], volumeNode, Box((0, 0, 0), (40, 50, 15)))
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    widget.setActiveEffectByName("SAM-Med3D")
    widget.activeEffect().self().positiveButton.click()
    place(module, SPOTS[0])
    held = voxels(segmentationNode, segmentIds[0])
    assert held.any()
    assert not held[:, :, :15].any()
    widget.close()


def test_what_hinders_is_said(module, editor, effect, scene, segmentationNode, segmentIds):
    module.logic.settings.place, module.logic.settings.url = SERVER, ""
    effect.positiveButton.click()
    assert "Enter the address of the server" in effect.textLabel.text
    assert not effect.positiveButton.checked
    module.logic.settings.place = "local"
    colours = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    editor.setSourceVolumeNode(colours)
    assert "Labels cannot be segmented here" in effect.textLabel.text
    assert not effect.positiveButton.enabled


def test_cancel_takes_the_click_back(module, editor, effect, predictor, segmentationNode, segmentIds):
    def wait(patch, prompts, cancellation=None):
        cancellation.wait(30)
        cancellation.check()

    predictor.predict = wait
    effect.positiveButton.click()
    points = module.panel.segmenter.pointsFor(segmentIds[0])
    points.AddControlPointWorld(worldOf(module.panel.segmenter, SPOTS[0]))
    assert effect.cancelButton.enabled
    effect.cancelButton.click()
    settle(module)
    assert clicksOf(segmentationNode, segmentIds[0]) == []
    assert "taken back" in effect.textLabel.text
    assert not voxels(segmentationNode, segmentIds[0]).any()


def test_the_effect_leaves_nothing_behind(module, editor, effect, segmentationNode, segmentIds):
    before = slicer.app.applicationLogic().GetInteractionNode().GetCurrentInteractionMode()
    effect.positiveButton.click()
    editor.setActiveEffect(None)
    assert slicer.app.applicationLogic().GetInteractionNode().GetCurrentInteractionMode() == before
    assert module.panel.borrower is None
    assert not any(shortcut.enabled for shortcut in module.panel.shortcuts.keys)
    editor.setActiveEffectByName("SAM-Med3D")
    editor.setSegmentationNode(None)
    assert editor.activeEffect() is None
    assert module.panel.borrower is None


def test_drawing_ends_with_the_effect(module, editor, effect, volumeNode, segmentationNode, segmentIds):
    view, middle, seen = SliceView(), worldOf(module.panel.segmenter, SPOTS[0]), []
    view.show(volumeNode, through=middle)
    loop = np.add(view.pixelOf(middle), [(-20, -20), (20, -20), (20, 20), (-20, 20)])
    key = next(k for k in module.panel.shortcuts.keys if k.key.toString() == "L")
    key.activated.emit()
    view.draw(loop)
    settle(module)
    [drawn] = DrawingNodes.drawingNodes(segmentationNode, segmentIds[0])
    module.panel.borrower.place(None)
    assert module.panel.drawing.mode.kind is None
    key.activated.emit()
    editor.setActiveEffect(None)
    view.interactor.AddObserver("LeftButtonPressEvent", lambda *_: seen.append("by the next effect"))
    view.draw(loop)
    assert seen == ["by the next effect"]
    assert list(DrawingNodes.drawingNodes()) == [drawn]


@pytest.mark.slow
def test_follow_goes_on_from_the_last_click_and_is_one_step_of_the_editors_undo(
    module, editor, effect, scene, segmentationNode, segmentIds
):

    def held():
        return int(heldMask(segmentationNode, segmentIds[0])[1].voxels.sum())

    volume, _ = bar()
    node = addVolume(scene, volume.array, volume.grid.index_to_world)
    module.logic.predictors.load = lambda _choice: FloodPredictor()
    editor.setSourceVolumeNode(node)
    effect.positiveButton.click()
    assert not effect.followButton.enabled, "nothing was clicked yet"
    points = module.panel.segmenter.pointsFor(segmentIds[0])
    points.AddControlPointWorld(start_of(volume))
    settle(module)
    clicked, digest = held(), digestOfSegment(segmentationNode, segmentIds[0])
    effect.followButton.click()
    settle(module)
    assert held() > 2 * clicked > 0
    assert "was followed into" in effect.textLabel.text
    editor.undo()
    settle(module)
    assert digestOfSegment(segmentationNode, segmentIds[0]) == digest
    assert clicksOf(segmentationNode, segmentIds[0]) == [True]


def test_where_next_is_asked_and_answered_here_and_leaves_nothing_behind(
    module, editor, effect, segmentationNode, segmentIds
):
    effect.positiveButton.click()
    assert not effect.nextButton.enabled
    place(module, SPOTS[0])
    effect.nextButton.click()
    settle(module)
    assert "A adds it" in effect.textLabel.text
    next(k for k in module.panel.shortcuts.keys if k.key.toString() == "Shift+A").activated.emit()
    settle(module)
    assert clicksOf(segmentationNode, segmentIds[0]) == [True, False]
    assert not slicer.util.getNodes("Where next?*")
    effect.uncertaintyCheckBox.click()
    settle(module)
    assert module.panel.nextPlace.next.overlay.node is not None
    assert module.ui.uncertaintyCheckBox.checked
    assert effect.uncertaintyCheckBox.checked
    module.ui.uncertaintyCheckBox.setChecked(False)
    effect.nextButton.click()
    editor.setActiveEffect(None)  # the answer comes when nobody can take it any more
    settle(module)
    assert not slicer.util.getNodes("Where next?*")
    assert module.panel.nextPlace.next.overlay.node is None


def test_a_scene_that_closes_ends_it(module, editor, effect, scene):
    effect.positiveButton.click()
    scene.Clear(0)
    qt.QApplication.processEvents()
    assert not module.panel.placeMode.active


def test_after_a_reload_of_the_module_it_goes_on(module, editor, effect, predictor, segmentationNode, segmentIds):
    effect.positiveButton.click()
    place(module, SPOTS[0])
    with keptModules():
        slicer.util.reloadScriptedModule("SAMMed3DSegment")
        new = slicer.util.getModuleWidget("SAMMed3DSegment")
        assert new is not module
        assert not effect.positiveButton.checked
        new.logic.predictors.load = lambda choice: predictor
        effect.positiveButton.click()
        place(new, SPOTS[1])
        assert clicksOf(segmentationNode, segmentIds[0]) == [True, True]
        editor.setActiveEffect(None)


def test_the_button_leads_to_the_module(module, editor, effect):
    effect.moduleButton.click()
    assert slicer.modules.sammed3dsegment.widgetRepresentation().isEntered
