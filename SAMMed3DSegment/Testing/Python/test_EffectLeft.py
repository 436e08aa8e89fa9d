"""The Segment Editor's effect, left or taken elsewhere while what was clicked in it is being predicted."""

import numpy as np
import slicer

import qt
from mrmlNodes import drawByHand, voxels
from panels import placeClick, settle
from sammed3d import Box
from SAMMed3DSegmentLib import PointList
from segmenters import SPOTS, worldOf


def clickSlowly(module, effect, predictor):
    """Click where the model waits for its gate."""
    predictor.gate.clear()
    effect.positiveButton.click()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    points = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    points.AddControlPointWorld(worldOf(module.panel.segmenter, SPOTS[0]))
    qt.QApplication.processEvents()


def test_a_click_that_is_written_after_the_effect_was_left_is_a_step_of_the_editors_undo(
    module, editor, effect, predictor, volumeNode, segmentationNode, segmentIds
):
    editor.saveStateForUndo()  # as Paint does
    drawByHand(segmentationNode, segmentIds[0], volumeNode, Box((1, 1, 1), (5, 5, 5)))
    qt.QApplication.processEvents()
    painted = voxels(segmentationNode, segmentIds[0])
    clickSlowly(module, effect, predictor)
    editor.setActiveEffect(None)
    predictor.gate.set()
    settle(module)
    assert not np.array_equal(voxels(segmentationNode, segmentIds[0]), painted)
    editor.undo()
    assert np.array_equal(voxels(segmentationNode, segmentIds[0]), painted)
    slicer.util.selectModule("SAMMed3DSegment")
    module.ui.positiveButton.click()
    saved = []
    editor.saveStateForUndo = lambda: saved.append(True)
    placeClick(module, SPOTS[1])
    assert not saved, "what is clicked in the module is none of the editor's"


def test_an_editor_that_lost_the_effect_to_another_one_says_so(
    module, editor, effect, scene, predictor, volumeNode, segmentationNode, segmentIds
):
    clickSlowly(module, effect, predictor)
    other = slicer.qMRMLSegmentEditorWidget()
    other.setMRMLScene(scene)
    other.setMRMLSegmentEditorNode(scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "another module's"))
    other.setSegmentationNode(segmentationNode)
    other.setSourceVolumeNode(volumeNode)
    other.setCurrentSegmentID(segmentIds[1])
    other.setActiveEffectByName("SAM-Med3D")
    assert "went on in another Segment Editor" in effect.textLabel.text
    assert not effect.cancelButton.enabled
    assert other.activeEffect().self().cancelButton.enabled
    predictor.gate.set()
    settle(module)
    effect.positiveButton.click()
    assert "went on in another Segment Editor" in other.activeEffect().self().textLabel.text
    assert "went on" not in effect.textLabel.text
    other.close()
    placeClick(module, SPOTS[1])
    assert PointList.kinds(PointList.pointListOf(segmentationNode, segmentIds[0])) == [True, True]
