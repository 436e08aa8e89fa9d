import numpy as np
import pytest

from helpers import make_affine
from mrmlNodes import linearTransform
from sammed3d import Click
from SAMMed3DSegmentLib import PointList
from SAMMed3DSegmentLib.PointList import addClick, clicksFromPointList
from segmenters import SPOTS, clickAt, settle


def test_points_become_clicks_in_order_with_their_kind(scene, volumeNode):
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    addClick(points, (1.0, 2.0, 3.0))
    addClick(points, (4.0, 5.0, 6.0), positive=False)
    addClick(points, (7.0, 8.0, 9.0))
    assert clicksFromPointList(points, volumeNode) == (
        Click((1, 2, 3)),
        Click((4, 5, 6), positive=False),
        Click((7, 8, 9)),
    )


def test_points_being_placed_are_no_clicks_yet(scene, volumeNode):
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    addClick(points, (1.0, 2.0, 3.0))
    addClick(points, (4.0, 5.0, 6.0))
    points.UnsetNthControlPointPosition(0)
    assert clicksFromPointList(points, volumeNode) == (Click((4, 5, 6)),)


def test_points_and_volume_under_different_transforms_meet_in_the_world(scene, volumeNode):
    moved, turned = make_affine((1, 1, 1), (0, 0, 0), (100, 0, 0)), make_affine((1, 1, 1), (0, 0, 1.0), (0, 0, 0))
    volumeNode.SetAndObserveTransformNodeID(linearTransform(scene, moved).GetID())
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    points.SetAndObserveTransformNodeID(linearTransform(scene, turned).GetID())
    addClick(points, (110.0, 20.0, 30.0))
    [click] = clicksFromPointList(points, volumeNode)
    assert np.allclose(click.world, (10, 20, 30))


def test_clicks_survive_a_markups_file(scene, volumeNode, tmp_path):
    from sammed3d.core import markups, prompt_files

    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    addClick(points, (1.0, 2.0, 3.0))
    addClick(points, (4.0, 5.0, 6.0), positive=False)
    points.AddDefaultStorageNode()
    points.GetStorageNode().SetFileName(str(tmp_path / "clicks.mrk.json"))
    assert points.GetStorageNode().WriteData(points)
    [saved] = prompt_files.read(tmp_path / "clicks.mrk.json")
    assert saved.clicks == clicksFromPointList(points, volumeNode)
    (tmp_path / "ours.mrk.json").write_text(markups.clicks_json(saved.clicks))
    again = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    again.AddDefaultStorageNode()
    again.GetStorageNode().SetFileName(str(tmp_path / "ours.mrk.json"))
    assert again.GetStorageNode().ReadData(again)
    assert clicksFromPointList(again, volumeNode) == saved.clicks


@pytest.mark.parametrize("limit", ["fixed", "maximum"])
def test_a_list_whose_number_of_points_was_fixed_takes_clicks_and_loses_them(segmenter, liver, limit):
    """By the module Markups, which offers that for any list."""
    clickAt(segmenter, liver, SPOTS[0])
    points = segmenter.pointsFor(liver)
    for count in (2, 1, 2):
        if limit == "fixed":
            points.SetFixedNumberOfControlPoints(True)
        else:
            points.SetMaximumNumberOfControlPoints(points.GetNumberOfControlPoints())
        if count == 1:
            segmenter.undo(liver)
            settle(segmenter)
        else:
            clickAt(segmenter, liver, SPOTS[1])
        assert len(PointList.placed(points)) == len(segmenter.promptsInForce(liver).clicks) == count


def test_a_new_list_is_hidden_where_all_others_are(segmenter, liver, spleen):
    clickAt(segmenter, liver, SPOTS[0])
    segmenter.pointsFor(liver).SetDisplayVisibility(False)
    assert not segmenter.pointsFor(spleen).GetDisplayVisibility()
    segmenter.pointsFor(liver).SetDisplayVisibility(True)
    bone = segmenter.segmentationNode.GetSegmentation().AddEmptySegment("bone", "bone")
    assert segmenter.pointsFor(bone).GetDisplayVisibility()
