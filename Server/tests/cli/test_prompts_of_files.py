"""Prompts of files: together with voxel indices, a name and --no-honour; and that they are never written over."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from sammed3d.cli.app import app
from sammed3d.cli.drawn import from_voxels, given_prompts, read_prompts
from sammed3d.cli.propagate import _corrected
from sammed3d.core import prompt_files
from sammed3d.core.drawings import Scribble
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts
from sammed3d.files.segmentation import read_mask
from sammed3d.files.volume import Volume
from sammed3d.inference.session import Session
from sammed3d.zoo import load_predictor

ROI = {"type": "ROI", "coordinateSystem": "RAS", "center": [90, 105, 75], "size": [100, 90, 80]}
STROKE = {
    "type": "Curve",
    "coordinateSystem": "RAS",
    "controlPoints": [{"position": [60.0 + x, 105, 75], "description": "negative"} for x in range(0, 60, 10)],
}
POINT = {"type": "Fiducial", "coordinateSystem": "RAS", "controlPoints": [{"position": [90, 105, 75]}]}


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    return write_image(tmp_path_factory.mktemp("data") / "ct.nii.gz", phantom((60, 70, 50)), make_affine((3, 3, 3)))


def markups(path, *nodes):
    path.write_text(json.dumps({"markups": nodes}))
    return path


def segment(*arguments):
    return CliRunner().invoke(app, ["segment", *map(str, arguments), "--device", "cpu", "--json"])


def test_a_box_in_voxels_of_an_oblique_volume_goes_round_all_its_corners():
    grid = Grid((40, 40, 40), make_affine((2.0, 3.0, 4.0), (0.5, -0.4, 0.3), (10, 20, 30)))
    given = given_prompts("liver", ["1,2,3"], "5,6,7,15,26,17", (), (), honour=True)
    placed = from_voxels(given, grid, "5,6,7,15,26,17")
    assert placed.clicks == (Click(tuple(grid.to_world((1, 2, 3)))),)
    corners = grid.to_world([(i, j, k) for i in (5, 15) for j in (6, 26) for k in (7, 17)])
    assert np.allclose([placed.box.begin, placed.box.end], [corners.min(axis=0), corners.max(axis=0)])


def test_a_box_of_a_file_is_in_mm_beside_clicks_in_voxels(ct, tiny_checkpoint, tmp_path):
    roi = markups(tmp_path / "roi.mrk.json", ROI)
    output = tmp_path / "mask.nii.gz"
    result = segment(ct, "--ijk", "--click", "30,35,25", "--box", roi, "--model", tiny_checkpoint, "-o", output)
    assert result.exit_code == 0, result.output
    session = Session(Volume.read(ct), load_predictor(tiny_checkpoint, "cpu"))
    session.set_box((40, 60, 35), (140, 150, 115))
    session.click((90, 105, 75))
    assert np.array_equal(read_mask(output, session.volume.grid), session.mask())


def test_voxel_indices_with_a_file_of_prompts_are_refused(ct, tmp_path):
    result = segment(ct, "--ijk", "--points", markups(tmp_path / "p.mrk.json", POINT), "-o", tmp_path / "m.nrrd")
    assert result.exit_code == 2
    assert "files of prompts are in mm" in " ".join(result.stderr.split())


HERE, GONE = Click((90, 105, 75)), Click((90, 105, 75), positive=False)


@pytest.mark.parametrize(
    ("objects", "options", "reason"),
    [
        ([ObjectPrompts("liver", (HERE,)), ObjectPrompts("cyst", (GONE,))], (), "'cyst' has no positive click"),
        ([ObjectPrompts("liver", (GONE,), "0" * 64)], (), "'liver' started from a mask; give that mask with --initial"),
        ([ObjectPrompts(name, (HERE,)) for name in "ab"], ("--initial", "m.nrrd"), "but this file holds 2"),
    ],
    ids=["nothing to find", "from a mask", "two from one mask"],
)
def test_prompts_of_which_no_mask_can_come_are_refused_before_any_is_made(ct, tmp_path, objects, options, reason):
    file = tmp_path / "prompts.json"
    prompt_files.write(file, objects)
    result = segment(ct, "--points", file, *options, "--model", "absent", "-o", tmp_path / "new.nrrd")
    assert result.exit_code == 1
    assert reason in " ".join(result.stderr.split())


def test_a_file_whose_drawings_are_not_to_be_honoured(ct, tiny_checkpoint, tmp_path):
    file = markups(tmp_path / "p.mrk.json", POINT, STROKE)
    [point], [stroke] = (prompt_files.read(markups(tmp_path / "x.mrk.json", node)) for node in (POINT, STROKE))
    session = Session(Volume.read(ct), load_predictor(tiny_checkpoint, "cpu"))
    masks = {}
    for honour in (True, False):
        session.add_object(str(honour))
        prompts = replace(point, drawings=tuple(replace(d, after=1) for d in stroke.drawings), honour=honour)
        session.set_prompts(prompts)
        masks[honour] = session.mask()
    assert not np.array_equal(masks[True], masks[False])
    named = markups(file, *({**node, "name": "liver"} for node in (POINT, STROKE)))
    for option, honour in ((), True), (("--no-honour",), False):
        output = tmp_path / f"{honour}.nii.gz"
        result = segment(ct, "--points", named, *option, "--model", tiny_checkpoint, "-o", output)
        assert result.exit_code == 0, result.output
        assert np.array_equal(read_mask(output, session.volume.grid), masks[honour])


def test_a_name_is_for_the_one_object_that_its_file_does_not_name(ct, tiny_checkpoint, tmp_path):
    file = markups(tmp_path / "p.mrk.json", POINT)
    result = segment(ct, "--points", file, "--name", "liver", "--model", tiny_checkpoint, "-o", tmp_path / "m.seg.nrrd")
    assert result.exit_code == 0, result.output
    assert [each["name"] for each in json.loads(result.stdout)["segments"]] == ["liver"]
    assert [each.name for each in read_prompts(file, "Object 1", honour=True)] == ["Object 1"]
    assert [o.name for o in read_prompts(markups(file, POINT, STROKE), "liver", honour=True)] == [
        "Object 1",
        "Object 2",
    ]
    markups(file, {**POINT, "name": "spleen"})
    assert [each.name for each in read_prompts(file, "liver", honour=True)] == ["spleen"]


def test_corrections_of_a_series_honour_what_is_drawn_as_the_first_frame_does(tmp_path):
    given = ObjectPrompts("liver", (), box=BoxPrompt((0, 0, 0), (9, 9, 9)), honour=False)
    file = tmp_path / "more.json"
    prompt_files.write(file, [ObjectPrompts("liver", (), drawings=(Scribble(((1, 2, 3), (4, 2, 3))),))])
    prompts = _corrected(given, 0, ["1=1,2,3", "2=1,2,3", f"3={file}"], honour=False)
    assert {frame: each.honour for frame, each in prompts.items()} == {0: False, 1: False, 2: False}
    assert _corrected(given, 0, [f"3={file}"], honour=True)[2].honour


LOOP = {
    "type": "ClosedCurve",
    "coordinateSystem": "RAS",
    "controlPoints": [{"position": place} for place in ([60, 80, 75], [110, 80, 75], [110, 130, 75])],
}


@pytest.mark.parametrize(
    ("command", "option", "result"),
    [
        ("segment", "--box", "--output"),
        ("segment", "--scribble", "--output"),
        ("segment", "--lasso", "--uncertainty"),
        ("propagate", "--box", "--plot"),
        ("propagate", "--scribble", "--table"),
        ("propagate", "--lasso", "--table"),
        ("propagate", "--correct", "--table"),
    ],
)
def test_files_of_prompts_are_never_written_over(ct, tmp_path, command, option, result):
    file = markups(
        tmp_path / "drawn.mrk.json", {"--box": ROI, "--scribble": STROKE, "--lasso": LOOP}.get(option, POINT)
    )
    before = file.read_bytes()
    outputs = {"--output": tmp_path / "m.nii.gz", result: tmp_path / "result.nii.gz"}
    outputs[result].symlink_to(file)
    text = {"--box": file, "--correct": f"2={file}"}.get(option, f"{file}:-")
    images = [ct] if command == "segment" else [ct, ct]
    arguments = [command, *images, "--click", "90,105,75", option, text, "--force"]
    arguments += [word for pair in outputs.items() for word in pair]
    refused = CliRunner().invoke(app, [str(each) for each in arguments])
    assert refused.exit_code == 1
    assert "drawn.mrk.json), and would be lost" in " ".join(refused.stderr.split())
    assert file.read_bytes() == before


@pytest.mark.parametrize(("command", "option"), [("segment", "--uncertainty"), ("propagate", "--table")])
def test_two_results_in_one_file_are_refused(ct, tmp_path, command, option):
    images = [ct] if command == "segment" else [ct, ct]
    place = tmp_path / "new.nii.gz"
    result = CliRunner().invoke(
        app, [str(a) for a in (command, *images, "--click", "90,105,75", "-o", place, option, place)]
    )
    assert result.exit_code == 1
    assert "new.nii.gz: two results would be written to this file" in " ".join(result.stderr.split())
    assert not place.exists()
