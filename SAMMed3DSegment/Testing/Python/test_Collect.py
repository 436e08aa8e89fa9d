"""A scene that Slicer saves is a source of cases to train on."""

import numpy as np
import slicer
from typer.testing import CliRunner

from sammed3d.cli.app import app
from sammed3d.core import prompt_files
from sammed3d.core.prompts import Click, ObjectPrompts
from sammed3d.files.datasets import find_cases, read_labels
from sammed3d.files.volume import Volume
from SAMMed3DSegmentLib.PointList import addClick, createPointList


def test_segments_and_clicks_of_a_scene_are_collected(scene, volumeNode, segmentationNode, tmp_path):
    boxes = {"left kidney": np.s_[5:10, 5:10, 5:10], "tumour; of it: all": np.s_[7:12, 7:12, 7:12]}
    expected = {}
    for name, place in boxes.items():
        segmentId = segmentationNode.GetSegmentation().AddEmptySegment("", name)
        expected[name] = np.zeros((30, 50, 40), np.uint8)
        expected[name][place] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(expected[name], segmentationNode, segmentId, volumeNode)
    points = createPointList(segmentationNode, segmentId, volumeNode)
    addClick(points, (10, -20, 30))
    addClick(points, (15, -10, 40), positive=False)
    file = tmp_path / "a scene.mrb"
    assert slicer.util.saveScene(str(file))

    result = CliRunner().invoke(app, ["collect", str(file), "--to", str(tmp_path / "data")])
    assert result.exit_code == 0, result.output
    cases = find_cases(tmp_path / "data")
    assert [list(case.names.values()) for case in cases] == [[name] for name in boxes], "they overlap"
    volume = Volume.read(cases[0].image)
    assert (volume.array == slicer.util.arrayFromVolume(volumeNode).T).all()
    for case, array in zip(cases, expected.values(), strict=True):
        assert (read_labels(case, volume.grid) == array.T).all()
    clicks = (Click((10, -20, 30)), Click((15, -10, 40), positive=False))
    assert prompt_files.read(cases[0].image.with_name("prompts.json")) == (ObjectPrompts("tumour; of it: all", clicks),)
