"""The command line as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from sammed3d.cli.app import app
from sammed3d.cli.terminal import SignsColumn
from sammed3d.core import markups, prompt_files
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.drawings import Lasso
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import Click, ObjectPrompts
from sammed3d.files.segmentation import Segment, write_segments
from sammed3d.files.volume import Volume
from sammed3d.inference.follow_limits import FollowSettings
from sammed3d.inference.session import Session
from sammed3d.zoo import load_predictor
from servers import serving

runner = CliRunner()


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    """A phantom as a NIfTI file."""
    path = tmp_path_factory.mktemp("data") / "ct.nii.gz"
    return write_image(path, phantom((60, 70, 50)), make_affine((3, 3, 3)))


def run(*arguments):
    return runner.invoke(app, [str(a) for a in arguments])


def one_line(result):
    return " ".join(result.stderr.split())


def test_segment_writes_what_the_session_gives(ct, tiny_checkpoint, tmp_path):
    result = run(
        "segment", ct, "--click", "90,105,75", "--click=-0.5,10,20:-", "--click", "99,100,80:+",
        "--model", tiny_checkpoint, "--device", "cpu", "--output", tmp_path / "mask.nii.gz", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    session = Session(Volume.read(ct), load_predictor(tiny_checkpoint, "cpu"))
    session.click((90, 105, 75))
    session.click((-0.5, 10, 20), positive=False)
    session.click((99, 100, 80))
    written = Volume.read(tmp_path / "mask.nii.gz")
    assert np.array_equal(written.array, session.mask())
    assert written.grid.matches(session.volume.grid)
    report = json.loads(result.stdout)
    [segment] = report["segments"]
    assert segment["voxels"] == session.mask().sum()
    assert segment["volume_ml"] == pytest.approx(session.mask().sum() * 27 / 1000, abs=1e-3)
    assert segment["clicks"] == 3
    assert {"read", "load", "cut", "encode", "decode", "paint", "write"} <= report["seconds"].keys()
    assert report["device"] == "cpu"
    assert report["model"] == "Tiny"


@pytest.mark.slow
def test_the_image_is_never_written_over(ct, tiny_checkpoint, tmp_path):
    copy = tmp_path / "in.nii.gz"
    copy.write_bytes(ct.read_bytes())
    link = tmp_path / "other.nii.gz"
    link.symlink_to(copy)
    click = ("segment", copy, "--click", "90,105,75", "--model", tiny_checkpoint, "--device", "cpu")
    for output in (copy, link):
        refused = run(*click, "-o", output, "--force")
        assert refused.exit_code == 1
        assert "would be lost" in one_line(refused)
    assert copy.read_bytes() == ct.read_bytes()
    assert run(*click, "-o", tmp_path / "mask.nrrd").exit_code == 0
    again = run(*click, "-o", tmp_path / "mask.nrrd")
    assert again.exit_code == 1
    assert "mask.nrrd: exists already" in one_line(again)
    assert run(*click, "-o", tmp_path / "mask.nrrd", "--force").exit_code == 0
    own = run("models", "export", tiny_checkpoint, tiny_checkpoint, "--force")
    assert own.exit_code == 1
    assert "would be lost" in one_line(own)


def test_negative_clicks_alone_and_sheared_images_are_refused_before_anything_is_computed(ct, tmp_path):
    refused = run("segment", ct, "--click", "90,105,75:-", "-o", tmp_path / "m.nrrd", "--device", "cpu")
    assert refused.exit_code == 1
    assert "has no positive click" in one_line(refused)
    header = (
        "NRRD0005\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 8 8 8\n"
        "space directions: (1,0,0) (0.5,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\n\n"
    )
    sheared = tmp_path / "sheared.nrrd"
    sheared.write_bytes(header.encode() + bytes(range(256)) * 2)
    refused = run("segment", sheared, "--click", "1,1,1", "-o", tmp_path / "m.nrrd", "--model", tmp_path / "no.pth")
    assert refused.exit_code == 1
    assert "not perpendicular" in one_line(refused), "before the model is looked for"


@pytest.mark.slow
def test_a_2d_model_works_slice_by_slice_and_takes_boxes(ct, tiny_checkpoint_2d, tmp_path):
    box = ("--box", "10,12,5,50,60,40", "--ijk", "--model", tiny_checkpoint_2d, "--device", "cpu")
    result = run("segment", ct, *box, "--click", "30,35,25:-", "--output", tmp_path / "mask.nii.gz")
    assert result.exit_code == 0, result.output
    session = Session(Volume.read(ct), load_predictor(tiny_checkpoint_2d, "cpu"))
    session.set_box((30, 36, 15), (150, 180, 120))
    session.click((90, 105, 75), positive=False)
    assert np.array_equal(Volume.read(tmp_path / "mask.nii.gz").array, session.mask())
    assert run("segment", ct, "--box", "1,2,3", "--output", tmp_path / "m.nii.gz").exit_code == 2


def test_voxel_indices_and_world_coordinates_mean_the_same_place(ct, tiny_checkpoint, tmp_path):
    common = ("--model", tiny_checkpoint, "--device", "cpu")
    assert run("segment", ct, "--click", "90,105,75", *common, "-o", tmp_path / "a.nrrd").exit_code == 0
    assert run("segment", ct, "--ijk", "--click", "30,35,25", *common, "-o", tmp_path / "b.nrrd").exit_code == 0
    assert np.array_equal(Volume.read(tmp_path / "a.nrrd").array, Volume.read(tmp_path / "b.nrrd").array)


def test_points_come_from_markups_and_prompt_files(ct, tiny_checkpoint, tmp_path):
    common = ("--model", tiny_checkpoint, "--device", "cpu", "--json")
    clicks = (Click((90, 105, 75)), Click((20, 20, 20), False))
    (tmp_path / "p.mrk.json").write_text(markups.clicks_json(clicks))
    result = run("segment", ct, "--points", tmp_path / "p.mrk.json", *common, "-o", tmp_path / "a.nii")
    assert json.loads(result.stdout)["segments"][0]["clicks"] == 2
    both = [ObjectPrompts("liver", clicks), ObjectPrompts("spleen", clicks[:1])]
    (tmp_path / "p.json").write_text(prompt_files.dumps(both))
    result = run("segment", ct, "--points", tmp_path / "p.json", *common, "-o", tmp_path / "b.seg.nrrd")
    assert [s["name"] for s in json.loads(result.stdout)["segments"]] == ["liver", "spleen"]


STROKE, LOOP = [(60, 105, 75), (110, 105, 75)], [(70, 80, 75), (110, 80, 75), (110, 130, 75), (70, 130, 75)]


def drawn_files(folder):
    """A stroke as lines, a loop as Slicer writes it, a ROI."""
    (folder / "stroke.csv").write_text("# R, A, S\n" + "\n".join(",".join(map(str, p)) for p in STROKE))
    (folder / "loop.mrk.json").write_text(markups.drawing_json(Lasso(tuple(LOOP), positive=False)))
    roi = {"type": "ROI", "coordinateSystem": "RAS", "center": [90, 105, 75], "size": [100, 90, 80]}
    (folder / "roi.mrk.json").write_text(json.dumps({"markups": [roi]}))


@pytest.mark.slow
def test_drawings_come_from_files_and_are_what_the_session_makes_of_them(ct, tiny_checkpoint, tmp_path):
    drawn_files(tmp_path)
    common = ("--model", tiny_checkpoint, "--device", "cpu", "--json")
    given = ("--click", "90,105,75", "--scribble", tmp_path / "stroke.csv", "--lasso", tmp_path / "loop.mrk.json")
    box = ("--box", tmp_path / "roi.mrk.json")
    result = run("segment", ct, *given, *box, *common, "-o", tmp_path / "a.nii.gz")
    assert result.exit_code == 0, result.output
    session = Session(Volume.read(ct), load_predictor(tiny_checkpoint, "cpu"))
    session.set_box((40, 60, 35), (140, 150, 115))
    session.click((90, 105, 75))
    session.scribble(STROKE)
    session.lasso(LOOP, positive=False)
    assert np.array_equal(Volume.read(tmp_path / "a.nii.gz").array, session.mask())
    [segment] = json.loads(result.stdout)["segments"]
    assert (segment["clicks"], segment["drawings"]) == (1, 2)
    assert [told["prompt"] for told in segment["told"]] == ["box", "scribble 1", "lasso 1"]
    session.save_prompts(tmp_path / "saved.json")
    assert run("segment", ct, "--points", tmp_path / "saved.json", *common, "-o", tmp_path / "b.nii.gz").exit_code == 0
    assert np.array_equal(Volume.read(tmp_path / "b.nii.gz").array, session.mask())
    negative = ("--scribble", f"{tmp_path / 'stroke.csv'}:-", "--no-honour")
    result = run("segment", ct, "--click", "90,105,75", *negative, *common, "-o", tmp_path / "c.nii.gz")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--scribble", "loop.mrk.json"), "loop.mrk.json: this file holds no scribble (a curve in Slicer)"),
        (("--lasso", "nothing.mrk.json"), "nothing.mrk.json: the prompts cannot be read: no such file or directory."),
        (("--scribble", "nothing.csv"), "nothing.csv: the drawing cannot be read: there is no such file."),
        (("--scribble", "words.csv"), "words.csv: neither a curve of Slicer"),
        (("--lasso", "stroke.csv"), "A lasso needs at least 3 points, not 2"),
        (("--lasso", "loop.mrk.json"), "has no positive click"),
        (("--box", "loop.mrk.json"), "loop.mrk.json: this file holds 0 boxes"),
        (("--scribble", "far.csv"), "The scribble lies outside ct.nii.gz, which reaches from"),
        (("--points", "nine.json"), "nine.json: version 9 is not known; update this package"),
    ],
)
def test_drawings_that_cannot_be_are_one_line(ct, tiny_checkpoint, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    drawn_files(tmp_path)
    (tmp_path / "far.csv").write_text("9000,9000,9000")
    (tmp_path / "words.csv").write_text("here, there")
    (tmp_path / "nine.json").write_text('{"format": "sammed3d-prompts", "version": 9, "objects": []}')
    result = run("segment", ct, *arguments, "--model", tiny_checkpoint, "--device", "cpu", "-o", "x.nrrd")
    assert result.exit_code == 1
    assert message in one_line(result)
    assert not (tmp_path / "x.nrrd").exists()


def test_an_initial_mask_is_refined(ct, tiny_checkpoint, tmp_path):
    volume = Volume.read(ct)
    mask = np.zeros(volume.grid.shape, np.uint8)
    mask[20:40, 20:40, 20:40] = 1
    write_segments(tmp_path / "start.nrrd", [Segment("s", BoxedMask.of(mask))], volume.grid)
    common = ("--model", tiny_checkpoint, "--device", "cpu", "--initial", tmp_path / "start.nrrd")
    result = run("segment", ct, "--click", "90,105,75:-", *common, "-o", tmp_path / "a.nrrd")
    assert result.exit_code == 0, result.stderr
    session = Session(volume, load_predictor(tiny_checkpoint, "cpu"))
    session.start_from(mask)
    session.click((90, 105, 75), positive=False)
    assert np.array_equal(Volume.read(tmp_path / "a.nrrd").array, session.mask())


@pytest.mark.parametrize("click", ["1,2", "a,b,c", "1,2,3:x", "nan,1,2", ""])
def test_malformed_clicks_are_wrong_usage(ct, click):
    result = run("segment", ct, "--click", click, "-o", "x.nrrd")
    assert result.exit_code == 2


def test_clicks_or_points_but_not_both_and_not_neither(ct):
    assert run("segment", ct, "-o", "x.nrrd").exit_code == 2
    assert run("segment", ct, "-o", "x.nrrd", "--click", "1,2,3", "--points", "p.json").exit_code == 2
    assert run("segment").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("segment", "nothing.nii", "--click", "1,2,3", "-o", "x.nrrd"), "nothing.nii: there is no such file"),
        (("segment", "CT", "--click", "1,2,999", "-o", "x.nrrd", "--model", "TINY"), "lies outside ct.nii.gz"),
        (("segment", "CT", "--click", "1,2,3", "-o", "x.png", "--model", "TINY"), "x.png: unknown format"),
        (("segment", "CT", "--click", "1,2,3", "-o", "x.nrrd", "--model", "no.pth"), "no.pth: there is no such file"),
        (("segment", "CT", "--click", "1,2,3", "-o", "x.nrrd", "--device", "cuda:9"), "'cuda:9' cannot be used here"),
        (("segment", "CT", "--points", "none.json", "-o", "x.nrrd", "--model", "TINY"), "none.json: the prompts"),
        (("info", "nothing.nii"), "nothing.nii: there is no such file"),
    ],
)
def test_errors_are_one_line_that_names_the_input(ct, tiny_checkpoint, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*({"CT": ct, "TINY": tiny_checkpoint}.get(a, a) for a in arguments))
    assert result.exit_code == 1
    assert message in one_line(result)
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_trace():
    result = run("info", "nothing.nii", "--debug")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_info_describes_geometry_and_intensities(ct):
    report = json.loads(run("info", ct, "--json").stdout)
    assert report["shape"] == [60, 70, 50]
    assert report["spacing_mm"] == [3, 3, 3]
    assert report["axes"] == "RAS"
    assert report["world_to"] == [177, 207, 147]
    assert report["intensities"] == [float(phantom((60, 70, 50)).min()), float(phantom((60, 70, 50)).max())]
    shown = " ".join(run("info", ct).stdout.split())
    low, high = report["intensities"]
    assert "shape 60 x 70 x 50 voxels spacing 3 x 3 x 3 mm" in shown
    assert "world from R 0, A 0, S 0 to R 177, A 207, S 147 mm" in shown
    assert f"intensities {low:.10g} to {high:.10g} memory" in shown


@pytest.mark.slow
def test_the_installed_command_and_module_run():
    for command in ([sys.executable, "-m", "sammed3d"], [Path(sys.executable).with_name("sammed3d")]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "0.1.0"


def test_a_server_gives_the_same_mask(ct, tiny_checkpoint, tmp_path):
    common = ("segment", ct, "--click", "90,105,75", "--json")
    with serving(load_predictor(tiny_checkpoint, "cpu")) as server:
        result = run(*common, "--server", server.url, "-o", tmp_path / "remote.nrrd")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["device"] == "server"
        refused = run(*common, "--server", server.url, "--device", "cpu", "-o", tmp_path / "x.nrrd")
        assert "leave them out" in one_line(refused)
    run(*common, "--model", tiny_checkpoint, "--device", "cpu", "-o", tmp_path / "local.nrrd")
    assert np.array_equal(Volume.read(tmp_path / "remote.nrrd").array, Volume.read(tmp_path / "local.nrrd").array)


def test_models_are_imported_listed_checked_and_removed(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path))
    assert "SAM-Med3D" in run("models", "list").stdout
    assert "9 MiB" in run("models", "list").stdout, "as the panel in Slicer says of the default model"
    assert run("models", "import", tiny_checkpoint, "--name", "mine").exit_code == 0
    assert "mine" in run("models", "list").stdout
    assert all(words in run("models", "info", "mine").stdout for words in ("sha256: ", " bytes\n"))
    assert "url: https://" in run("models", "info", "sam_med3d_turbo").stdout
    assert "citation: " in run("models", "info", "sam_med3d_turbo").stdout
    assert run("models", "verify", "mine").stdout == "mine: unchanged\n"
    assert run("models", "remove", "mine").exit_code == 0
    assert "There is no model named 'mine'" in one_line(run("models", "verify", "mine"))
    assert "Get the file from" in one_line(run("models", "download", "fastsam3d"))


def test_a_file_that_is_no_model_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMMED3D_MODELS", str(tmp_path / "models"))
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    result = run("models", "import", tmp_path / "bad.pth")
    assert result.exit_code == 1
    assert "bad.pth" in one_line(result)
    assert not (tmp_path / "models").exists()


def test_serve_refuses_to_open_itself_and_makes_keys(tmp_path):
    result = run("serve", "--host", "0.0.0.0")  # noqa: S104 - that is the point
    assert result.exit_code == 1
    assert "a file of keys is needed" in one_line(result)
    key = run("serve-key", "anna", "--keys", tmp_path / "keys.json").stdout.strip()
    assert len(key) > 30
    assert key not in (tmp_path / "keys.json").read_text()


@pytest.fixture(scope="module")
def long_ct(tmp_path_factory):
    """A phantom that is larger than the patch of the tiny model."""
    return write_image(tmp_path_factory.mktemp("data") / "long.nii.gz", phantom((40, 40, 150)), make_affine((3, 3, 3)))


@pytest.mark.slow
def test_objects_are_followed_after_the_last_click_and_the_report_says_how_far(long_ct, tiny_checkpoint, tmp_path):
    arguments = ("segment", long_ct, "--click", "60,60,60", "--model", tiny_checkpoint, "--device", "cpu", "--json")
    session = Session(Volume.read(long_ct), load_predictor(tiny_checkpoint, "cpu"))
    session.following = FollowSettings("never")
    session.click((60, 60, 60))
    result = run(*arguments, "--output", tmp_path / "never.nii.gz")
    assert result.exit_code == 0, result.output
    assert np.array_equal(Volume.read(tmp_path / "never.nii.gz").array, session.mask())
    assert json.loads(result.stdout)["segments"][0]["patches"] == 0
    update = session.follow(FollowSettings(patches=2))
    result = run(*arguments, "--follow", "--patches", "2", "--output", tmp_path / "always.nii.gz")
    assert np.array_equal(Volume.read(tmp_path / "always.nii.gz").array, session.mask())
    [segment] = json.loads(result.stdout)["segments"]
    assert (segment["patches"], segment["goes_on"]) == (update.followed.patches, update.followed.goes_on)
    assert update.followed.message in one_line(result)


@pytest.mark.parametrize("patches", ["0", "1001", "many"])
def test_another_number_of_patches_is_wrong_usage(ct, tmp_path, patches):
    result = run("segment", ct, "--click", "60,60,60", "--patches", patches, "-o", tmp_path / "m.nii.gz")
    assert result.exit_code == 2


def test_how_far_to_follow_is_no_word_for_what_is_not_followed(ct, tmp_path):
    result = run("segment", ct, "--click", "60,60,60", "--patches", "3", "-o", tmp_path / "m.nii.gz")
    assert result.exit_code == 2
    assert "--patches says how far --follow goes" in one_line(result)


@pytest.mark.slow
def test_uncertainty_is_written_on_the_volumes_grid_and_the_next_click_is_said(long_ct, tiny_checkpoint, tmp_path):
    arguments = ("segment", long_ct, "--click", "60,60,60", "--model", tiny_checkpoint)
    file = tmp_path / "doubt.nii.gz"
    result = run(
        *arguments, "--device", "cpu", "--json", "--output", tmp_path / "mask.nii.gz",
        "--uncertainty", file, "--suggest",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    session = Session(Volume.read(long_ct), load_predictor(tiny_checkpoint, "cpu"))
    session.click((60, 60, 60))
    found, place = session.uncertainty(), session.suggest()
    written = Volume.read(file)
    assert written.grid.matches(session.volume.grid)
    assert np.array_equal(written.array[found.box.slices], found.entropy)
    outside = np.ones(written.array.shape, bool)
    outside[found.box.slices] = False
    assert not written.array[outside].any()
    said = json.loads(result.stdout)["next_click"]
    assert (said["world"], said["looks_inside"]) == (list(place.world), place.looks_inside)
    assert "Click next at" in one_line(result)
    refused = run(*arguments, "--output", tmp_path / "other.nii.gz", "--uncertainty", tmp_path / "doubt.seg.nrrd")
    assert refused.exit_code == 1
    assert "doubt.seg.nrrd: a segmentation holds no numbers" in one_line(refused)
    assert not (tmp_path / "other.nii.gz").exists()
    refused = run(*arguments, "--output", tmp_path / "other.nii.gz", "--uncertainty", file)
    assert "exists already" in one_line(refused)


@pytest.mark.slow
def test_a_2d_model_does_not_say_how_sure_it_is(ct, tiny_checkpoint_2d, tmp_path):
    result = run(
        "segment", ct, "--click", "90,105,75", "--model", tiny_checkpoint_2d, "--device", "cpu", "--suggest",
        "--output", tmp_path / "m.nii.gz",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "slice by slice" in one_line(result)


def test_a_spinner_says_how_much_is_sent_and_how_many_slices_were_seen():
    cancellation = Cancellation()
    column = SignsColumn(cancellation)
    assert column.render(None).plain == ""
    cancellation.stage, cancellation.share = "send", 0.42
    assert column.render(None).plain == "sent 42%"
    cancellation.stage, cancellation.share, cancellation.slices = "decode", None, (3, 20)
    assert column.render(None).plain == "slice 3 of at most 20"
