"""What strangers may send to the other products' protocols: nothing of it harms the server."""

import gzip
import io
import json
import struct

import blosc2
import nibabel
import nrrd
import numpy as np
import psutil
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import make_affine, phantom, stored_as
from sammed3d.core.geometry import AxisMap, Grid
from sammed3d.errors import ModelError, VolumeError
from sammed3d.files.volume import Volume, read_image
from sammed3d.server.app import Facades
from sammed3d.server.compat import image_files
from sammed3d.server.compat.leases import LeaseEndedError, Leases, NoMemoryError, NoRoomError
from sammed3d.server.compat.nninteractive.arrays import ArrayError, Unpacker, pack
from sammed3d.server.compat.nninteractive.axes import affine_of, directions_of
from sammed3d.server.http.keys import Keys, add_key
from sammed3d.zoo import load_predictor
from servers import serving
from workers import SMALL

MIB = 1 << 20
IMAGE = phantom((20, 22, 18))


def packed(array, name=None, shape=None, chunks=None, codec=1, magic=b"NNIA"):
    """Pack an array as clients do, or almost so."""
    name = (name or array.dtype.name).encode()
    shape = shape or array.shape
    head = (
        struct.pack("<4sBBBB", magic, 1, codec, len(shape), len(name)) + name + struct.pack(f"<{len(shape)}q", *shape)
    )
    if chunks is None:
        chunk = blosc2.compress2(array.tobytes(), typesize=array.itemsize)
        chunks = [(array.nbytes, len(chunk), chunk)]
    body = b"".join(struct.pack("<QQ", length, size) + chunk for length, size, chunk in chunks)
    return head + struct.pack("<I", len(chunks)) + body


@pytest.fixture(scope="module")
def unpacker():
    unpacker = Unpacker(64 * MIB)
    yield unpacker
    unpacker.close()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float32", "float64", "uint32"])
@pytest.mark.slow
def test_arrays_of_nninteractive_clients_are_understood(unpacker, dtype):
    array = (IMAGE % 2 if dtype == "bool" else IMAGE).astype(dtype)
    assert np.array_equal(unpacker.unpack(packed(array), 3), array)


