"""A real Orthanc with its DICOMweb plugin, on this machine, in a folder of its own; and series to put into it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import requests
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from ports import unused_port

PLUGINS = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PATIENT = "Marker^Patient"
USER, PASSWORD = "anna", "not-a-secret"


def is_installed() -> bool:
    return PLUGINS.exists() and shutil.which("Orthanc") is not None


def authorization() -> str:
    return "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@contextlib.contextmanager
def orthanc(folder: Path):
    """Run one; yields its address."""
    ports = [unused_port(), unused_port()]
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": ports[0],
        "DicomPort": ports[1],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(PLUGINS)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    log = (folder / "orthanc.log").open("w")
    process = subprocess.Popen([shutil.which("Orthanc"), folder / "orthanc.json"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{ports[0]}"
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(url + "/system", auth=(USER, PASSWORD), timeout=5).ok:
                    break
            assert process.poll() is None, (folder / "orthanc.log").read_text()
            assert time.monotonic() < deadline, "Orthanc does not start"
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def slices_of(array: np.ndarray, spacing=(2.0, 2.5, 3.0)) -> list[FileDataset]:
    """A CT series of an (I, J, K) int16 array, axial, LPS."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    made = []
    for k in range(array.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = PATIENT, "MARKER-1", "19700101", "O"
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260101", "120000", "1", ""
        ds.ReferringPhysicianName, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "", "CT", 1, k + 1
        ds.Manufacturer, ds.PositionReferenceIndicator = "Test", ""
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-20, -30, 40 + spacing[2] * k], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        ds.Rows, ds.Columns, ds.SamplesPerPixel = array.shape[1], array.shape[0], 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.PixelData = np.ascontiguousarray(array[:, :, k].T.astype(np.int16)).tobytes()
        made.append(ds)
    return made


def encoded(ds: pydicom.Dataset) -> bytes:
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def put(url: str, slices) -> tuple[str, str]:
    """Store slices; returns the UIDs of study and series."""
    for n in np.random.default_rng(0).permutation(len(slices)):
        requests.post(url + "/instances", data=encoded(slices[n]), auth=(USER, PASSWORD), timeout=30).raise_for_status()
    return str(slices[0].StudyInstanceUID), str(slices[0].SeriesInstanceUID)


needs_orthanc = pytest.mark.skipif(
    not is_installed() and "CI" not in os.environ,
    reason="Orthanc is not installed (.ci/install-system-packages does that)",
)


def segs_of(url, study):
    """The DICOM SEGs of a study."""
    user = (USER, PASSWORD)
    find = {"Level": "Instance", "Query": {"StudyInstanceUID": study, "Modality": "SEG"}}
    ids = requests.post(url + "/tools/find", json=find, auth=user, timeout=20).json()
    files = [requests.get(f"{url}/instances/{each}/file", auth=user, timeout=20).content for each in ids]
    return [pydicom.dcmread(BytesIO(file)) for file in files]


def mask_of(seg, shape):
    """A segment's mask (I, J, K) of a SEG with one segment, by the positions of its frames."""
    mask = np.zeros(shape, np.uint8)
    frames = seg.pixel_array.reshape(-1, shape[1], shape[0])
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        z = group.PlanePositionSequence[0].ImagePositionPatient[2]
        mask[:, :, round((z - 40) / 3)] = frame.T
    return mask
