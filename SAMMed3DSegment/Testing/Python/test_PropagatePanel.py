"""Through the series: a segment carried through the frames that Slicer's Sequences plays, corrected, and taken back."""

import threading

import numpy as np
import pytest
import slicer

from moving_ball import predictor as ballPredictor
from mrmlNodes import addVolume, drawByHand, linearTransform, voxels
from panels import carry, clickWorld, frameMasks, frameRows, settle, showFrame, wait
from sammed3d import Box, ModelError
from sammed3d.core.prompts import Click, ObjectPrompts
from sammed3d.evaluation.metrics import dice
from sammed3d.inference.series import propagate
from SAMMed3DSegmentLib.FrameSequence import FrameSequence
from SAMMed3DSegmentLib.VolumeBridge import volumeToWorld

pytestmark = pytest.mark.slow
COUNT = 5


@pytest.fixture
def predictor():
    return ballPredictor()


@pytest.fixture
def clicked(module, browser, ball):
    """Clicked in the middle of the ball of the first frame."""
    clickWorld(module, ball.centres[0])
    return browser


def scores(module, ball):
    return [dice(mask, ball.truth(number).astype(np.uint8)) for number, mask in enumerate(frameMasks(module))]


def test_the_section_is_there_for_series_only(module, ui, scene, ball, browser):
    assert not ui.propagateSection.isHidden()
    assert not ui.propagateButton.enabled, "nothing was clicked yet"
    ui.volumeSelector.setCurrentNode(addVolume(scene, ball.volume(0).array, ball.grid.index_to_world))
    assert ui.propagateSection.isHidden()


def test_all_frames_get_what_the_command_line_makes(module, ui, ball, clicked):
    shown = voxels(module.panel.segmenter.segmentationNode, module.panel.segmentId, ball.grid.shape)
    carry(module)
    assert min(scores(module, ball)) > 0.85
    prompts = {0: ObjectPrompts("", (Click(tuple(ball.centres[0])),))}
    made = propagate(ball.volume, ballPredictor(), prompts, 0, range(COUNT))
    for found, mask in zip(sorted(made, key=lambda each: each.frame), frameMasks(module), strict=True):
        assert np.array_equal(found.mask.full(ball.grid.shape), mask)
    assert np.array_equal(frameMasks(module)[0], shown), "the frame that was clicked in is as it was"
    assert "5 of 5 frames are done." in ui.propagateLabel.text
    assert [row[0] for row in frameRows(ui)] == ["1", "2", "3", "4", "5"]
    assert [row[-1] for row in frameRows(ui)] == ["yours, kept", "", "", "", ""]
    assert float(frameRows(ui)[2][1]) == pytest.approx(frameMasks(module)[2].sum() * 0.216, abs=0.01)


def test_it_plays_with_the_images_and_under_the_name_of_the_segmentation(module, ball, clicked):
    node = module.panel.segmenter.segmentationNode
    name = node.GetName()
    carry(module)
    expected = frameMasks(module)
    for number in (3, 1, 4, 0):
        showFrame(clicked, number)
        assert np.array_equal(voxels(node, module.panel.segmentId, ball.grid.shape), expected[number])
    assert node.GetName() == name
    assert clicked.GetProxyNode(clicked.GetSequenceNode(node)) is node
    assert clicked.GetSequenceNode(node).GetIndexUnit() == "s"


def test_u_takes_all_frames_back_at_once_and_shift_u_does_it_again(module, ui, ball, clicked):
    carry(module)
    after = frameMasks(module)
    ui.undoButton.click()
    settle(module)
    assert [mask.any() for mask in frameMasks(module)] == [True, False, False, False, False]
    ui.undoButton.click()
    settle(module)
    assert not frameMasks(module)[0].any(), "the second one takes the click back"
    ui.redoButton.click()
    settle(module)
    ui.redoButton.click()
    settle(module)
    assert all(np.array_equal(*each) for each in zip(after, frameMasks(module), strict=True))
    assert not ui.redoButton.enabled
    assert ui.undoPropagateButton.isVisibleTo(module.root)


def test_a_click_after_it_was_taken_back_is_what_is_done_again(module, ui, ball, clicked):
    carry(module)
    ui.undoButton.click()
    clickWorld(module, ball.centres[0] + np.array([0, 0, 6.0]))
    after = frameMasks(module)
    for button in (ui.undoButton, ui.redoButton):
        button.click()
        settle(module)
    assert all(np.array_equal(*each) for each in zip(after, frameMasks(module), strict=True))