def test_arrays_of_several_chunks_are_understood_and_ours_by_blosc2(unpacker):
    raw = IMAGE.tobytes()
    halves = [raw[: len(raw) // 2], raw[len(raw) // 2 :]]
    chunks = [(len(half), len(c := blosc2.compress2(half, typesize=2)), c) for half in halves]
    assert np.array_equal(unpacker.unpack(packed(IMAGE, chunks=chunks), 3), IMAGE)
    mask = (IMAGE > 300).astype(np.uint8)
    assert np.array_equal(unpacker.unpack(pack(mask), 3), mask)


def malformed_arrays():
    good = packed(IMAGE)
    chunk = blosc2.compress2(IMAGE.tobytes(), typesize=2)
    yield "nothing", b""
    yield "cut in the head", good[:10]
    yield "cut in a chunk", good[:-7]
    yield "more than the array", good + b"x"
    yield "other magic", packed(IMAGE, magic=b"NOPE")
    yield "other codec", packed(IMAGE, codec=9)
    yield "objects", packed(IMAGE, name="object")
    yield "dates", packed(IMAGE, name="datetime64[ns]")
    yield "no type", packed(IMAGE, name="\xff")
    yield "two axes", packed(IMAGE, shape=(20, 22 * 18))
    yield "negative", packed(IMAGE, shape=(-20, -22, 18))
    yield "zero", packed(IMAGE, shape=(0, 22, 18))
    yield "32 TiB", packed(IMAGE, shape=(1 << 14, 1 << 14, 1 << 14))
    yield "another size", packed(IMAGE, shape=(20, 22, 19))
    yield "a chunk longer than the message", packed(IMAGE, chunks=[(IMAGE.nbytes, 2**60, chunk)])
    yield "a chunk that claims a terabyte", packed(IMAGE, chunks=[(2**40, len(chunk), chunk)])
    yield "a million chunks", packed(IMAGE, chunks=[])[:-4] + struct.pack("<I", 10**6)
    yield "no blosc", packed(IMAGE, chunks=[(IMAGE.nbytes, 100, b"\x00" * 100)])
    yield (
        "a chunk whose head lies",
        packed(IMAGE, chunks=[(IMAGE.nbytes, len(chunk), chunk[:4] + b"\xff" * 8 + chunk[12:])]),
    )
    bomb = blosc2.compress2(bytes(60 * MIB), typesize=1)
    yield "a bomb", packed(IMAGE, chunks=[(60 * MIB, len(bomb), bomb)])


@pytest.mark.parametrize(("name", "data"), list(malformed_arrays()))
def test_malformed_arrays_are_refused_and_the_next_is_read(unpacker, name, data):
    with pytest.raises(ArrayError):
        unpacker.unpack(data, 3)
    assert np.array_equal(unpacker.unpack(packed(IMAGE), 3), IMAGE)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_arrays_never_end_the_server(unpacker, data):
    good = bytearray(packed(IMAGE[:6, :6, :6]))
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        array = unpacker.unpack(bytes(good), 3)
    except ArrayError:
        return
    assert array.ndim == 3


@pytest.mark.slow
def test_a_process_that_dies_while_it_unpacks_is_a_bad_array_and_no_more(unpacker):
    unpacker.unpack(packed(IMAGE), 3)
    psutil.Process(unpacker.pid).kill()
    with pytest.raises(ArrayError):
        unpacker.unpack(packed(IMAGE), 3)
    assert np.array_equal(unpacker.unpack(packed(IMAGE), 3), IMAGE)


def nifti(array=IMAGE, affine=None, kind=nibabel.Nifti1Image):
    return kind(
        array, make_affine((1.0, 2.0, 3.0), (0.1, 0.2, 0.3), (5, 6, 7)) if affine is None else affine
    ).to_bytes()


def nrrd_file(array=IMAGE, **header):
    file = io.BytesIO()
    about = {"space": "left-posterior-superior", "space directions": np.diag([1.0, 2, 3]), "space origin": [4, 5, 6]}
    nrrd.write(file, array, about | {"encoding": "raw"} | header, index_order="F")
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "uint16"])
def test_image_files_are_read_as_the_command_line_reads_them(tmp_path, suffix, dtype):
    array = IMAGE.astype(dtype)
    data = nrrd_file(array, encoding="gzip") if suffix == ".nrrd" else nifti(array)
    data = gzip.compress(data) if suffix == ".nii.gz" else data
    path = tmp_path / f"image{suffix}"
    path.write_bytes(data)
    mine, theirs = image_files.read(data, 64 * MIB), Volume.read(path)
    assert mine.grid.matches(theirs.grid)
    assert np.array_equal(mine.array, theirs.array)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_masks_are_written_where_their_image_lies(tmp_path, suffix):
    mask = (IMAGE > 300).astype(np.uint8)
    grid = Grid(mask.shape, make_affine((1.0, 2.0, 3.0), (0.1, 0.2, 0.3), (5, 6, 7)))
    path = tmp_path / f"mask{suffix}"
    path.write_bytes(image_files.write(mask, grid, suffix))
    found, voxels, _owner = read_image(path)
    assert found.matches(grid)
    assert np.array_equal(voxels, mask)
    with pytest.raises(VolumeError, match=r"\.nrrd, \.nii or \.nii\.gz"):
        image_files.write(mask, grid, "/../../etc/cron.d/x")


def malformed_files():
    head = nifti()[:348]
    yield "nothing", b""
    yield "a picture", b"\x89PNG\r\n\x1a\n" + bytes(400)
    yield "cut", nifti()[:-100]
    yield "cut in the head", head[:200]
    yield "damaged gzip", gzip.compress(nifti())[:200]
    yield "no gzip", b"\x1f\x8b" + bytes(100)
    yield "huge", head[:40] + struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1) + head[56:] + bytes(100)
    yield "negative", head[:40] + struct.pack("<8h", 3, -5, 20, 20, 1, 1, 1, 1) + head[56:] + bytes(100)
    yield "colour", nifti(np.zeros((4, 4, 4, 3), np.uint8))
    yield "complex", nifti(np.ones((4, 4, 4), np.complex64))
    yield "NaN affine", nifti()[:280] + struct.pack("<12f", *[np.nan] * 12) + nifti()[328:]
    yield "a bomb", gzip.compress(head[:40] + struct.pack("<8h", 3, 999, 999, 999, 1, 1, 1, 1) + head[56:] + bytes(MIB))
    yield (
        "a detached file",
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: /etc/passwd\n\n",
    )
    yield "unknown type", nrrd_file().replace(b"type: int16", b"type: block")
    yield "no space", nrrd_file().replace(b"space: left-posterior-superior\n", b"")
    yield "unknown encoding", nrrd_file().replace(b"encoding: raw", b"encoding: hex")
    yield "endless head", b"NRRD0004\n" + b"# x\n" * (1 << 19)
    yield "huge sizes", nrrd_file().replace(b"sizes: 20 22 18", b"sizes: 9999999999 22 18")
    yield "constant", nifti(np.ones((4, 4, 4), np.uint8))


