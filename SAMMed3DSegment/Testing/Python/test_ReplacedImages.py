"""Images replaced in their node while a prediction runs: the answer to the old one is not written, and that is said."""

import numpy as np
import pytest
import slicer

from helpers import phantom
from mrmlNodes import OBLIQUE, addVolume, linearTransform, voxels
from sammed3d.inference.object_timeline import same_clicks
from segmenters import SPOTS, clickAt, clicksOf, expectedMask, settle, worldOf

SHOWS_ANOTHER = "CT shows another image by now than liver was clicked in; the result was not written."


def otherImage(scene, number=5):
    other = addVolume(scene, phantom((40, 50, 30), number), OBLIQUE, "other")
    image = other.GetImageData()
    scene.RemoveNode(other)
    return image


def inPlace(volumeNode, scene):
    """A filter writes into the voxels that are there."""
    slicer.util.updateVolumeFromArray(volumeNode, slicer.util.arrayFromVolume(volumeNode)[::-1].copy())


REPLACED = {
    "another image": lambda volumeNode, scene: volumeNode.SetAndObserveImageData(otherImage(scene)),
    "other voxels": inPlace,
    "another geometry": lambda volumeNode, scene: volumeNode.SetSpacing(1.0, 1.0, 1.0),
}


@pytest.mark.parametrize("how", REPLACED)
def test_an_answer_to_the_old_image_is_not_written_into_the_new_one(
    slow, predictor, scene, volumeNode, segmentationNode, liver, how
):
    predictor.gate.set()
    clickAt(slow, liver, SPOTS[0])
    before, clicks = voxels(segmentationNode, liver), clicksOf(slow, liver)
    predictor.gate.clear()
    slow.click(liver, worldOf(slow, SPOTS[1]), False)
    REPLACED[how](volumeNode, scene)
    predictor.gate.set()
    settle(slow)
    assert np.array_equal(voxels(segmentationNode, liver), before)
    assert slow.message == (
        f"{SHOWS_ANOTHER} 1 click of liver was taken back; Redo brings it again when that image is shown."
    )
    assert same_clicks(slow.promptsInForce(liver).clicks, clicks)
    assert (slow.canUndo(liver), slow.canRedo(liver)) == (False, False), "of the old image"


def test_redo_goes_on_where_the_old_image_is_shown_again(slow, predictor, scene, volumeNode, segmentationNode, liver):
    image = volumeNode.GetImageData()
    slow.click(liver, worldOf(slow, SPOTS[0]))
    volumeNode.SetAndObserveImageData(otherImage(scene))
    predictor.gate.set()
    settle(slow)
    assert not voxels(segmentationNode, liver).any()
    volumeNode.SetAndObserveImageData(image)
    assert slow.canRedo(liver)
    slow.redo(liver)
    settle(slow)
    expected = expectedMask(volumeNode, clicksOf(slow, liver))
    assert np.array_equal(voxels(segmentationNode, liver), expected)


def test_a_click_in_the_new_image_is_answered_with_the_new_image(
    slow, predictor, scene, volumeNode, segmentationNode, liver
):
    slow.click(liver, worldOf(slow, SPOTS[0]))
    volumeNode.SetAndObserveImageData(otherImage(scene))
    slow.click(liver, worldOf(slow, SPOTS[1]))
    predictor.gate.set()
    settle(slow)
    [click] = clicksOf(slow, liver)
    assert click.world == pytest.approx(worldOf(slow, SPOTS[1]), abs=0.01)
    assert np.array_equal(voxels(segmentationNode, liver), expectedMask(volumeNode, [click]))
    assert slow.message == ""


@pytest.mark.parametrize("what", ["no image", "flattened"])
def test_an_image_that_cannot_be_segmented_any_more_is_what_is_said(
    slow, predictor, scene, volumeNode, segmentationNode, liver, what
):
    slow.click(liver, worldOf(slow, SPOTS[0]))
    if what == "no image":
        volumeNode.SetAndObserveImageData(None)
    else:
        volumeNode.SetAndObserveTransformNodeID(linearTransform(scene, np.diag((1.0, 1.0, 0.0, 1.0))).GetID())
    predictor.gate.set()
    settle(slow)
    assert not voxels(segmentationNode, liver).any()
    assert ("holds no image" if what == "no image" else "flattens the volume") in slow.message
    assert "The result was not written. 1 click of liver was taken back" in slow.message
