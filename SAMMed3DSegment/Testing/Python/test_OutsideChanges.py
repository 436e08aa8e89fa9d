"""What others do to what is chosen, in the Data module, by a script or in another window, is seen in the panel."""

import numpy as np
import pytest
import slicer

import qt
from helpers import phantom
from mrmlNodes import OBLIQUE, addSeries, addVolume, drawByHand, importedSegments, linearTransform
from panels import placeClick, settle, shownSegmentation, wait
from sammed3d import Box
from SAMMed3DSegmentLib import PointList
from SAMMed3DSegmentLib.SegmentDigests import SegmentDigests
from SAMMed3DSegmentLib.SegmentFacts import SegmentVolumes
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode
from segmenters import SPOTS, until
from slicerHarness.views import SliceView

BUTTONS = ("undoButton", "redoButton", "followButton", "nextPlaceButton", "resetButton", "boxButton", "propagateButton")


def seen(ui):
    """What the panel offers and says."""
    texts = [ui.clickSelector.itemText(n) for n in range(ui.clickSelector.count)]
    return {name: getattr(ui, name).enabled for name in BUTTONS}, ui.hintLabel.text, ui.segmentLabel.text, texts


def assertInStep(module):
    """The panel offers and says what it would if it were told to look now; and looks once, not again and again."""
    for _ in range(3):
        qt.QApplication.processEvents()
    now = seen(module.ui)
    updates, update = [], module.panel.onUpdated
    module.panel.onUpdated = lambda: updates.append(True)
    for _ in range(5):
        qt.QApplication.processEvents()
    module.panel.onUpdated = update
    assert not updates, "it comes to rest"
    module.panel.update()
    assert now == seen(module.ui)


@pytest.fixture
def clicked(module, ui, chosenVolume):
    """Two segments; the first one is selected and was clicked in."""
    ui.positiveButton.click()
    placeClick(module, SPOTS[0])
    module.panel.segments.add()
    module.panel.segments.select(shownSegmentation(module).GetSegmentation().GetNthSegmentID(0))
    assert ui.followButton.enabled
    assert ui.undoButton.enabled
    return module


def replaceImage(module):
    other = addVolume(slicer.mrmlScene, phantom((40, 50, 30), 5), OBLIQUE, "other")
    module.panel.segmenter.volumeNode.SetAndObserveImageData(other.GetImageData())


def moveVolume(module):
    shift = np.eye(4)
    shift[0, 3] = 10.0
    transform = linearTransform(slicer.mrmlScene, shift)
    module.panel.segmenter.volumeNode.SetAndObserveTransformNodeID(transform.GetID())


def turnVolume(module):
    module.panel.segmenter.volumeNode.SetSpacing(1.0, 1.0, 1.0)


def paint(module):
    node = shownSegmentation(module)
    drawByHand(node, module.panel.segmentId, module.panel.segmenter.volumeNode, Box((0, 0, 0), (4, 4, 4)))


def removeOther(module):
    segmentation = shownSegmentation(module).GetSegmentation()
    segmentation.RemoveSegment(segmentation.GetNthSegmentID(1))


DONE = {
    "the image is another": replaceImage,
    "the volume is moved": moveVolume,
    "the volume has another geometry": turnVolume,
    "the segment is painted in": paint,
    "the segment is removed": lambda module: (
        shownSegmentation(module).GetSegmentation().RemoveSegment(module.panel.segmentId)
    ),
    "another segment is removed": removeOther,
    "the clicks are removed": lambda module: slicer.mrmlScene.RemoveNode(next(PointList.pointLists())),
    "the volume is removed": lambda module: slicer.mrmlScene.RemoveNode(module.panel.segmenter.volumeNode),
    "the segmentation is removed": lambda module: slicer.mrmlScene.RemoveNode(shownSegmentation(module)),
}


