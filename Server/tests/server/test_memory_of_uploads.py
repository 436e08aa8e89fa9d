"""Small uploads of other products' clients do not take much memory, whatever they declare or hold."""

import asyncio
import gc
import gzip
import io
import weakref
import zipfile

import numpy as np
import pydicom
import pytest
from fastapi import APIRouter, FastAPI, Response
from starlette.concurrency import run_in_threadpool

import fuzz
import orthanc
from helpers import ThresholdPredictor, phantom
from peaks import peak_memory
from sammed3d.core.drawings import Scribble
from sammed3d.core.geometry import Grid
from sammed3d.errors import VolumeError
from sammed3d.files import dicom_seg
from sammed3d.inference.dicom_series import DicomSeries
from sammed3d.server.compat import image_files
from sammed3d.server.compat.leases import Leases, NoMemoryError
from sammed3d.server.compat.monai_volumes import MOST_LABELS, Volumes
from sammed3d.server.compat.nninteractive.prompts import BadRequestError, Painted, drawing_of
from sammed3d.server.compat.nninteractive.routes import Facade
from sammed3d.server.http.routes import explaining
from servers import serving
from uploads import IMAGE, nifti, nrrd_file, packed


def test_a_drawing_all_over_the_image_is_refused_before_its_voxels_are_listed():
    shape = (128, 128, 128)
    mask = np.ones(shape, np.uint8)
    with peak_memory() as peak:
        with pytest.raises(BadRequestError, match=f"has {mask.size} voxels; "):
            drawing_of(Scribble, mask, Painted(include_interaction=True), Grid(shape, np.eye(4)))
        assert peak() < 2 * mask.nbytes


class Upload:
    """Stands for what a request holds."""


def test_what_is_refused_is_not_held_until_garbage_is_collected():
    held = []

    def refuse():
        upload = Upload()
        held.append(weakref.ref(upload))
        try:
            raise ValueError("of a library")
        except ValueError as error:
            raise VolumeError("The image file is damaged.") from error

    router = APIRouter(route_class=explaining(lambda _request, _error: Response(status_code=400)))

    @router.put("/session/")
    async def create():
        return await run_in_threadpool(refuse)

    app = FastAPI()
    app.include_router(router)
    gc.disable()
    try:
        status, _, _ = asyncio.run(fuzz.send(app, fuzz.Sent("PUT", "/session/")))
        assert status == 400
        assert [upload() for upload in held] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", ["NIfTI", "NRRD", "DICOM"])
def test_a_volume_for_which_no_memory_is_left_is_refused_before_it_takes_any(kind):
    array = np.zeros((256, 256, 64), np.int16)
    array[:9] = 5
    if kind == "NIfTI":
        data = gzip.compress(nifti(array))
    elif kind == "NRRD":
        data = nrrd_file(array, encoding="gzip")
    else:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for n, each in enumerate(orthanc.slices_of(array)):
                archive.writestr(f"{n}.dcm", orthanc.encoded(each))
        data = file.getvalue()
    leases = Leases(2, 3 * array.nbytes)
    leases.take_memory(leases.claim("ben", 60), 2 * array.nbytes)
    volumes = Volumes(leases, lambda volume, user: None, 1 << 30, None)
    with peak_memory() as peak:
        with pytest.raises(NoMemoryError):
            volumes.open_file("anna", data)
        assert peak() < array.nbytes
    assert leases.held_bytes() == 2 * array.nbytes


def test_an_image_of_nninteractive_is_counted_before_it_is_unpacked(monkeypatch):
    sent, meta, count = packed(IMAGE[None]), {"image_properties": {"spacing": [1, 1, 1]}}, 2 * IMAGE.nbytes
    leases, unpacked = Leases(3, count), []
    one, other = leases.claim("anna", 60), leases.claim("ben", 60)
    with serving(ThresholdPredictor()) as server:
        facade = Facade(server.engine, leases, "LPS", 1 << 20)

        def unpack(_data, _dimensions):
            unpacked.append(leases.held_bytes())
            with pytest.raises(NoMemoryError):  # which comes meanwhile
                facade._set_image(other, sent, meta)  # noqa: SLF001 - what its route calls, in a thread
            return IMAGE[None]

        monkeypatch.setattr(facade._unpacker, "unpack", unpack)  # noqa: SLF001
        facade._set_image(one, sent, meta)  # noqa: SLF001
        assert unpacked == [count]
        assert (one.bytes, other.bytes) == (count, 0)
        monkeypatch.setattr(facade._unpacker, "unpack", lambda _data, _dimensions: IMAGE[None] * 0)  # noqa: SLF001
        kept = one.state
        with pytest.raises(VolumeError):
            facade._set_image(one, sent, meta)  # noqa: SLF001
        assert (one.bytes, one.state) == (count, kept)


class Archive:
    """A DICOMweb server of one series, which takes what is stored."""

    def __init__(self, slices):
        self._slices = slices

    def study_of(self, uid):
        return "1.2"

    def slices(self, study, uid):
        return self._slices

    def store(self, study, made):
        assert made.SOPInstanceUID == "1.2.3.4"


def test_a_label_map_of_many_labels_takes_the_memory_of_a_few(monkeypatch):
    array = phantom((64, 64, 40))
    grid = DicomSeries.of(orthanc.slices_of(array)).volume.grid
    drawn = np.zeros(array.shape, np.uint8)
    drawn.reshape(-1)[:MOST_LABELS] = np.arange(MOST_LABELS, 0, -1)
    volumes = Volumes(Leases(2, 1 << 30), lambda volume, user: None, 1 << 24, Archive(orthanc.slices_of(array)))
    opened = volumes.open_series("anna", "1.2.3").state
    made = []

    def make(title, names, labels, slices):
        made.append((names, labels))
        return stored

    stored = pydicom.Dataset()
    stored.SOPInstanceUID = "1.2.3.4"
    monkeypatch.setattr(dicom_seg, "segmentation_of_labels", make)
    data = image_files.write(drawn, grid, ".nrrd")
    with peak_memory() as peak:
        volumes.store_label(opened, data, {})
        assert peak() < 20 * drawn.nbytes
    [(names, labels)] = made
    assert names[0] == "Segment 1"
    assert len(names) == MOST_LABELS
    assert np.array_equal(labels, drawn)


def test_a_seg_of_labels_is_that_of_their_masks():
    series = DicomSeries.of(orthanc.slices_of(phantom((20, 24, 5))))
    labels = np.zeros((20, 24, 5), np.uint8)
    labels[2:9, 3:8, 1:3], labels[10:15, 3:20, 2:5] = 1, 2
    names = ["liver", "spleen"]
    masks = [(labels == n).astype(np.uint8) for n in (1, 2)]
    of_labels = dicom_seg.segmentation_of_labels("both", names, labels, series.slices)
    of_masks = dicom_seg.segmentation("both", names, masks, series.slices)
    assert [s.SegmentLabel for s in of_labels.SegmentSequence] == names
    assert np.array_equal(of_labels.pixel_array, of_masks.pixel_array)