@pytest.mark.parametrize(("name", "data"), list(malformed_files()))
def test_malformed_image_files_are_refused(name, data):
    before = psutil.Process().memory_info().rss
    with pytest.raises(VolumeError):
        image_files.read(data, 64 * MIB)
    assert psutil.Process().memory_info().rss - before < 300 * MIB


@settings(max_examples=150, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_damaged_image_files_are_read_or_refused(data):
    good = bytearray(data.draw(st.sampled_from([nifti(IMAGE[:5, :5, :5]), nrrd_file(IMAGE[:5, :5, :5])])))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, min(400, len(good) - 1)))] = data.draw(st.integers(0, 255))
    try:
        volume = image_files.read(bytes(good), MIB)
    except VolumeError:
        return
    assert volume.array.ndim == 3


def test_the_axes_of_nninteractive_images_can_be_said():
    assert np.array_equal(affine_of(directions_of("RAS"), (1, 2, 3)), np.diag([1, 2, 3, 1]))
    array, affine = phantom((6, 7, 8)), make_affine((1.0, 2.0, 3.0))
    stored, grid = stored_as(array, affine, AxisMap((2, 1, 0), (False, True, True)))
    assert stored.shape == (8, 7, 6)
    mine = affine_of(directions_of("SPL"), grid.spacing)
    assert np.allclose(mine[:3, :3], grid.index_to_world[:3, :3])
    for wrong in ("RA", "RAX", "RLS", "RASS", ""):
        with pytest.raises(ModelError, match="three letters"):
            directions_of(wrong)


