"""Clients of other products, as their publishers ship them, get correct masks from our server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import make_affine, phantom, write_image
from networks import TINY_PRESET
from sammed3d.core.drawings import Lasso, Scribble
from sammed3d.core.geometry import Grid
from sammed3d.files.volume import Volume, read_image
from sammed3d.inference.session import Session
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.server.app import Facades
from sammed3d.server.http.keys import Keys, add_key
from sammed3d.zoo import load_predictor
from servers import serving

CLIENTS = Path(sys.prefix) / "clients"
USERS = Path(__file__).parents[1] / "foreign"
SPACING = (3.0, 3.1, 3.2)
CLICKS = [(20, 25, 15, True), (10, 33, 13, False), (26, 20, 16, True)]


def client(name: str) -> dict[str, str]:
    folder = CLIENTS / name
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not here: `make test` installs it")
    return os.environ | {"PYTHONPATH": str(folder)}


def use(script, version, *arguments):
    done = subprocess.run(
        [sys.executable, USERS / script, *map(str, arguments)],
        env=client(version),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "keys.json"
    return Keys.read(file) if file.exists() else (add_key(file, "anna"), Keys.read(file))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.5.1", "2.6.0"])
@pytest.mark.parametrize("with_key", [False, True])
def test_nninteractive_clients_click_undo_and_start_from_masks(tiny_network, tmp_path, keys, version, with_key):
    key, known = keys
    image = np.ascontiguousarray(phantom((40, 50, 30)).T)  # (Z, Y, X)
    clicks = [(z, y, x, positive) for x, y, z, positive in CLICKS]
    start = (image > np.percentile(image, 90)).astype(np.uint8)
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "start.npy", start)
    (tmp_path / "clicks.json").write_text(json.dumps(clicks))
    (tmp_path / "spacing.json").write_text(json.dumps(SPACING[::-1]))
    predictor = TorchPredictor(tiny_network, TINY_PRESET, device="cpu")
    facades = Facades(nninteractive=True, sessions=3)
    with serving(predictor, known if with_key else None, facades=facades) as server:
        use("nninteractive_user.py", f"nninteractive-client=={version}", server.url, tmp_path, key if with_key else "")

    # The same clicks in this process: axes Z, Y, X grow to S, P and L.
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = SPACING[2], -SPACING[1], -SPACING[0], 1
    session = Session(Volume(image, Grid(image.shape, affine)), predictor)
    expected = []
    for *voxel, positive in clicks:
        session.click(session.volume.grid.to_world(voxel), positive)
        expected.append(session.mask())
    assert all(mask.any() for mask in expected)
    assert len({mask.tobytes() for mask in expected}) == 3, "each click changes the mask"
    assert np.array_equal(np.load(tmp_path / "after_clicks.npy"), np.stack(expected))
    assert np.array_equal(np.load(tmp_path / "after_undo.npy"), np.stack([*expected[-2::-1], 0 * expected[0]]))
    session.add_object()
    session.start_from(start)
    session.click(session.volume.grid.to_world(clicks[0][:3]), clicks[0][3])
    assert np.array_equal(np.load(tmp_path / "refined.npy"), session.mask())
    seen = json.loads((tmp_path / "seen.json").read_text())
    tools = {"points": True, "bbox2d": False, "bbox3d": True, "scribble": True, "lasso": True}
    assert seen == {
        "capabilities": tools,
        "outside": "HTTPStatusError 400",
        "full": "ServerAtCapacityError",
        "forged": "SessionExpiredError",
    }


@pytest.mark.slow
def test_nninteractive_clients_draw_boxes_where_the_model_knows_them(tiny_checkpoint_2d, tmp_path):
    image = np.ascontiguousarray(phantom((60, 70, 8)).T)  # (Z, Y, X), in slices of 4 mm
    np.save(tmp_path / "image.npy", image)
    predictor = load_predictor(tiny_checkpoint_2d, "cpu")
    with serving(predictor, facades=Facades(nninteractive=True)) as server:
        use("nninteractive_boxes.py", "nninteractive-client==2.6.0", server.url, tmp_path)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 4.0, -1.0, -1.0, 1
    session = Session(Volume(image, Grid(image.shape, affine)), predictor)
    session.set_box(*session.volume.grid.to_world([(2, 10, 12), (6, 59, 49)]))
    boxed = session.mask()
    session.click(session.volume.grid.to_world((3, 30, 30)), positive=False)
    assert boxed.any()
    seen = np.load(tmp_path / "masks.npy")
    assert np.array_equal(seen, np.stack([boxed, session.mask(), boxed, 0 * boxed]))
    tools = {"points": True, "bbox2d": True, "bbox3d": True, "scribble": True, "lasso": True}
    assert json.loads((tmp_path / "seen.json").read_text()) == tools


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.5.1", "2.6.0"])
def test_nninteractive_clients_draw_scribbles_lassos_and_boxes_with_any_model(tiny_network, tmp_path, version):
    image = np.ascontiguousarray(phantom((40, 50, 30)).T)  # (Z, Y, X)
    np.save(tmp_path / "image.npy", image)
    predictor = TorchPredictor(tiny_network, TINY_PRESET, device="cpu")
    with serving(predictor, facades=Facades(nninteractive=True)) as server:
        use("nninteractive_drawings.py", f"nninteractive-client=={version}", server.url, tmp_path)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = SPACING[2], -SPACING[1], -SPACING[0], 1
    session = Session(Volume(image, Grid(image.shape, affine)), predictor)
    grid = session.volume.grid

    def painted(kind, voxels, positive):
        return kind(tuple(map(tuple, grid.to_world(voxels))), positive, painted=True)

    expected = []
    scribble = np.array([(15, y, 20) for y in range(20, 30)])
    lasso = np.array([(10, y, x) for y in range(5, 15) for x in range(8, 20)])
    session.draw(painted(Scribble, scribble, True))
    expected.append(session.mask())
    assert expected[0][tuple(scribble.T)].all()
    session.draw(painted(Lasso, lasso, False))
    expected.append(session.mask())
    assert not expected[1][tuple(lasso.T)].any()
    session.set_box(*grid.to_world([(5, 10, 5), (24, 39, 29)]))
    expected.append(session.mask())
    outside = expected[2].copy()
    outside[5:25, 10:40, 5:30] = 0
    assert not outside.any()
    seen = np.load(tmp_path / "masks.npy")
    assert np.array_equal(seen, np.stack([*expected, expected[1], expected[0], 0 * expected[0]]))
    told = json.loads((tmp_path / "seen.json").read_text())
    assert told["tools"] == {"points": True, "bbox2d": False, "bbox3d": True, "scribble": True, "lasso": True}
    assert {name: status for name, (status, _) in told["refused"].items()} == dict.fromkeys(
        ("empty", "shape", "outside", "flat"), 400
    )
    assert "is empty" in told["refused"]["empty"][1]
    assert "(30, 50, 40) was expected" in told["refused"]["shape"][1]
    assert "outside the image" in told["refused"]["outside"][1]
    assert "one slice" in told["refused"]["flat"][1]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="that client needs the module cgi, which Python 3.13 lacks")
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("with_key", [False, True])
@pytest.mark.slow
def test_monailabel_clients_get_masks_on_the_grid_of_their_image(tiny_network, tmp_path, keys, suffix, with_key):
    key, known = keys
    affine = make_affine(SPACING, (0.2, -0.1, 0.3), (12.0, -40.0, 7.0))
    path = write_image(tmp_path / f"image{suffix}", phantom((40, 50, 30)), affine)
    (tmp_path / "clicks.json").write_text(json.dumps(CLICKS))
    predictor = TorchPredictor(tiny_network, TINY_PRESET, device="cpu")
    with serving(predictor, known if with_key else None, facades=Facades(monailabel=True)) as server:
        use("monailabel_user.py", "monailabel==0.8.5", server.url, tmp_path, "anna", key, path.name)

    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["auth"] is with_key
    assert seen.get("valid", True)
    assert seen["models"] == {"default": "deepgrow"}
    assert seen["session"] == [40, 50, 30]
    refused = ("gone", "path", "model", "upload", "save", "label", "train", "training")
    assert {name: seen[name] for name in refused} == dict.fromkeys(refused, "404")
    assert seen["wsi"] == ("401" if with_key else "404"), "for this call the client sends no key"
    assert (seen["datastore"], seen["next"], seen["trains"]) == ({"objects": {}}, {}, False)
    session = Session(Volume.read(path), predictor)
    for n, (*voxel, positive) in enumerate(CLICKS):
        session.click(session.volume.grid.to_world(voxel), positive)
        grid, mask, _owner = read_image(seen["results"][n])
        assert grid.matches(session.volume.grid)
        assert mask.any()
        assert np.array_equal(mask, session.mask())


def test_without_their_switches_the_other_protocols_are_not_there(tiny_network):
    import requests

    with serving(TorchPredictor(tiny_network, TINY_PRESET, device="cpu")) as server:
        for method, path in (("POST", "/claim"), ("GET", "/info/"), ("GET", "/auth/"), ("GET", "/healthz")):
            response = requests.request(method, server.url + path, timeout=5)
            assert response.status_code == 404
            assert response.json()["detail"] == "There is nothing here. This server speaks: SAMMed3DSegment (/v1)."
