"""`sammed3d find` with a model of a server: what the same model finds in this process."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from helpers import make_affine, phantom, write_image
from sammed3d import samples
from sammed3d.cli.app import app
from sammed3d.files.volume import Volume
from sammed3d.zoo import load_predictor
from servers import serving

ANYTHING = ("--distance", "50", "--stability", "0.05", "--smallest", "0")


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    """A phantom as a NIfTI file."""
    path = tmp_path_factory.mktemp("data") / "ct.nii.gz"
    return write_image(path, phantom((60, 70, 50)), make_affine((3, 3, 3)))


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A corner of a slice of the sample as a PNG."""
    array = Volume.read(samples.CT_ABDOMEN).array[::-1, ::-1, 87].T[:80, :100]
    path = tmp_path_factory.mktemp("pictures") / "slice.png"
    Image.fromarray((np.clip((array + 160.0) / 400, 0, 1) * 255).astype(np.uint8)).save(path)
    return path


def find(*arguments):
    return CliRunner().invoke(app, ["find", *(str(a) for a in arguments)])


def found(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_server_finds_the_same_objects_of_a_volume(ct, tiny_checkpoint, tmp_path):
    there, here = tmp_path / "there.nrrd", tmp_path / "here.nrrd"
    with serving(load_predictor(tiny_checkpoint, "cpu")) as server:
        on_server = found(find(ct, "-o", there, *ANYTHING, "--server", server.url, "--json"))
    in_process = found(find(ct, "-o", here, *ANYTHING, "--model", tiny_checkpoint, "--device", "cpu", "--json"))
    assert on_server["found"] == in_process["found"] >= 1
    for one, other in zip(on_server["objects"], in_process["objects"], strict=True):
        assert one["click"] == other["click"]
        assert one["volume_ml"] == pytest.approx(other["volume_ml"], rel=1e-3)
    assert np.mean(Volume.read(there).array != Volume.read(here).array) < 1e-4


def test_a_server_finds_the_same_objects_of_a_picture(picture, tmp_path):
    options = ("--points", "4", "--score", "0.3", "--stability", "0.3", "--smallest", "10", "--json")
    with serving(load_predictor(samples.SAM_MED2D_SMALL, "cpu")) as server:
        on_server = found(find(picture, "-o", tmp_path / "there.nrrd", *options, "--server", server.url))
    own = ("--model", samples.SAM_MED2D_SMALL, "--device", "cpu")
    in_process = found(find(picture, "-o", tmp_path / "here.nrrd", *options, *own))
    assert [each["pixel"] for each in on_server["objects"]] == [each["pixel"] for each in in_process["objects"]]
    assert on_server["found"] == in_process["found"] >= 1


def test_what_is_the_servers_to_choose_is_refused(ct, tiny_checkpoint, tmp_path):
    with serving(load_predictor(tiny_checkpoint, "cpu")) as server:
        result = find(ct, "-o", tmp_path / "x.nrrd", "--server", server.url, "--device", "cpu")
    assert result.exit_code == 1
    assert "leave them out" in " ".join(result.stderr.split())
    assert not (tmp_path / "x.nrrd").exists()