def test_a_click_corrects_a_frame_and_the_others_go_on_from_there(module, ui, ball, clicked):
    carry(module)
    before = frameMasks(module)
    showFrame(clicked, 2)
    segmenter = module.panel.segmenter
    clickWorld(module, ball.centres[2] + np.array([0, 0, 10.0]))
    corrected = frameMasks(module)
    assert [np.array_equal(*each) for each in zip(before, corrected, strict=True)].count(False) <= 1
    drawByHand(segmenter.segmentationNode, module.panel.segmentId, segmenter.volumeNode, Box((0, 0, 0), (3, 3, 3)))
    corrected = frameMasks(module)
    assert corrected[2][:3, :3, :3].all()
    ui.framesSelector.setCurrentIndex(1)  # from this frame on
    carry(module)
    now = frameMasks(module)
    assert all(np.array_equal(now[number], corrected[number]) for number in (0, 1, 2))
    assert [row[0] for row in frameRows(ui)] == ["3", "4", "5"]
    showFrame(clicked, 0)
    ui.framesSelector.setCurrentIndex(0)
    carry(module)
    assert frameRows(ui)[2][-1] == "yours, kept"
    assert np.array_equal(frameMasks(module)[2], corrected[2]), "a correction is never written over"


def test_stopping_keeps_what_is_done(module, ui, ball, clicked, predictor):
    gate, begun = threading.Event(), threading.Event()

    def before(_number):
        if len(predictor.calls) - asked >= 2:
            begun.set()
            gate.wait(20)

    asked = len(predictor.calls)
    predictor.before = before
    ui.propagateButton.click()
    wait(lambda: begun.is_set() and ui.framesTable.rowCount)
    assert (ui.propagateBar.isVisibleTo(module.root), ui.propagateButton.enabled) == (True, False)
    ui.framesTable.selectRow(0)
    ui.stopPropagateButton.click()
    gate.set()
    settle(module)
    done = [bool(mask.any()) for mask in frameMasks(module)]
    assert (done[:2], done[3:]) == ([True, True], [False, False])
    assert ui.framesTable.item(0, 0).isSelected()  # while others arrived
    assert ui.propagateLabel.text.startswith("Stopped.")
    ui.undoButton.click()
    assert [mask.any() for mask in frameMasks(module)] == [True, False, False, False, False]


def test_a_failure_says_what_and_keeps_what_is_done(module, ui, ball, clicked, predictor):
    asked = len(predictor.calls)

    def fail(number):
        if number - asked >= 2:
            raise ModelError("The server went away.")

    predictor.before = fail
    carry(module)
    assert "The server went away. 2 of 5 frames are done." in ui.propagateLabel.text
    assert ui.propagateButton.enabled


def test_frames_that_cannot_be_written_end_it_with_what_is_wrong(module, ui, ball, clicked):
    fine, node = slicer.vtkOrientedImageData(), module.panel.segmenter.segmentationNode
    fine.SetSpacing(0.01, 0.01, 0.01)
    fine.SetExtent(0, 9, 0, 9, 0, 9)
    text = slicer.vtkSegmentationConverter.SerializeImageGeometry(fine)
    node.GetSegmentation().SetConversionParameter("Reference image geometry", text)
    carry(module)
    assert "its voxels of 0.01 mm are too fine" in ui.propagateLabel.text
    assert "1 of 5 frames are done." in ui.propagateLabel.text
    assert not module.panel.series.busy
    assert ui.propagateButton.enabled


@pytest.mark.parametrize("largest", [20, 1])  # noise, and nothing at all
def test_doubtful_frames_are_named_and_a_row_shows_its_frame(module, ui, scene, ball, clicked, largest):
    data = clicked.GetMasterSequenceNode().GetNthDataNode(2)
    noise = np.random.default_rng(0).integers(0, largest, ball.grid.shape[::-1]).astype(np.int16)
    slicer.util.updateVolumeFromArray(data, noise)
    carry(module)
    remarks = [row[-1] for row in frameRows(ui)]
    assert (len(remarks), bool(remarks[2])) == (COUNT, True)
    assert "Look at frames: 3" in ui.propagateLabel.text
    ui.framesTable.selectRow(2)
    assert clicked.GetSelectedItemNumber() == 2


