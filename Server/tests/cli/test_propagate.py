"""`sammed3d propagate`: 4-D files and many files in, label maps, table and plot out; stopping keeps what is done."""

import csv
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

import sammed3d
from moving_ball import moving_ball, predictor, write_4d
from sammed3d.cli.app import app
from sammed3d.core import prompt_files
from sammed3d.core.drawings import Scribble
from sammed3d.core.prompts import Click, ObjectPrompts
from sammed3d.evaluation.metrics import dice
from sammed3d.files.segmentation import read_mask
from sammed3d.files.volume import image_on
from servers import serving

pytestmark = pytest.mark.slow
COUNT = 5


@pytest.fixture(scope="module")
def ball():
    return moving_ball(COUNT)


@pytest.fixture(scope="module")
def series(ball, tmp_path_factory):
    return write_4d(ball, tmp_path_factory.mktemp("series") / "heart.nii.gz")


@pytest.fixture
def model(monkeypatch):
    made = predictor()
    monkeypatch.setattr(sammed3d, "load_predictor", lambda *_args, **_kwargs: made)
    return made


def place(ball, number):
    return ",".join(f"{v:.3f}" for v in ball.centres[number])


def run(*arguments):
    return CliRunner().invoke(app, ["propagate", *map(str, arguments)])


def said(result):
    return " ".join(result.stderr.split())


def test_a_4d_file_becomes_a_4d_label_map_with_table_and_plot(ball, series, model, tmp_path):
    output, table, plot = tmp_path / "mask.nii.gz", tmp_path / "heart.csv", tmp_path / "heart.svg"
    result = run(series, "-o", output, "--click", place(ball, 0), "--table", table, "--plot", plot, "--json")
    assert result.exit_code == 0, result.output
    image = sitk.ReadImage(str(output))
    assert image.GetSize() == (*ball.grid.shape, COUNT)
    assert image.GetSpacing()[3] == pytest.approx(0.8)
    source = sitk.ReadImage(str(series))
    assert np.allclose(image.GetOrigin()[:3], source.GetOrigin()[:3], atol=1e-3)
    assert np.allclose(image.GetDirection(), source.GetDirection(), atol=1e-5)
    masks = sitk.GetArrayFromImage(image).T
    rows = json.loads(result.stdout)["frames"]
    for number in range(COUNT):
        assert dice(masks[..., number], ball.truth(number).astype(np.uint8)) > 0.85
        assert rows[number]["volume_ml"] == pytest.approx(masks[..., number].sum() * 0.216, abs=1e-3)
    with table.open() as file:
        written = list(csv.DictReader(file))
    assert [row["frame"] for row in written] == ["1", "2", "3", "4", "5"]
    assert [float(row["volume_ml"]) for row in written] == [row["volume_ml"] for row in rows]
    assert written[0]["overlap"] == ""
    assert float(written[1]["overlap"]) > 0.5
    assert written[0]["moved_mm"] == "0.0"
    assert sum(float(row["moved_mm"]) for row in written) == pytest.approx(4 * 8.0, abs=8.0), "in voxels of 6 mm"
    [line] = [e for e in ET.parse(plot).getroot().iter() if e.tag.endswith("polyline")]  # noqa: S314 - our own file
    assert len(line.get("points").split()) == COUNT


def test_many_files_and_a_range_become_a_file_for_each_frame(ball, model, tmp_path):
    files = []
    for number in range(COUNT):
        image = sitk.GetImageFromArray(ball.volume(number).array.T.copy())
        image.CopyInformation(image_on(ball.grid, sitk.sitkInt16))
        files.append(tmp_path / f"t{number}.nrrd")
        sitk.WriteImage(image, str(files[-1]))
    folder = tmp_path / "masks"
    folder.mkdir()
    result = run(*files, "-o", folder, "--click", place(ball, 2), "--at", 3, "--frames", "2-4", "--name", "ball")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in folder.iterdir()) == [f"frame-00{n}.seg.nrrd" for n in (2, 3, 4)]
    for number in (1, 2, 3):
        mask = read_mask(folder / f"frame-00{number + 1}.seg.nrrd", ball.grid)
        assert dice(mask, ball.truth(number).astype(np.uint8)) > 0.85
    again = run(*files, "-o", folder, "--click", place(ball, 2), "--at", 3, "--frames", "2-4")
    assert again.exit_code == 1
    assert "frame-002.seg.nrrd" in said(again)


