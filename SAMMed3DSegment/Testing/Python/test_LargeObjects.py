"""Objects larger than a patch in the module: followed as the settings say, stopped, undone, saved with the scene."""

import threading

import numpy as np
import pytest
import slicer

from large_objects import FloodPredictor, bar, start_of
from mrmlNodes import addVolume, drawByHand, linearTransform, voxels
from panels import wait
from sammed3d import Box, ModelError, Session
from sammed3d.inference.follow_limits import FollowSettings
from SAMMed3DSegmentLib import PointList, SettingsPage
from SAMMed3DSegmentLib.Following import FollowChoice
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode, volumeToWorld
from segmenters import newSegmenter, settle, until

pytestmark = pytest.mark.slow
ALWAYS = FollowChoice("always", 40)


class StoppingPredictor(FloodPredictor):
    """Waits before the answer of a number, until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.stop, self.waits, self.go = 0, threading.Event(), threading.Event()

    def predict(self, patch, prompts, cancellation=None):
        if len(self.calls) + 1 == self.stop:
            self.waits.set()
            end = threading.Event()
            with cancellation.calling(end.set):
                while not (self.go.is_set() or end.is_set()):
                    end.wait(0.002)
            cancellation.check()
        return super().predict(patch, prompts, cancellation)


@pytest.fixture
def predictor():
    return StoppingPredictor()


@pytest.fixture
def volumeNode(scene):
    volume, _ = bar()
    return addVolume(scene, volume.array, volume.grid.index_to_world)


@pytest.fixture
def segmenter(volumeNode, segmentationNode, predictor):
    segmenter, thread = newSegmenter(volumeNode, segmentationNode, lambda _model: predictor)
    segmenter.followChoice = lambda: ALWAYS
    yield segmenter
    predictor.go.set()
    segmenter.forgetScene()
    thread.stop()


@pytest.fixture
def segmentId(segmentationNode):
    return segmentationNode.GetSegmentation().AddEmptySegment("spine", "spine")


def session(volumeNode, mode="always", patches=40):
    made = Session(volumeFromNode(volumeNode), FloodPredictor())
    made.following = FollowSettings(mode, patches)
    return made


def startOf(volumeNode, share=0.1):
    return start_of(volumeFromNode(volumeNode), share)


def shown(segmenter, segmentId):
    return voxels(segmenter.segmentationNode, segmentId, segmenter.volumeNode.GetImageData().GetDimensions())


def click(segmenter, segmentId, share=0.1, positive=True):
    segmenter.click(segmentId, volumeToWorld(segmenter.volumeNode, startOf(segmenter.volumeNode, share)), positive)
    settle(segmenter)


def untilStopped(segmenter, predictor):
    """Wait until the predictor waits, and take what there is by then."""
    until(predictor.waits.is_set, segmenter.poll)
    segmenter.poll()


def test_a_click_is_followed_as_a_session_does_it_and_is_one_step_of_undo(segmenter, segmentId, volumeNode):
    made = session(volumeNode)
    made.click(startOf(volumeNode))
    click(segmenter, segmentId)
    assert np.array_equal(shown(segmenter, segmentId), made.mask())
    assert segmenter.message.startswith("The object was followed into")
    [saved] = segmenter.objectPrompts([segmentId])
    assert saved.clicks == made.current.clicks
    assert saved.clicks[0].follow > 0
    segmenter.undo(segmentId)
    assert not shown(segmenter, segmentId).any()
    segmenter.redo(segmentId)
    assert np.array_equal(shown(segmenter, segmentId), made.mask())
    assert not segmenter.busy


@pytest.mark.parametrize("gone", ["image", "volume", "segmentation"])
def test_it_stops_where_what_it_is_about_is_replaced_or_removed(segmenter, segmentId, volumeNode, predictor, gone):
    predictor.stop = 4
    segmenter.click(segmentId, volumeToWorld(volumeNode, startOf(volumeNode)))
    untilStopped(segmenter, predictor)
    node, followed = segmenter.segmentationNode, shown(segmenter, segmentId)
    assert followed.any()
    if gone == "image":
        slicer.util.updateVolumeFromArray(volumeNode, slicer.util.arrayFromVolume(volumeNode)[::-1].copy())
    else:
        slicer.mrmlScene.RemoveNode(volumeNode if gone == "volume" else node)
        assert "was removed before spine was segmented" in segmenter.message
        assert not segmenter.busy
    predictor.go.set()
    settle(segmenter)
    until(lambda: not segmenter.working, segmenter.poll)
    assert len(predictor.calls) <= 5, "it goes no further"
    assert np.array_equal(voxels(node, segmentId, followed.shape), followed), "what was followed by then stays"
    if gone == "image":
        assert "shows another image by now than spine was clicked in; the result was not written." in segmenter.message


def test_later_clicks_keep_what_was_followed(segmenter, segmentId, volumeNode):
    made = session(volumeNode)
    made.click(startOf(volumeNode))
    made.click(startOf(volumeNode, 0.7), positive=False)
    click(segmenter, segmentId)
    click(segmenter, segmentId, 0.7, positive=False)
    assert np.array_equal(shown(segmenter, segmentId), made.mask())
    assert segmenter.objectPrompts([segmentId])[0].clicks == made.current.clicks


def test_a_neighbour_is_as_it_was_after_undo(segmenter, segmentId, segmentationNode, volumeNode):
    neighbour = segmentationNode.GetSegmentation().AddEmptySegment("rib", "rib")
    drawByHand(segmentationNode, neighbour, volumeNode, Box((8, 8, 30), (12, 12, 120)))
    before = shown(segmenter, neighbour)
    assert before.any()
    click(segmenter, segmentId)
    segmenter.undo(segmentId)
    assert np.array_equal(shown(segmenter, neighbour), before)


def test_the_answer_to_the_click_itself_is_shown_before_it_is_followed(segmenter, segmentId, volumeNode, predictor):
    predictor.stop = 2
    segmenter.click(segmentId, startOf(volumeNode))
    untilStopped(segmenter, predictor)
    near = session(volumeNode, "never")
    near.click(startOf(volumeNode))
    assert np.array_equal(shown(segmenter, segmentId), near.mask())
    assert segmenter.busy
    assert segmenter.patches == (1, 40)


def test_cancel_keeps_what_was_followed_and_follow_goes_on_from_there(segmenter, segmentId, volumeNode, predictor):
    predictor.stop = 4
    segmenter.click(segmentId, startOf(volumeNode))
    untilStopped(segmenter, predictor)
    segmenter.cancel()
    assert segmenter.message == "Stopped; followed into 2 further patches, which stay. Follow again to go on."
    made = session(volumeNode, patches=2)
    made.click(startOf(volumeNode))
    assert np.array_equal(shown(segmenter, segmentId), made.mask())
    predictor.go.set()
    settle(segmenter)
    assert segmenter.canFollow(segmentId)
    segmenter.follow(segmentId)
    settle(segmenter)
    made.follow(FollowSettings("always", 40))
    assert np.array_equal(shown(segmenter, segmentId), made.mask())
    segmenter.undo(segmentId)  # what was followed at the button's request
    made.undo()
    assert np.array_equal(shown(segmenter, segmentId), made.mask())
    segmenter.undo(segmentId)
    assert not shown(segmenter, segmentId).any()


def test_a_click_while_an_object_is_followed_ends_that_and_keeps_it(segmenter, segmentId, volumeNode, predictor):
    predictor.stop = 4
    segmenter.click(segmentId, startOf(volumeNode))
    untilStopped(segmenter, predictor)
    segmenter.click(segmentId, startOf(volumeNode, 0.15), positive=False)
    predictor.go.set()
    settle(segmenter)
    first, second = segmenter.objectPrompts([segmentId])[0].clicks
    assert (first.follow, second.follow, second.positive) == (2, 0, False)
    made = session(volumeNode, patches=2)
    made.click(startOf(volumeNode))
    made.click(startOf(volumeNode, 0.15), positive=False)
    assert np.array_equal(shown(segmenter, segmentId), made.mask())


def test_undo_while_an_object_is_followed_takes_the_click_back_and_redo_brings_what_was_done(
    segmenter, segmentId, volumeNode, predictor
):
    predictor.stop = 4
    segmenter.click(segmentId, startOf(volumeNode))
    untilStopped(segmenter, predictor)
    segmenter.undo(segmentId)
    assert not shown(segmenter, segmentId).any()
    predictor.go.set()
    settle(segmenter)
    assert not shown(segmenter, segmentId).any()
    segmenter.redo(segmentId)
    settle(segmenter)
    made = session(volumeNode, patches=2)
    made.click(startOf(volumeNode))
    assert np.array_equal(shown(segmenter, segmentId), made.mask())


def test_a_failure_on_the_way_is_said_and_keeps_what_was_followed(segmenter, segmentId, volumeNode, predictor):
    def fail(number):
        if number == 4:
            raise ModelError("The server went away.")

    predictor.before = fail
    click(segmenter, segmentId)
    assert segmenter.message.startswith("The server went away. The object was followed into 2 further patches and")
    made = session(volumeNode, patches=2)
    made.click(startOf(volumeNode))
    assert np.array_equal(shown(segmenter, segmentId), made.mask())


@pytest.mark.parametrize("mode", ["never", "ask"])
def test_the_choice_is_kept(segmenter, segmentId, predictor, mode):
    segmenter.followChoice = lambda: FollowChoice(mode)
    click(segmenter, segmentId)
    assert len(predictor.calls) == 1
    assert ("goes on beyond" in segmenter.message or "may go on" in segmenter.message) == (mode == "ask")


def test_how_far_it_was_followed_is_said(segmenter, segmentId, predictor):
    segmenter.followChoice = lambda: FollowChoice("always", 1)
    click(segmenter, segmentId)
    assert len(predictor.calls) == 2
    assert segmenter.message == (
        "The object was followed into 1 further patch and goes on. Follow again to go on, or click where it goes on."
    )


def test_following_what_ends_is_said_and_leaves_no_step(segmenter, segmentId):
    click(segmenter, segmentId)
    before = shown(segmenter, segmentId)
    segmenter.follow(segmentId)
    settle(segmenter)
    assert segmenter.message == "There is nothing to follow: the object ends within what was looked at."
    assert np.array_equal(shown(segmenter, segmentId), before)
    assert not segmenter.canRedo(segmentId)
    segmenter.undo(segmentId)
    assert not shown(segmenter, segmentId).any()


def test_what_was_followed_is_saved_with_the_scene(segmenter, segmentId, scene, volumeNode, tmp_path):
    click(segmenter, segmentId)
    click(segmenter, segmentId, 0.7, positive=False)
    clicks, before = segmenter.objectPrompts([segmentId])[0].clicks, shown(segmenter, segmentId)
    scene.SetRootDirectory(str(tmp_path))
    file = str(tmp_path / "case.mrb")
    assert scene.WriteToMRB(file)
    segmenter.forgetScene()
    scene.Clear(0)
    assert scene.ReadFromMRB(file)
    volumeNode = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    segmentationNode = scene.GetFirstNodeByName("Segmentation")
    predictor = FloodPredictor()
    other, thread = newSegmenter(volumeNode, segmentationNode, lambda _model: predictor)
    try:
        assert other.objectPrompts([segmentId])[0].clicks == clicks
        other.undo(segmentId)
        settle(other)
        made = session(volumeNode)
        made.click(startOf(volumeNode))
        assert np.array_equal(shown(other, segmentId), made.mask())
        other.redo(segmentId)
        settle(other)
        assert np.array_equal(shown(other, segmentId), before)
    finally:
        other.forgetScene()
        thread.stop()


def test_under_a_transform_the_same_is_followed(segmenter, segmentId, scene, volumeNode, segmentationNode):
    turn = np.array([[0, -1, 0, 12], [1, 0, 0, -7], [0, 0, 1, 30], [0, 0, 0, 1]], float)
    transform = linearTransform(scene, turn)
    volumeNode.SetAndObserveTransformNodeID(transform.GetID())
    segmentationNode.SetAndObserveTransformNodeID(transform.GetID())
    click(segmenter, segmentId)
    made = session(volumeNode)
    made.click(startOf(volumeNode))
    assert np.array_equal(shown(segmenter, segmentId), made.mask())


def test_a_point_that_is_dragged_keeps_what_was_followed(segmenter, segmentId, volumeNode):
    click(segmenter, segmentId)
    points = PointList.pointListOf(segmenter.segmentationNode, segmentId)
    follow = segmenter.objectPrompts([segmentId])[0].clicks[0].follow
    points.SetNthControlPointPositionWorld(0, startOf(volumeNode, 0.12))
    settle(segmenter)
    made = session(volumeNode)
    made.click(startOf(volumeNode))
    made.move_click(0, startOf(volumeNode, 0.12))
    assert segmenter.objectPrompts([segmentId])[0].clicks[0].follow == follow
    assert np.array_equal(shown(segmenter, segmentId), made.mask())


class TestPanel:
    """The button, the choice beside it, and the page of the application's settings."""

    @pytest.fixture
    def ready(self, module, ui, volumeNode):
        """The module with a segment and an object that is followed."""
        module.logic.settings.following = "always"
        ui.volumeSelector.setCurrentNode(volumeNode)
        module.panel.addSegment()
        return module

    def follows(self, module):
        return wait(lambda: not (module.panel.segmenter.busy or module.panel.threadTime.active))

    def test_an_object_is_followed_and_the_line_says_so(self, ready, ui, volumeNode):
        assert not ui.followButton.enabled
        ready.panel.segmenter.click(ready.panel.segmentId, startOf(volumeNode))
        self.follows(ready)
        assert "followed into" in ui.statusLabel.text
        assert ui.followButton.enabled

    def test_progress_names_the_patch_and_cancel_keeps_what_is_done(self, ready, ui, volumeNode, predictor):
        predictor.stop = 3
        ready.panel.segmenter.click(ready.panel.segmentId, startOf(volumeNode))
        wait(lambda: "patch 2 of at most 8" in ui.statusLabel.text)
        ui.cancelButton.click()
        self.follows(ready)
        assert ui.statusLabel.text.startswith("Stopped; followed into 1 further patch, which stays.")
        predictor.go.set()
        ui.followButton.click()
        self.follows(ready)
        assert "The object was followed into" in ui.statusLabel.text

    def test_the_choice_is_a_setting_and_the_page_shows_it(self, ready, ui, volumeNode, predictor):
        ui.followModeSelector.setCurrentIndex(2)
        ui.followModeSelector.activated.emit(2)
        assert ready.logic.settings.following == "never"
        ready.panel.segmenter.click(ready.panel.segmentId, startOf(volumeNode))
        self.follows(ready)
        assert len(predictor.calls) == 1
        assert ui.statusLabel.text.startswith("Done in")
        slicer.app.userSettings().setValue("SAMMed3DSegment/following/mode", "ask")
        slicer.app.userSettings().setValue("SAMMed3DSegment/following/patches", 3)
        SettingsPage.reload()
        ready.panel.enter()
        assert ui.followModeSelector.currentIndex == 0
        assert ready.logic.settings.followChoice == FollowChoice("ask", 3)