def test_what_somebody_changes_meanwhile_stays(module, ui, ball, clicked, predictor):
    gate, begun = threading.Event(), threading.Event()

    def before(_number):
        begun.set()
        gate.wait(20)

    predictor.before = before
    ui.propagateButton.click()
    wait(begun.is_set)
    showFrame(clicked, 1)
    segmenter = module.panel.segmenter
    drawByHand(segmenter.segmentationNode, module.panel.segmentId, segmenter.volumeNode, Box((0, 0, 0), (2, 2, 2)))
    gate.set()
    settle(module)
    assert frameMasks(module)[1].sum() == 8
    assert "Changed meanwhile, and left as they are: 2." in ui.propagateLabel.text
    ui.undoButton.click()
    assert frameMasks(module)[1].sum() == 8


def test_segments_added_and_removed_on_one_frame_are_in_all(module, ui, ball, clicked):
    carry(module)
    first = module.panel.segmentId
    second = module.panel.addSegment()
    showFrame(clicked, 3)
    node = module.panel.segmenter.segmentationNode
    assert node.GetSegmentation().GetSegment(second) is not None
    module.panel.segments.select(second)
    clickWorld(module, ball.centres[3])
    showFrame(clicked, 0)
    assert not voxels(node, second, ball.grid.shape).any()
    module.panel.segments.select(first)
    module.panel.segments.remove()
    for number in range(COUNT):
        showFrame(clicked, number)
        assert list(node.GetSegmentation().GetSegmentIDs()) == [second]


def test_other_segments_are_copied_and_carried_in_their_turn(module, ui, ball, browser):
    """What was there before the segmentation became one of the series counts as carried, not as somebody's work."""
    clickWorld(module, ball.centres[0])
    first = module.panel.segmentId
    second = module.panel.addSegment()
    segmenter = module.panel.segmenter
    drawByHand(segmenter.segmentationNode, second, segmenter.volumeNode, Box((0, 0, 0), (4, 4, 4)))
    module.panel.segments.select(first)
    carry(module)
    assert [mask.sum() for mask in frameMasks(module, second)] == [64] * COUNT
    module.panel.segments.select(second)
    carry(module)
    assert "Nobody has clicked in" in ui.propagateLabel.text
    showFrame(browser, 3)
    clickWorld(module, ball.centres[3])
    carry(module)
    assert [row[-1] == "yours, kept" for row in frameRows(ui)] == [True, False, False, True, False]


@pytest.mark.parametrize("moved", ["volume", "both"])
def test_under_transforms(module, ui, scene, ball, browser, moved):
    volume = module.panel.segmenter.volumeNode
    transform = linearTransform(scene, np.array([[0, -1, 0, 30], [1, 0, 0, -10], [0, 0, 1, 5], [0, 0, 0, 1.0]]))
    module.panel.addSegment()
    volume.SetAndObserveTransformNodeID(transform.GetID())
    segmentation = module.panel.segmenter.segmentationNode
    if moved == "both":
        segmentation.SetAndObserveTransformNodeID(transform.GetID())
    clickWorld(module, ball.centres[0])
    carry(module)
    if moved == "both":
        assert min(scores(module, ball)) > 0.85
    frames = FrameSequence.of(volume)
    volumes = [frameMasks(module)[number].sum() for number in range(COUNT)]
    if moved == "both":
        assert volumes == [m.sum() for m in frameMasks(module)]
    for number in range(COUNT):
        showFrame(browser, number)
        world = volumeToWorld(volume, tuple(ball.centres[number]))
        bounds = np.zeros(6)
        segmentation.GetRASBounds(bounds)
        middle = (bounds[::2] + bounds[1::2]) / 2
        assert np.linalg.norm(middle - world) < 15
    assert frames.count == COUNT


def test_saved_and_reopened_it_goes_on(module, ui, scene, ball, clicked, tmp_path):
    carry(module)
    expected = frameMasks(module)
    assert slicer.util.saveScene(str(tmp_path / "heart.mrb"))
    scene.Clear(0)
    settle(module)
    slicer.util.loadScene(str(tmp_path / "heart.mrb"))
    settle(module)
    browser = scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    assert all(np.array_equal(*each) for each in zip(expected, frameMasks(module), strict=True))
    showFrame(browser, 2)
    ui.propagateSection.collapsed = False
    ui.framesSelector.setCurrentIndex(2)  # back from this frame: nobody clicked here, the prompts of frame 1 count
    assert ui.propagateButton.enabled
    carry(module)
    assert "3 of 3 frames are done." in ui.propagateLabel.text
    assert not ui.undoButton.enabled or ui.undoPropagateButton.isVisibleTo(module.root)


