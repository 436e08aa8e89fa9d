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
from sammed3d.evaluation.metrics import dice
from sammed3d.files.segmentation import read_mask
from sammed3d.files.volume import image_on

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
