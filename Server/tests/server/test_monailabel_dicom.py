"""MONAI Label's clients and DICOM: archives of slices, series of a DICOMweb server, labels back as DICOM SEG."""

import io
import json
import zipfile

import numpy as np
import pydicom
import pytest
import requests

import orthanc
from helpers import ThresholdPredictor, phantom
from orthanc import mask_of, needs_orthanc, segs_of
from sammed3d.core.geometry import Grid
from sammed3d.files.dicomweb import DicomWeb
from sammed3d.inference.dicom_series import DicomSeries
from sammed3d.inference.session import Session
from sammed3d.server.app import Facades
from sammed3d.server.compat import image_files
from sammed3d.server.compat.monai_others import REFUSED
from servers import serving

ARRAY = phantom((40, 50, 12))
CLICKS = {"foreground": [[20, 25, 6]], "background": [[10, 33, 5]], "label": "liver", "result_extension": ".nrrd"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    with orthanc.orthanc(tmp_path_factory.mktemp("orthanc")) as url:
        yield url, *orthanc.put(url, orthanc.slices_of(ARRAY))


@pytest.fixture(scope="module")
def server(archive):
    web = DicomWeb(archive[0] + "/dicom-web", orthanc.authorization())
    facades = Facades(monailabel=True, sessions=3, volume_mib=4, dicomweb=web)
    with serving(ThresholdPredictor(), facades=facades) as server:
        yield server


@pytest.fixture
def without():
    with serving(ThresholdPredictor(), facades=Facades(monailabel=True, volume_mib=4)) as server:
        yield server


def expected():
    series = DicomSeries.of(orthanc.slices_of(ARRAY))
    session = Session(series.volume, ThresholdPredictor())
    session.click(series.volume.grid.to_world(CLICKS["foreground"][0]))
    session.click(series.volume.grid.to_world(CLICKS["background"][0]), positive=False)
    return session.mask()


def infer(server, query, params=CLICKS, **more):
    files = {"params": (None, json.dumps(params)), **more}
    return requests.post(f"{server.url}/infer/default?{query}", files=files, timeout=60)


def mask_in(response):
    assert response.status_code == 200, response.text
    return image_files.read(response.content, 1 << 24).array


@needs_orthanc
@pytest.mark.timeout(120)
@pytest.mark.slow
def test_ohif_names_a_series_and_gets_a_mask_on_its_voxels(server, archive):
    query = f"image={archive[2]}&output=image"
    assert np.array_equal(mask_in(infer(server, query)), expected())
    assert np.array_equal(mask_in(infer(server, query)), expected()), "fetched once, clicked on twice"
    response = infer(server, f"image={archive[2]}&output=dicom_seg")
    assert response.headers["Content-Type"] == "application/dicom"
    seg = pydicom.dcmread(io.BytesIO(response.content), force=True)
    assert seg.SegmentSequence[0].SegmentLabel == "liver"
    assert infer(server, "image=1.2.3&output=image").status_code == 400
    assert infer(server, "image=../../etc/passwd&output=image").status_code == 400
    assert infer(server, f"image=http://{archive[0][7:]}/instances").status_code == 400


@needs_orthanc
@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_label_that_is_saved_is_stored_as_a_seg_beside_its_series(server, archive):
    url, study, uid = archive
    grid = DicomSeries.of(orthanc.slices_of(ARRAY)).volume.grid
    mask = expected()
    label = ("label.nrrd", image_files.write(mask, grid, ".nrrd"))
    params = '{"label_info": [{"name": "Leber", "idx": 1}]}'
    before = len(segs_of(url, study))
    path = f"{server.url}/datastore/label?image={uid}&tag=final"
    response = requests.put(path, files={"label": label, "params": (None, params)}, timeout=60)
    assert response.status_code == 200, response.text
    segs = segs_of(url, study)
    assert len(segs) == before + 1
    [seg] = [each for each in segs if each.SOPInstanceUID == response.json()["label"]]
    assert seg.SegmentSequence[0].SegmentLabel == "Leber"
    assert np.array_equal(mask_of(seg, ARRAY.shape), mask)
    elsewhere = Grid(grid.shape, np.diag([2.0, 2.5, 3.0, 1.0]))
    wrong = ("label.nrrd", image_files.write(mask, elsewhere, ".nrrd"))
    response = requests.put(path, files={"label": wrong}, timeout=60)
    assert response.status_code == 400
    assert "does not lie on the voxels" in response.json()["detail"]


@pytest.mark.timeout(60)
def test_an_archive_of_slices_opens_a_session(without):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for n, each in enumerate(orthanc.slices_of(ARRAY)):
            archive.writestr(f"{n}.dcm", orthanc.encoded(each))
    upload = {"files": ("series.zip", file.getvalue())}
    session = requests.put(without.url + "/session/?uncompress=true", files=upload, timeout=30).json()["session_id"]
    assert np.array_equal(mask_in(infer(without, f"session_id={session}&output=image")), expected())
    seg = infer(without, f"session_id={session}&output=dicom_seg")
    assert pydicom.dcmread(io.BytesIO(seg.content), force=True).PatientID == "MARKER-1"
    upload = {"files": ("series.zip", b"PK\x03\x04" + bytes(100))}
    response = requests.put(without.url + "/session/", files=upload, timeout=30)
    assert response.status_code == 400
    assert "archive" in response.json()["detail"]


def test_without_a_dicomweb_server_nothing_is_fetched_and_nothing_stored(without):
    response = infer(without, "image=1.2.3")
    assert response.status_code == 404
    assert "--dicomweb" in response.json()["detail"]
    response = requests.put(without.url + "/datastore/label?image=1.2.3", files={"label": ("a", b"a")}, timeout=10)
    assert response.status_code == 404
    assert "keeps no images" in response.json()["detail"]


def test_calls_that_this_server_has_nothing_to_do_for_are_answered_or_refused_in_words(without):
    for methods, path, words in REFUSED:
        for method in methods:
            response = requests.request(method, without.url + path.replace("{path:path}", "a/b"), timeout=10)
            assert response.status_code == 404
            assert method == "HEAD" or response.json()["detail"] == words
    assert requests.get(without.url + "/datastore/?output=all", timeout=10).json() == {"objects": {}}
    assert requests.get(without.url + "/datastore/", timeout=10).json()["total"] == 0
    assert requests.post(without.url + "/activelearning/random", json={}, timeout=10).json() == {}
