"""`sammed3d find` on pictures."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from typer.testing import CliRunner

from sammed3d import samples
from sammed3d.cli.app import app
from sammed3d.files.picture import Picture
from sammed3d.files.volume import Volume
from sammed3d.inference.picture_search import PictureSearch
from sammed3d.inference.picture_session import PictureSession
from sammed3d.zoo import load_predictor

OPTIONS = ("--points", "8", "--score", "0.5", "--stability", "0.5", "--smallest", "30")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A slice of the sample as a PNG, shown as it would be to a radiologist."""
    array = Volume.read(samples.CT_ABDOMEN).array[::-1, ::-1, 87].T
    path = tmp_path_factory.mktemp("pictures") / "slice.png"
    Image.fromarray((np.clip((array + 160.0) / 400, 0, 1) * 255).astype(np.uint8)).save(path)
    return path


def run(*arguments, model=samples.SAM_MED2D_SMALL):
    return CliRunner().invoke(app, ["find", *(str(a) for a in arguments), "--model", str(model), "--device", "cpu"])


def test_objects_of_a_picture_are_what_the_session_finds(picture, tmp_path):
    out = tmp_path / "organs.seg.nrrd"
    result = run(picture, *OPTIONS, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    session = PictureSession(Picture.read(picture), load_predictor(samples.SAM_MED2D_SMALL, "cpu"))
    expected = session.find(PictureSearch(points=8, score=0.5, stability=0.5, smallest=30))
    report = json.loads(result.stdout)
    assert report["found"] == len(expected) >= 2
    for row, each in zip(report["objects"], expected, strict=True):
        assert row["pixels"] == np.count_nonzero(each.mask)
        assert row["pixel"] == [round(place) for place in each.point]
        assert (row["score"], row["stability"]) == pytest.approx((each.score, each.stability))
    written = sitk.ReadImage(str(out))
    voxels = sitk.GetArrayFromImage(written).reshape(*expected[0].mask.shape, -1)
    for n, each in enumerate(expected):
        layer = int(written.GetMetaData(f"Segment{n}_Layer"))
        value = int(written.GetMetaData(f"Segment{n}_LabelValue"))
        assert np.array_equal(voxels[..., layer] == value, each.mask == 1)


def test_the_best_are_kept_and_a_table_names_them(picture, tmp_path):
    result = run(picture, *OPTIONS, "--most", "1", "-o", tmp_path / "organs.nii.gz")
    assert result.exit_code == 0, result.output
    assert "the 1 best ones were kept" in result.stdout
    assert set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "organs.nii.gz"))))) == {0, 1}


@pytest.mark.parametrize("by_scheduler", [False, True])
def test_a_stopped_search_writes_what_it_found(picture, tmp_path, monkeypatch, terminated, by_scheduler):
    search = PictureSession.find

    def stopped(session, settings, cancellation, progress, keep):
        def after_some(done, total):
            progress(done, total)
            if done == 12:
                terminated.now() if by_scheduler else cancellation.cancel()

        return search(session, settings, cancellation, after_some, keep)

    monkeypatch.setattr(PictureSession, "find", stopped)
    result = run(picture, *OPTIONS, "-o", tmp_path / "organs.seg.nrrd")
    assert result.exit_code == (143 if by_scheduler else 130), result.output
    assert "holds what was found so far" in " ".join(result.output.split())
    assert (tmp_path / "organs.seg.nrrd").exists()


def test_wrong_use_is_explained_in_one_line(picture, tiny_checkpoint, tmp_path):
    for arguments, out, reason in (
        ((picture, "--region", picture), "a.seg.nrrd", "but --points"),
        ((picture, "--distance", "3"), "a.seg.nrrd", "but --points"),
        ((picture,), "a.png", "a PNG holds one mask"),
        ((picture,), "a.xyz", "unknown format"),
        ((picture, "--points", "0"), "a.seg.nrrd", "must be numbers above 0"),
        ((picture, "--most", "0"), "a.seg.nrrd", "'--most'"),
        ((picture, "--most", "-1"), "a.seg.nrrd", "'--most'"),
        ((picture, "--largest", "30"), "a.seg.nrrd", "between 0 and 1"),
        ((tmp_path / "none.png",), "a.seg.nrrd", "no such file"),
    ):
        result = run(*arguments, "-o", tmp_path / out)
        assert result.exit_code in (1, 2)
        assert reason in " ".join(result.stderr.replace("│", " ").split()), (arguments, result.stderr)
        assert not (tmp_path / out).exists()
    result = run(picture, "-o", tmp_path / "a.seg.nrrd", model=tiny_checkpoint)
    assert "works in 3-D. Choose a model of 2-D images" in " ".join(result.stderr.split())
