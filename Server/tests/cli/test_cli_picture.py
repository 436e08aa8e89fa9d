"""`sammed3d segment` on pictures."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from typer.testing import CliRunner

from sammed3d.cli.app import app
from sammed3d.files.picture import Picture
from sammed3d.inference.picture_session import PictureSession
from sammed3d.zoo import load_predictor


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A coloured PNG."""
    path = tmp_path_factory.mktemp("pictures") / "lesion.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)).save(path)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["segment", *(str(a) for a in arguments)])


def test_a_picture_is_segmented_by_pixels(picture, tiny_checkpoint_2d, tmp_path):
    out = tmp_path / "mask.png"
    result = run(
        picture, "--model", tiny_checkpoint_2d, "--device", "cpu", "--click-xy", "40,30", "--click-xy", "5,5:-",
        "--box-xy", "10,10,70,50", "--candidates", "-o", out, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    session = PictureSession(Picture.read(picture), load_predictor(tiny_checkpoint_2d, "cpu"))
    session.set_box(10, 10, 70, 50)
    session.click(40, 30)
    session.click(5, 5, positive=False)
    expected = 255 * session.mask()
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(out))), expected)
    report = json.loads(result.stdout)
    assert report["segments"][0]["pixels"] == np.count_nonzero(expected)
    scores = [c["score"] for c in report["segments"][0]["candidates"]]
    assert scores == sorted(scores, reverse=True)
    first, *_ = written = [sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"mask.{n}.png"))) for n in (1, 2, 3)]
    assert len(written) == 3
    assert np.array_equal(first, expected)
    again = run(picture, "--model", tiny_checkpoint_2d, "--click-xy", "40,30", "-o", out)
    assert "exists already" in again.stderr
    refined = run(
        picture, "--model", tiny_checkpoint_2d, "--device", "cpu", "--click-xy", "20,20", "--initial", out,
        "-o", tmp_path / "mask.seg.nrrd",
    )  # fmt: skip
    assert refined.exit_code == 0, refined.output
    assert sitk.ReadImage(str(tmp_path / "mask.seg.nrrd")).GetSize() == (80, 60, 1)


def test_wrong_use_is_explained_in_one_line(picture, tiny_checkpoint, tiny_checkpoint_2d, tmp_path):
    out = tmp_path / "mask.png"
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(picture).save(turned, exif=exif)
    for arguments, reason in (
        ((picture, "--click", "1,2,3"), "takes --click-xy"),
        ((picture, "--click-xy", "1,2", "--follow"), "takes --click-xy"),
        ((picture,), "give --click-xy"),
        ((picture, "--click-xy", "1,2,3"), "is not a pixel"),
        ((picture, "--click-xy", "nan,2"), "is not a pixel"),
        ((picture, "--click-xy", "1,2:-"), "no positive click"),
        ((picture, "--box-xy", "1,2,3"), "is not a box"),
        ((picture, "--click-xy", "1,2", "--model", tiny_checkpoint), "works in 3-D"),
        ((picture, "--click-xy", "80,2", "--model", tiny_checkpoint_2d), "80 x 60 pixels"),
        ((turned, "--click-xy", "1,2", "--model", tiny_checkpoint_2d), "Save it upright first"),
        ((picture, "--click-xy", "1,2", "--server", "http://127.0.0.1:9"), "cannot be reached"),
        ((tmp_path / "ct.nii.gz", "--click", "1,2,3", "--candidates"), "for pictures"),
    ):
        result = run(*arguments, "-o", out)
        assert result.exit_code in (1, 2)
        assert reason in " ".join(result.stderr.replace("│", " ").split()), (arguments, result.stderr)
        assert not out.exists()
