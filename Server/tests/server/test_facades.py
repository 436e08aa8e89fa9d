"""What strangers may send to the other products' protocols: nothing of it harms the server."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests

from helpers import ThresholdPredictor, by_name, make_affine, phantom, stored_as
from sammed3d.core.geometry import AxisMap
from sammed3d.errors import ModelError
from sammed3d.server.app import SMALL_BODY, Facades
from sammed3d.server.compat.leases import LeaseEndedError, Leases, NoMemoryError, NoRoomError
from sammed3d.server.compat.nninteractive.axes import affine_of, directions_of
from sammed3d.server.http.keys import Keys, add_key
from sammed3d.zoo import load_predictor
from servers import serving
from uploads import IMAGE, MIB, nifti, packed
from workers import SMALL


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


def test_a_user_who_holds_all_leases_makes_room_for_others(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr("sammed3d.server.compat.leases.time.monotonic", lambda: float(next(now)))
    leases = Leases(3, 100)
    first, second, _ = [leases.claim("anna", idle=1000) for _ in range(3)]
    with pytest.raises(NoRoomError):
        leases.claim("anna", idle=1000)
    leases.get(first.token, "anna")
    other = leases.claim("ben", idle=1000)
    with pytest.raises(LeaseEndedError):
        leases.get(second.token, "anna")
    assert leases.get(first.token, "anna") is first, "it was used since"
    with pytest.raises(NoRoomError):
        leases.claim("ben", idle=1000)
    assert leases.get(other.token, "ben") is other


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
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


def test_a_session_of_one_protocol_is_not_there_for_the_other(keyed):
    token = call(keyed, "POST", "/claim").json()["lease_token"]
    session = call(keyed, "PUT", "/session/", files={"files": ("a.nii", nifti())}).json()["session_id"]
    params = {"params": (None, json.dumps({"foreground": [[1, 1, 1]]}))}
    assert call(keyed, "GET", f"/session/{token}").status_code == 404
    assert call(keyed, "POST", f"/infer/default?session_id={token}", files=params).status_code == 404
    assert call(keyed, "DELETE", f"/session/{token}").status_code == 404
    for method, path in (("POST", "/heartbeat"), ("POST", "/undo"), ("POST", "/reset_interactions")):
        assert call(keyed, method, path, token=session).status_code == 410
    call(keyed, "POST", "/release", token=session)
    assert call(keyed, "GET", "/lease_status", token=token).status_code == 200
    call(keyed, "POST", "/release", token=token)
    assert call(keyed, "DELETE", f"/session/{session}").status_code == 200


def test_an_image_that_is_refused_takes_no_memory(keyed):
    def held():
        return keyed[0].engine.metrics.registry.get_sample_value("sammed3d_cache_bytes", {"cache": "volumes"})

    token = call(keyed, "POST", "/claim").json()["lease_token"]
    meta = {"X-Meta": json.dumps({"image_properties": {"spacing": [1.0, 1.0, 1.0]}})}
    before = held()
    for image, status in ((IMAGE, 200), (np.zeros((40, 40, 40), np.int16), 400)):
        data = packed(image[None])
        assert call(keyed, "POST", "/set_image", token=token, data=data, headers=meta).status_code == status
        assert held() - before == 2 * IMAGE.nbytes
    call(keyed, "POST", "/release", token=token)


def test_who_waits_for_a_session_keeps_nobody_else_waiting():
    """Neither the event loop nor all of its threads."""
    predictor = ThresholdPredictor(preset=SMALL)
    predictor.gate.clear()
    with serving(predictor, facades=Facades(nninteractive=True)) as server, ThreadPoolExecutor(64) as pool:
        token = requests.post(server.url + "/claim", timeout=5).json()["lease_token"]

        def post(path, **options):
            headers = {"X-Lease-Token": token} | options.pop("headers", {})
            return requests.post(server.url + path, headers=headers, timeout=60, **options)

        meta = {"X-Meta": json.dumps({"image_properties": {"spacing": [1.0, 1.0, 1.0]}})}
        assert post("/set_image", data=packed(IMAGE[None]), headers=meta).status_code == 200
        point = {"coordinates": [10, 10, 10], "include_interaction": True}
        click = pool.submit(post, "/add_point_interaction", json=point)
        assert predictor.asked.wait(20)
        others = [pool.submit(post, "/undo") for _ in range(45)] + [pool.submit(post, "/reset_interactions")]
        try:
            assert requests.get(server.url + "/livez", timeout=5).status_code == 200
            assert requests.put(f"{server.url}/v1/patches/{'0' * 64}", data=b"x", timeout=5).status_code == 422
            assert not any(other.done() for other in others)
        finally:
            predictor.gate.set()
        assert {answer.result().status_code for answer in (click, *others)} == {200}


def test_keys_are_exchanged_only_for_what_they_are(keyed):
    def login(user, key):
        return requests.post(keyed[0].url + "/auth/token", data={"username": user, "password": key}, timeout=5)

    key = keyed[1]["anna"]
    assert login("anna", key).json() == {"access_token": key, "token_type": "bearer"}
    assert [login(*pair).status_code for pair in (("ben", key), ("anna", "x"), ("", ""), (None, "x"))] == [401] * 4


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


@pytest.mark.parametrize(("name", "path", "options"), by_name(nni_requests()))
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


@pytest.mark.parametrize(("name", "method", "path", "options"), by_name(monai_requests()))
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


@pytest.mark.parametrize("path", ["/upload_image", "/upload_segment"])
def test_a_client_of_the_first_version_of_nninteractive_is_told_to_be_updated(keyed, path):
    answer = call(keyed, "POST", path, files={"file": ("volume.npy", bytes(2 * SMALL_BODY))})
    assert answer.status_code == 426, "whatever the size of its image"
    assert "Update it: 3D Slicer's extension nnInteractive to 1.0.0" in answer.json()["detail"]