def test_leases_end_and_belong_to_somebody(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("sammed3d.server.compat.leases.time.monotonic", lambda: now[0])
    leases = Leases(2, 100)
    lease = leases.claim("anna", idle=60, silence=10)
    leases.take_memory(lease, 80)
    other = leases.claim("ben", idle=60)
    with pytest.raises(NoMemoryError):
        leases.take_memory(other, 30)
    with pytest.raises(NoRoomError):
        leases.claim("ben", idle=60)
    with pytest.raises(LeaseEndedError):
        leases.get(lease.token, "ben")
    now[0] = 9
    leases.get(lease.token, "anna", acts=False)
    now[0] = 18
    assert leases.get(lease.token, "anna", acts=False).remaining == 42
    now[0] = 29
    with pytest.raises(LeaseEndedError):
        leases.get(lease.token, "anna")
    leases.take_memory(leases.claim("ben", idle=60), 100)
    leases.release(other.token, "anna")
    assert leases.get(other.token, "ben") is other
    leases.release(other.token, "ben")
    with pytest.raises(LeaseEndedError):
        leases.get(other.token, "ben")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    from helpers import ThresholdPredictor

    file = tmp_path_factory.mktemp("keys") / "keys.json"
    by_name = {name: add_key(file, name) for name in ("anna", "ben")}
    facades = Facades(nninteractive=True, monailabel=True, sessions=4, volume_mib=1)
    with serving(ThresholdPredictor(preset=SMALL), Keys.read(file), facades=facades) as server:
        yield server, by_name


def call(keyed, method, path, user="anna", token="", **options):
    headers = {"Authorization": f"Bearer {keyed[1][user]}"} | ({"X-Lease-Token": token} if token else {})
    headers |= options.pop("headers", {})
    return requests.request(method, keyed[0].url + path, headers=headers, timeout=20, **options)


@pytest.mark.parametrize(
    ("box", "include"),
    [([[1, 1], [0, 5], [0, 5]], True), ([[0, 99], [0, 5], [0, 5]], True), ([[0, 5], [0, 5], [0, 5]], False)],
)
@pytest.mark.slow
def test_boxes_that_cannot_be_are_refused_by_name(tiny_checkpoint_2d, box, include):
    image = np.random.default_rng(0).integers(0, 99, (1, 8, 9, 10)).astype(np.int16)
    with serving(load_predictor(tiny_checkpoint_2d, "cpu"), facades=Facades(nninteractive=True)) as server:
        token = requests.post(server.url + "/claim", timeout=5).json()["lease_token"]
        meta = json.dumps({"image_properties": {"spacing": [1.0, 1.0, 1.0]}})
        headers = {"X-Lease-Token": token}
        upload = requests.post(
            server.url + "/set_image", data=packed(image), headers=headers | {"X-Meta": meta}, timeout=5
        )
        assert upload.status_code == 200
        asked = {"bbox_coords": box, "include_interaction": include}
        answer = requests.post(server.url + "/add_bbox_interaction", json=asked, headers=headers, timeout=5)
        assert answer.status_code == 400
        assert "box" in answer.text.lower()


def test_another_users_session_is_not_there(keyed):
    token = call(keyed, "POST", "/claim").json()["lease_token"]
    for method, path in (("POST", "/heartbeat"), ("GET", "/lease_status"), ("POST", "/undo"), ("POST", "/predict")):
        assert call(keyed, method, path, "ben", token).status_code == 410
    call(keyed, "POST", "/release", "ben", token)
    assert call(keyed, "GET", "/lease_status", "anna", token).status_code == 200
    call(keyed, "POST", "/release", "anna", token)
    upload = call(keyed, "PUT", "/session/", files={"files": ("../../evil.nii", nifti())})
    session = upload.json()["session_id"]
    assert call(keyed, "GET", f"/session/{session}", "ben").status_code == 404
    params = {"params": (None, json.dumps({"foreground": [[1, 1, 1]]}))}
    assert call(keyed, "POST", f"/infer/default?session_id={session}", "ben", files=params).status_code == 404
    assert call(keyed, "DELETE", f"/session/{session}", "ben").status_code == 404
    assert call(keyed, "DELETE", f"/session/{session}").status_code == 200


def test_keys_are_exchanged_only_for_what_they_are(keyed):
    def login(user, key):
        return requests.post(keyed[0].url + "/auth/token", data={"username": user, "password": key}, timeout=5)

    key = keyed[1]["anna"]
    assert login("anna", key).json() == {"access_token": key, "token_type": "bearer"}
    assert [login(*pair).status_code for pair in (("ben", key), ("anna", "x"), ("", ""))] == [401] * 3


def nni_requests():
    meta = {"X-Meta": json.dumps({"image_properties": {"spacing": [1.0, 1.0, 1.0]}})}
    image = packed(IMAGE[None])
    yield "no spacing", "/set_image", {"data": image}
    yield (
        "spacing of words",
        "/set_image",
        {"data": image, "headers": {"X-Meta": '{"image_properties":{"spacing":"abc"}}'}},
    )
    yield (
        "spacing of zeros",
        "/set_image",
        {"data": image, "headers": {"X-Meta": '{"image_properties":{"spacing":[0,1,1]}}'}},
    )
    yield (
        "NaN spacing",
        "/set_image",
        {"data": image, "headers": {"X-Meta": '{"image_properties":{"spacing":[NaN,1,1]}}'}},
    )
    yield "meta is a list", "/set_image", {"data": image, "headers": {"X-Meta": "[1]"}}
    yield "meta is deep", "/set_image", {"data": image, "headers": {"X-Meta": "[" * 5000}}
    yield "two channels", "/set_image", {"data": packed(np.stack([IMAGE, IMAGE])), "headers": meta}
    yield "constant", "/set_image", {"data": packed(np.ones((1, 5, 5, 5), np.int16)), "headers": meta}
    yield "too large", "/set_image", {"data": bytes(2 * MIB), "headers": meta}
    yield (
        "too large when unpacked",
        "/set_image",
        {"data": packed(np.zeros((1, 128, 128, 128), np.uint8)), "headers": meta},
    )
    yield "no array", "/set_image", {"data": b"\x80\x04.", "headers": meta}
    yield "buffer before image", "/set_target_buffer", {"json": {"shape": [2, 2, 2], "dtype": "uint8"}}
    yield (
        "point before image",
        "/add_point_interaction",
        {"json": {"coordinates": [1, 1, 1], "include_interaction": True}},
    )
    yield (
        "point of two numbers",
        "/add_point_interaction",
        {"json": {"coordinates": [1, 1], "include_interaction": True}},
    )
    yield "no JSON", "/add_point_interaction", {"data": b"{", "headers": {"Content-Type": "application/json"}}
    yield "a box", "/add_bbox_interaction", {"json": {}}
    yield (
        "a box before an image",
        "/add_bbox_interaction",
        {"json": {"bbox_coords": [[0, 1], [0, 1], [0, 1]], "include_interaction": True}},
    )
    include = {"headers": {"X-Meta": '{"include_interaction": true}'}}
    yield "a scribble that is none", "/add_scribble_interaction", {"data": packed(IMAGE)}
    yield "a scribble before an image", "/add_scribble_interaction", {"data": packed(IMAGE)} | include
    yield "a lasso in nonsense", "/add_lasso_interaction", {"data": b"NNIA"} | include
    bad = {"headers": {"X-Meta": '{"include_interaction": true, "interaction_bbox": [[0, 1e9], [0, 1], [0, 1]]}'}}
    yield "a lasso elsewhere", "/add_lasso_interaction", {"data": packed(IMAGE)} | bad
    yield "mask before image", "/add_initial_seg_interaction", {"data": packed(IMAGE.astype(np.uint8))}


@pytest.mark.parametrize(("name", "path", "options"), list(nni_requests()))
@pytest.mark.slow
def test_malformed_requests_of_nninteractive_end_in_a_4xx(keyed, name, path, options):
    token = call(keyed, "POST", "/claim").json()["lease_token"]
    response = call(keyed, "POST", path, token=token, **options)
    call(keyed, "POST", "/release", token=token)
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "Traceback" not in response.text


def monai_requests():
    image = {"files": ("i.nii", nifti())}
    yield "no form", "PUT", "/session/", {"data": b"x"}
    yield "another field", "PUT", "/session/", {"files": {"image": ("i.nii", nifti())}}
    yield "two files", "PUT", "/session/", {"files": [("files", ("a.nii", nifti())), ("files", ("b.nii", nifti()))]}
    yield "a picture", "PUT", "/session/", {"files": {"files": ("i.png", b"\x89PNG" + bytes(500))}}
    yield "too large", "PUT", "/session/", {"files": {"files": ("i.nii", bytes(2 * MIB))}}
    yield (
        "broken form",
        "PUT",
        "/session/",
        {"data": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=y"}},
    )
    yield (
        "form without boundary",
        "PUT",
        "/session/",
        {"data": b"--x", "headers": {"Content-Type": "multipart/form-data"}},
    )
    yield "no params", "POST", "/infer/default", {"files": {"file": ("i.nii", nifti())}}
    yield "no JSON", "POST", "/infer/default", {"files": {"params": (None, "{"), "file": ("i.nii", nifti())}}
    points = [None, "x", [[1, 2]], [[1, 2, 99]], [[-1, 2, 3]], [["a", 1, 2]], [[1e400, 1, 1]], []]
    for point in points:
        params = json.dumps({"foreground": point, "background": []})
        yield (
            f"points {point}",
            "POST",
            "/infer/default",
            {"files": {"params": (None, params), "file": ("i.nii", nifti())}},
        )
    params = json.dumps({"foreground": [[1, 1, 1]], "result_extension": "/../x"})
    yield (
        "a path as extension",
        "POST",
        "/infer/default",
        {"files": {"params": (None, params), "file": ("i.nii", nifti())}},
    )
    yield "a path as session", "GET", "/session/..%2F..%2Fetc", {}
    yield "a model that is none", "POST", "/infer/x", {"files": image}


@pytest.mark.parametrize(("name", "method", "path", "options"), list(monai_requests()))
def test_malformed_requests_of_monailabel_end_in_a_4xx(keyed, name, method, path, options):
    response = call(keyed, method, path, **options)
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "Traceback" not in response.text


def test_an_image_can_be_sent_with_the_clicks(keyed):
    params = json.dumps({"foreground": [[10, 10, 10]], "result_extension": ".nii"})
    for output in ("image", "json", ""):
        files = {"params": (None, params), "file": ("i.nii", nifti())}
        response = call(keyed, "POST", f"/infer/default?output={output}", files=files)
        assert response.status_code == 200, response.text
    assert b"label_names" in response.content