@pytest.mark.parametrize("what", DONE)
def test_the_panel_offers_what_can_be_done_now(clicked, what):
    DONE[what](clicked)
    assertInStep(clicked)
    if what != "another segment is removed":
        assert not clicked.ui.followButton.enabled


def test_what_is_about_another_image_can_be_undone_no_more(clicked):
    replaceImage(clicked)
    assertInStep(clicked)
    assert not clicked.ui.undoButton.enabled


def test_while_the_module_is_not_shown_nobody_looks(clicked):
    slicer.modules.sammed3dsegment.widgetRepresentation().exit()
    updates = []
    clicked.panel.onUpdated = lambda: updates.append(True)
    paint(clicked)
    for _ in range(3):
        qt.QApplication.processEvents()
    assert not updates
    slicer.modules.sammed3dsegment.widgetRepresentation().enter()
    assertInStep(clicked)


def test_while_a_series_is_played_nobody_looks(module, ui, volumeNode):
    browser, shown = addSeries(slicer.mrmlScene, [volumeFromNode(volumeNode)] * 3)
    ui.volumeSelector.setCurrentNode(shown)
    updates = []
    for playing in (True, False):
        browser.SetPlaybackActive(playing)
        for _ in range(3):
            qt.QApplication.processEvents()
        updates.clear()
        module.panel.onUpdated = lambda: updates.append(True)
        shown.GetImageData().Modified()
        shown.Modified()
        for _ in range(3):
            qt.QApplication.processEvents()
        assert bool(updates) != playing


def test_sizes_and_digests_follow_the_label_of_a_segment(scene, volumeNode):
    """Saving lets segments share labelmaps and gives them other labels, one after the other."""
    node = importedSegments(scene, OBLIQUE, volumeNode)
    segment, volumes, digests = node.GetSegmentation().GetSegment("one"), SegmentVolumes(), SegmentDigests()
    one, digest = volumes.of(node, "one"), digests.now(node, "one")
    assert one > 0
    segment.SetLabelValue(7)
    assert volumes.of(node, "one") == 0
    assert digests.now(node, "one") == ""
    segment.SetLabelValue(1)
    assert (volumes.of(node, "one"), digests.now(node, "one")) == (one, digest)


def test_after_saving_the_size_is_the_selected_segments(clicked, ui, tmp_path):
    placeClick(clicked, SPOTS[1])
    clicked.panel.segments.select(shownSegmentation(clicked).GetSegmentation().GetNthSegmentID(1))
    ui.negativeButton.click()
    ui.positiveButton.click()
    placeClick(clicked, SPOTS[3])
    before = ui.segmentLabel.text
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "saved.mrb"))
    assertInStep(clicked)
    assert ui.segmentLabel.text == before


# Drawing


def test_drawing_goes_on_in_the_views_of_another_layout(module, ui, chosenVolume):
    """A view that is opened while drawing is on draws too, and once it is off none does."""
    centre = volumeFromNode(chosenVolume).grid.to_world(SPOTS[0])
    first = SliceView("First")
    first.show(chosenVolume, through=centre)
    ui.scribbleButton.click()
    second = SliceView("Second", "Sagittal")
    second.show(chosenVolume, through=centre)
    qt.QApplication.processEvents()
    drawings = lambda: module.panel.segmenter.objectPrompts([module.panel.segmentId])[0].drawings  # noqa: E731
    for count, view in enumerate((second, first), start=1):
        view.draw(np.add(view.pixelOf(centre), [(n, 0) for n in range(-20, 20, 4)]))
        settle(module)
        assert len(drawings()) == count
    ui.scribbleButton.click()
    third = SliceView("Third", "Coronal")
    third.show(chosenVolume, through=centre)
    for view in (first, second, third):
        view.draw(np.add(view.pixelOf(centre), [(n, 3) for n in range(-20, 20, 4)]))
    assert len(drawings()) == 2


