"""Scenes that are added to the one that is open, with parameters of their own: what the user works on stays chosen."""

import numpy as np
import pytest
import slicer

from helpers import phantom
from mrmlNodes import OBLIQUE, addVolume, newEditor, voxels
from panels import currentMask, placeClick, settle, shownSegmentation
from SAMMed3DSegmentLib.SegmentWriter import overwriteMode, setOverwriteMode
from segmenters import SPOTS

EDITOR = slicer.vtkMRMLSegmentEditorNode


def makeOther(module, ui, scene, file):
    """Save a scene in which somebody worked on another volume, with another model and overwriting all; close it."""
    ui.volumeSelector.setCurrentNode(addVolume(scene, phantom((30, 40, 20), 2), OBLIQUE, "their CT"))
    ui.positiveButton.click()
    placeClick(module, (15, 20, 10))
    module.panel.addSegment()
    module.logic.getParameterNode().model = "theirs"
    setOverwriteMode(EDITOR.OverwriteAllSegments)
    assert scene.WriteToMRB(str(file))
    scene.Clear(0)
    setOverwriteMode(EDITOR.OverwriteNone)


def chosen(module):
    """What is worked on, and how."""
    node = module.logic.getParameterNode()
    return node.volume, node.segmentation, node.segmentId, node.model, overwriteMode()


@pytest.fixture
def other(module, ui, scene, tmp_path):
    """A file with another scene; nothing is open."""
    makeOther(module, ui, scene, tmp_path / "other.mrb")
    return str(tmp_path / "other.mrb")


def test_what_is_worked_on_stays_chosen(module, ui, scene, other):
    volumeNode = addVolume(scene, phantom((40, 50, 30)), OBLIQUE)
    ui.volumeSelector.setCurrentNode(volumeNode)
    ui.positiveButton.click()
    placeClick(module, SPOTS[0])
    before, held = chosen(module), currentMask(module)
    assert scene.ReadFromMRB(other, False)
    settle(module)
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")] == ["CT", "their CT"]
    assert chosen(module) == before
    assert ui.volumeSelector.currentNode() is module.panel.segmenter.volumeNode is volumeNode
    assert ui.segmentationSelector.currentNode() is module.panel.segmenter.segmentationNode is before[1]
    assert ui.overwriteSelector.currentIndex == 0
    assert module.panel.models.current == before[3]
    assert np.array_equal(currentMask(module), held)
    ui.undoButton.click()
    assert not currentMask(module).any()


def test_where_nothing_is_worked_on_their_work_is_taken_up(module, ui, scene, other):
    assert scene.ReadFromMRB(other, False)
    settle(module)
    assert ui.volumeSelector.currentNode().GetName() == "their CT"
    assert chosen(module)[3:] == ("theirs", EDITOR.OverwriteAllSegments)
    ui.undoButton.click()
    settle(module)


def openEditor(module, volumeNode):
    """Open a Segment Editor on a volume and a new segment, with the effect."""
    module.ui.volumeSelector.setCurrentNode(volumeNode)
    module.panel.addSegment()
    widget = newEditor(shownSegmentation(module), volumeNode)
    widget.setCurrentSegmentID(module.panel.segmentId)
    widget.setActiveEffectByName("SAM-Med3D")
    return widget


@pytest.mark.parametrize("active", [True, False])
def test_the_effect_goes_on_with_what_its_segment_editor_shows(registered, module, ui, scene, tmp_path, active):
    """Slicer lets the Segment Editor work on what that of the added scene worked on, with its effect."""
    slicer.modules.sammed3dsegment.widgetRepresentation().exit()
    widget = openEditor(module, addVolume(scene, phantom((30, 40, 20), 2), OBLIQUE, "their CT"))
    widget.mrmlSegmentEditorNode().SetOverwriteMode(EDITOR.OverwriteVisibleSegments)
    if not active:
        widget.setActiveEffect(None)
    file = str(tmp_path / "other.mrb")
    assert scene.WriteToMRB(file)
    widget.close()
    scene.Clear(0)
    volumeNode = addVolume(scene, phantom((40, 50, 30)), OBLIQUE)
    widget = openEditor(module, volumeNode)
    effect, mine = widget.activeEffect().self(), shownSegmentation(module)
    effect.positiveButton.click()
    placeClick(module, SPOTS[0])
    held = {name: voxels(mine, name).tolist() for name in mine.GetSegmentation().GetSegmentIDs()}
    assert scene.ReadFromMRB(file, False)
    settle(module)
    node, segmenter = widget.mrmlSegmentEditorNode(), module.panel.segmenter
    assert node.GetSourceVolumeNode().GetName() == "their CT"
    assert {name: voxels(mine, name).tolist() for name in held} == held
    if active:
        assert segmenter.volumeNode is ui.volumeSelector.currentNode() is node.GetSourceVolumeNode()
        assert segmenter.segmentationNode is ui.segmentationSelector.currentNode() is node.GetSegmentationNode()
        assert overwriteMode() == node.GetOverwriteMode(), "masking and overlaps are the editor's"
        assert effect.positiveButton.enabled
        widget.close()
    else:
        assert widget.activeEffect() is None
        assert (segmenter.volumeNode, segmenter.segmentationNode) == (volumeNode, mine)
    assert overwriteMode() == EDITOR.OverwriteNone