def test_a_failure_on_the_way_writes_the_frames_that_are_done(ball, series, model, tmp_path):
    def fail(number):
        if number == 3:
            raise sammed3d.ModelError("The server went away.")

    model.before = fail
    result = run(series, "-o", tmp_path / "mask.nii.gz", "--click", place(ball, 0))
    assert result.exit_code == 1
    assert "2 of 5 frames are done and written." in said(result)
    assert "Error: The server went away." in said(result)
    masks = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "mask.nii.gz"))).T
    assert [bool(masks[..., n].any()) for n in range(COUNT)] == [True, True, False, False, False]


def test_ctrl_c_writes_the_frames_that_are_done(ball, series, model, tmp_path):
    def stop(number):
        if number == 3:
            raise sammed3d.PredictionCancelled("The prediction was cancelled; nothing was changed.")

    model.before = stop
    result = run(series, "-o", tmp_path / "mask.nii.gz", "--click", place(ball, 0))
    assert result.exit_code == 130
    assert (tmp_path / "mask.nii.gz").exists()


def test_the_end_of_a_schedulers_job_writes_the_frames_that_are_done(ball, series, model, tmp_path, terminated):
    model.before = lambda number: terminated.now() if number == 3 else None
    result = run(series, "-o", tmp_path / "mask.nii.gz", "--click", place(ball, 0))
    assert result.exit_code == terminated.exit_code, result.output
    assert " of 5 frames are done and written." in said(result)
    assert (tmp_path / "mask.nii.gz").exists()