def test_drawing_that_is_switched_on_before_there_is_a_view_draws_in_the_first_one(module, ui, chosenVolume):
    centre = volumeFromNode(chosenVolume).grid.to_world(SPOTS[0])
    ui.lassoButton.click()
    assert ui.lassoButton.checked
    view = SliceView("Late")
    view.show(chosenVolume, through=centre)
    qt.QApplication.processEvents()
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    view.draw(np.add(view.pixelOf(centre), 30 * np.stack([np.cos(turn), np.sin(turn)], axis=1)))
    settle(module)
    assert len(module.panel.segmenter.objectPrompts([module.panel.segmentId])[0].drawings) == 1


# While a prediction runs


@pytest.fixture
def running(clicked, predictor):
    """The module while a second click is evaluated, which waits for the gate of the predictor."""
    predictor.gate.clear()
    points = next(PointList.pointLists())
    points.AddControlPointWorld(volumeFromNode(clicked.panel.segmenter.volumeNode).grid.to_world(SPOTS[1]))
    wait(lambda: clicked.panel.segmenter.stage == "decode" or predictor.calls)
    yield clicked
    predictor.gate.set()
    settle(clicked)


def test_a_volume_that_is_removed_while_a_click_is_evaluated_takes_it_back(running, ui, predictor):
    module, volumeNode, calls = running, running.panel.segmenter.volumeNode, len(predictor.calls)
    node, segmentId = shownSegmentation(module), module.panel.segmentId
    before = PointList.placed(PointList.pointListOf(node, segmentId))[:1]
    slicer.mrmlScene.RemoveNode(volumeNode)
    said = "CT was removed before Segment_1 was segmented; what was not done is taken back."
    assert ui.statusLabel.text == said
    assert not module.panel.segmenter.busy
    assert PointList.placed(PointList.pointListOf(node, segmentId)) == before
    assertInStep(module)
    predictor.gate.set()
    settle(module)
    assert ui.statusLabel.text == said
    other = addVolume(slicer.mrmlScene, phantom((40, 50, 30)), OBLIQUE, "CT again")
    ui.volumeSelector.setCurrentNode(other)
    assert module.panel.segmenter.canFollow(segmentId), "nothing waits"
    module.panel.clicks.redo()
    settle(module)
    assert len(PointList.placed(PointList.pointListOf(node, segmentId))) == 2, "it is done again with the same image"
    assert len(predictor.calls) > calls


@pytest.mark.parametrize("what", ["the segment is removed", "the clicks are removed", "the segmentation is removed"])
def test_what_is_removed_while_it_is_segmented_is_said_and_nothing_waits(running, ui, predictor, what):
    DONE[what](running)
    for _ in range(3):
        qt.QApplication.processEvents()
    assert not running.panel.segmenter.busy
    assert "was removed" in ui.statusLabel.text
    assertInStep(running)
    predictor.gate.set()
    settle(running)
    assert "was removed" in ui.statusLabel.text
    ui.positiveButton.click()
    if not running.panel.placeMode.active:
        ui.positiveButton.click()
    placeClick(running, SPOTS[2])
    assert "Done in" in ui.statusLabel.text


def test_a_result_that_is_there_is_written_before_its_volume_goes(clicked, ui, predictor):
    segmenter, node = clicked.panel.segmenter, shownSegmentation(clicked)
    points, other = next(PointList.pointLists()), node.GetSegmentation().GetNthSegmentID(1)
    clicked.panel.threadTime.close()  # nobody looks for results meanwhile
    for spot in SPOTS[1:3]:
        points.AddControlPointWorld(volumeFromNode(segmenter.volumeNode).grid.to_world(spot))
    assert segmenter.wait(30)
    until(lambda: not segmenter.underWay, lambda: segmenter.wait(0.01))
    slicer.mrmlScene.RemoveNode(segmenter.volumeNode)
    assert len(PointList.placed(points)) == 3
    assert "was removed" not in ui.statusLabel.text
    assert other in node.GetSegmentation().GetSegmentIDs()