@pytest.fixture
def underWay(module, ui, clicked, predictor):
    """While the second frame is asked about; returns how often the model was asked by then."""
    gate, begun = threading.Event(), threading.Event()

    def before(_number):
        begun.set()
        gate.wait(20)

    predictor.before = before
    ui.propagateButton.click()
    wait(begun.is_set)
    yield lambda: (len(predictor.calls), gate.set())[0]
    gate.set()


GONE = {
    "scene": (lambda panel: slicer.mrmlScene.Clear(0), ""),
    "browser": (
        lambda panel: slicer.mrmlScene.RemoveNode(panel.series.propagation.step.frames.browser),
        "heart browser",
    ),
    "volume": (lambda panel: slicer.mrmlScene.RemoveNode(panel.segmenter.volumeNode), "heart"),
    "segmentation": (lambda panel: slicer.mrmlScene.RemoveNode(panel.segmenter.segmentationNode), "heart segmentation"),
    "segment": (
        lambda panel: panel.segmenter.segmentationNode.GetSegmentation().RemoveSegment(panel.segmentId),
        "Segment_1",
    ),
}


@pytest.mark.parametrize("what", GONE)
@pytest.mark.parametrize("shown", [True, False])
def test_what_goes_away_meanwhile_ends_it_and_is_said(module, ui, predictor, underWay, what, shown):
    act, name = GONE[what]
    if not shown:  # another module is
        slicer.modules.sammed3dsegment.widgetRepresentation().exit()
    act(module.panel)
    wait(lambda: not module.panel.series.busy)
    asked = underWay()
    settle(module)
    assert len(predictor.calls) <= asked + 1, "it computes no further"
    if name:
        expected = f"{name} was removed; carrying Segment_1 through the series was stopped."
        assert ui.statusLabel.text == expected
    assert ui.framesTable.rowCount == 0
    assert not ui.undoPropagateButton.isVisibleTo(module.root)


def test_bad_input_gets_one_line(module, ui, ball, clicked):
    ui.framesSelector.setCurrentIndex(3)
    ui.fromFrameSpinBox.setValue(3)
    ui.toFrameSpinBox.setValue(5)
    carry(module)
    assert "Frame 1 is shown, which is not among those chosen." in ui.propagateLabel.text
    showFrame(clicked, 2)
    carry(module)  # the segmentation is none of the series yet: what was made in frame 1 is seen over all of them
    assert "Nobody has clicked in" in ui.propagateLabel.text
    assert clicked.GetSequenceNode(module.panel.segmenter.segmentationNode) is None


def test_a_frame_that_was_reset_is_made_anew(module, ui, ball, clicked, answers):
    carry(module)
    before = frameMasks(module)
    showFrame(clicked, 2)
    clickWorld(module, ball.centres[2] + np.array([0, 0, 10.0]))
    answers.give("Empty this segment", True)
    ui.resetButton.click()
    settle(module)
    assert not frameMasks(module)[2].any()
    showFrame(clicked, 0)
    carry(module)
    assert all(np.array_equal(*each) for each in zip(before, frameMasks(module), strict=True))


def test_the_surface_follows_the_frame_that_is_shown(module, ui, ball, clicked):
    ui.show3DButton.click()
    carry(module)
    for number in (4, 2):
        showFrame(clicked, number)
        module.panel.segmenter.refreshSurfaces()
        segmentation = module.panel.segmenter.segmentationNode.GetSegmentation()  # the frame's own
        surface = segmentation.GetSegment(module.panel.segmentId).GetRepresentation("Closed surface")
        assert np.linalg.norm(np.array(surface.GetCenter()) - ball.centres[number]) < 8


def test_masking_by_intensity_looks_at_the_image_of_each_frame(module, ui, scene, ball, clicked):
    segmenter = module.panel.segmenter
    editor = slicer.vtkMRMLSegmentEditorNode()
    editor.SetSingletonTag("SegmentEditor")
    editor = scene.AddNode(editor)
    editor.SetAndObserveSegmentationNode(segmenter.segmentationNode)
    editor.SetAndObserveSourceVolumeNode(segmenter.volumeNode)
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(905, 1000)  # half of the noise in the ball
    carry(module)
    for number in range(1, COUNT):
        inside = frameMasks(module)[number].astype(bool)
        assert inside.sum() > 200
        assert ball.volume(number).array[inside].min() >= 905
