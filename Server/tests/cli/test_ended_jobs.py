"""Jobs that a scheduler ends (SIGTERM), or a full disk: what is done is kept, and nothing is left half-written."""

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from sammed3d.cli.app import app
from sammed3d.core import prompt_files
from sammed3d.core.prompts import Click, ObjectPrompts
from sammed3d.errors import VolumeError
from sammed3d.files.segment_reader import read_segments
from sammed3d.files.segmentation import read_mask
from sammed3d.files.volume import Volume
from sammed3d.inference.session import Session
from sammed3d.zoo import load_predictor


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.slow
def test_the_end_of_a_schedulers_job_ends_following_and_keeps_what_is_done(
    tiny_checkpoint, tmp_path, terminated, monkeypatch
):
    """Also of objects that come after the one in which it was stopped."""
    long_ct = write_image(tmp_path / "ct.nii.gz", phantom((40, 40, 150)), make_affine((3, 3, 3)))
    follow, places = Session.follow, [(60, 60, 60), (60, 60, 90)]

    def stopped(session, settings, cancellation):
        terminated.now()
        return follow(session, settings, cancellation)

    monkeypatch.setattr(Session, "follow", stopped)
    objects = [ObjectPrompts(f"organ {n}", (Click(place),)) for n, place in enumerate(places)]
    prompt_files.write(tmp_path / "points.json", objects)
    arguments = ("segment", long_ct, "--points", tmp_path / "points.json", "--model", tiny_checkpoint, "--follow")
    result = run(*arguments, "--device", "cpu", "--output", tmp_path / "mask.seg.nrrd")
    assert result.exit_code == terminated.exit_code, result.output
    _, written = read_segments(tmp_path / "mask.seg.nrrd")
    session = Session(Volume.read(long_ct), load_predictor(tiny_checkpoint, "cpu"))
    for segment, place in zip(written.values(), places, strict=True):
        session.add_object(segment.name)
        session.click(place)
        assert np.array_equal(segment.mask.full(session.volume.grid.shape), session.mask())


def test_the_end_of_a_schedulers_job_leaves_nothing_half_written(tiny_checkpoint, tmp_path, terminated, monkeypatch):
    ct = write_image(tmp_path / "ct.nii.gz", phantom((60, 70, 50)), make_affine((3, 3, 3)))
    write = sitk.WriteImage

    def stopped(image, name, **options):
        write(image, name, **options)
        terminated.now()

    monkeypatch.setattr(sitk, "WriteImage", stopped)
    arguments = ("segment", ct, "--click", "90,105,75", "--model", tiny_checkpoint, "--device", "cpu")
    result = run(*arguments, "--output", tmp_path / "mask.nii.gz")
    assert result.exit_code == terminated.exit_code, result.output
    assert result.output.endswith("Stopped.\n")
    assert list(tmp_path.iterdir()) == [ct]


@pytest.mark.slow
def test_a_mask_is_kept_where_its_uncertainty_cannot_be_written(tiny_checkpoint, tmp_path, monkeypatch):
    ct = write_image(tmp_path / "ct.nii.gz", phantom((60, 70, 50)), make_affine((3, 3, 3)))

    def full(*_arguments):
        raise VolumeError("doubt.nii.gz: cannot be written. Check free space.")

    monkeypatch.setattr("sammed3d.cli.doubt.write_field", full)
    result = run(
        "segment", ct, "--click", "90,105,75", "--model", tiny_checkpoint, "--device", "cpu",
        "--output", tmp_path / "m.nii.gz", "--uncertainty", tmp_path / "doubt.nii.gz",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "doubt.nii.gz: cannot be written" in " ".join(result.output.split())
    assert read_mask(tmp_path / "m.nii.gz", Volume.read(ct).grid).any()