def arrays(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T


def test_drawings_boxes_and_files_of_prompts_are_taken_as_segment_takes_them(ball, series, model, tmp_path):
    """What is drawn in the second frame finds the ball there, and in the others as well."""
    middle = ball.centres[1]
    (tmp_path / "stroke.csv").write_text("\n".join(",".join(map(str, middle + n)) for n in (-9, 0, 9)))
    loop = [middle + 37 * np.array([np.cos(a), np.sin(a), 0]) for a in np.linspace(0, 6, 40)]
    (tmp_path / "loop.csv").write_text("\n".join(",".join(map(str, each)) for each in loop))
    corners = ",".join(f"{v:.2f}" for v in (*(middle - 45), *(middle + 45)))
    stroke = Scribble(tuple(tuple(middle + n) for n in (-9.0, 0.0, 9.0)))
    prompt_files.write(tmp_path / "all.json", [ObjectPrompts("ventricle", (), drawings=(stroke,))])
    results = {}
    for name, options in {
        "scribble": ("--scribble", tmp_path / "stroke.csv"),
        "lasso": ("--lasso", tmp_path / "loop.csv"),
        "box": ("--box", corners),
        "points": ("--points", tmp_path / "all.json"),
    }.items():
        result = run(series, "-o", tmp_path / f"{name}.nii.gz", *options, "--at", 2)
        assert result.exit_code == 0, result.output
        results[name] = arrays(tmp_path / f"{name}.nii.gz")
        for number in range(COUNT):
            assert dice(results[name][..., number], ball.truth(number).astype(np.uint8)) > 0.85, (name, number)
    assert np.array_equal(results["scribble"], results["points"])
    folder = tmp_path / "frames"
    folder.mkdir()
    assert run(series, "-o", folder, "--points", tmp_path / "all.json", "--frames", "2", "--at", 2).exit_code == 0
    assert "ventricle" in (folder / "frame-002.seg.nrrd").read_bytes()[:4000].decode("latin-1")


def test_a_frame_is_corrected_by_a_file(ball, series, model, tmp_path):
    middle = ball.centres[2]
    beyond = tuple(middle + np.array([0, 0, 60.0]))
    stroke = Scribble((tuple(middle), beyond))
    prompt_files.write(tmp_path / "fix.json", [ObjectPrompts("x", (), drawings=(stroke,))])
    fix = f"3={tmp_path / 'fix.json'}"
    result = run(series, "-o", tmp_path / "m.nii.gz", "--click", place(ball, 0), "--correct", fix)
    assert result.exit_code == 0, result.output
    voxel = tuple(np.rint(ball.grid.to_index(beyond)).astype(int))
    assert [bool(arrays(tmp_path / "m.nii.gz")[..., n][voxel]) for n in range(COUNT)] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_a_server_gives_the_same_masks(ball, series, tmp_path, tiny_checkpoint):
    common = (series, "--click", place(ball, 0), "--frames", "1-2", "--model", tiny_checkpoint)
    here = run(*common, "-o", tmp_path / "here.nii.gz")
    assert here.exit_code == 0, here.output
    with serving(sammed3d.load_predictor(tiny_checkpoint, "cpu")) as server:
        there = run(*common[:-2], "-o", tmp_path / "there.nii.gz", "--server", server.url)
        assert there.exit_code == 0, there.output
        refused = run(*common[:-2], "-o", tmp_path / "x.nii.gz", "--server", server.url, "--device", "cpu")
        assert refused.exit_code == 1
        assert "With --server, device" in said(refused)
    assert np.array_equal(arrays(tmp_path / "here.nii.gz"), arrays(tmp_path / "there.nii.gz"))


def test_prompts_that_do_not_fit_get_one_line(ball, series, model, tmp_path):
    two = [ObjectPrompts(name, (Click(tuple(ball.centres[0])),)) for name in ("a", "b")]
    prompt_files.write(tmp_path / "two.json", two)
    prompt_files.write(tmp_path / "from.json", [ObjectPrompts("a", two[0].clicks, "0" * 64)])
    prompt_files.write(tmp_path / "none.json", [ObjectPrompts("a", (Click((0, 0, 0), False),))])
    for options, code, line in (
        ((), 2, "Give --click, --box, --scribble or --lasso"),
        (("--click", "1,2,3", "--points", tmp_path / "two.json"), 2, "Give --click, --box"),
        (("--points", tmp_path / "two.json"), 1, "the file holds 2"),
        (("--points", tmp_path / "from.json"), 1, "started from a mask"),
        (("--points", tmp_path / "none.json"), 1, "has no positive click"),
        (("--scribble", tmp_path / "absent.csv"), 1, "the drawing cannot be read"),
    ):
        result = run(series, "-o", tmp_path / "mask.nii.gz", *options)
        assert result.exit_code == code, result.output
        words = said(result).replace("│", "")
        assert line in " ".join(words.split())


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--frames", "3-9"], 2, "--frames takes A-B between 1 and 5"),
        (["--correct", "0=1,2,3"], 2, "--correct takes N=R,A,S"),
        (["--correct", "9=1,2,3"], 1, "Frame 9 is clicked in, but frames 1 to 5 are asked for."),
        (["--at", "7"], 1, "Frame 7 is clicked in, but frames 1 to 5 are asked for."),
        (["--table", "absent/x.csv"], 1, "the folder does not exist"),
    ],
)
def test_bad_input_gets_one_line(ball, series, model, tmp_path, arguments, code, line):
    result = run(series, "-o", tmp_path / "mask.nii.gz", "--click", place(ball, 0), *arguments)
    assert result.exit_code == code
    assert line in said(result).replace("│ ", "").replace(" │", "")
    assert not (tmp_path / "mask.nii.gz").exists()


def test_a_volume_alone_and_a_truncated_file_are_refused(ball, series, model, tmp_path):
    one = tmp_path / "one.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(series))[..., 0], str(one))
    result = run(one, "-o", tmp_path / "mask.nii.gz", "--click", place(ball, 0))
    assert result.exit_code == 1
    assert "one.nii.gz: this is no series" in said(result)
    short = tmp_path / "short.nii"
    sitk.WriteImage(sitk.ReadImage(str(series)), str(short))
    short.write_bytes(short.read_bytes()[:-1000])
    result = run(short, "-o", tmp_path / "mask.nii.gz", "--click", place(ball, 0))
    assert result.exit_code == 1
    assert "damaged or incomplete" in said(result)


@pytest.mark.parametrize("content", [b"", b"no image", b"NRRD0004\ntype: short\n", b"<!DOCTYPE html><html>"])
def test_a_file_that_is_no_series_is_told_as_by_segment(content, tmp_path):
    file = tmp_path / "heart.nii.gz"
    file.write_bytes(content)
    with pytest.raises(sammed3d.VolumeError) as caught:
        sammed3d.Volume.read(file)
    result = run(file, "-o", tmp_path / "mask.nii.gz", "--click", "0,0,0")
    assert (result.exit_code, said(result)) == (1, f"Error: {caught.value}")
