"""What a browser may send, and what is refused in one line; nothing of it stays."""

import gzip
import tempfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from helpers import small_volume, write_image
from sammed3d.errors import VolumeError
from sammed3d.web import uploads
from sammed3d.web.uploads import Incoming, read


@pytest.fixture
def send(tmp_path):
    """Send files (name, content) and return the volume that they are."""

    def run(*files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        arrived = folder / "arrived"
        arrived.mkdir(parents=True)
        incoming = Incoming(arrived)
        for name, content in files:
            place = incoming.begin(name)
            incoming.count(len(content))
            place.write_bytes(content)
        return read(incoming.files, folder)

    return run


@pytest.fixture
def image(tmp_path):
    """Content of a file of the phantom, by its ending."""

    def of(ending):
        path = tmp_path / f"made{ending}"
        volume = small_volume((9, 8, 7))
        write_image(path, volume.array, volume.grid.index_to_world)
        content = path.read_bytes()
        path.unlink()
        return content

    return of


@pytest.mark.parametrize("ending", uploads.IMAGES)
def test_images_are_read_and_named_as_they_were_sent(send, image, ending):
    for name in (f"knee{ending}", f"C:\\scans\\knee{ending.upper()}", f"../../knee{ending}"):
        volume = send((name, image(ending)))
        assert volume.name.lower() == f"knee{ending}"
        assert np.array_equal(volume.array, small_volume((9, 8, 7)).array)
        assert volume.array.base is None or volume.array.flags.owndata


def slices(count=4):
    """A CT series as files."""
    with tempfile.TemporaryDirectory() as folder:
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for k in range(count):
            image = sitk.GetImageFromArray(np.full((1, 6, 5), 10 * k, np.int16))
            image.SetSpacing((1, 1, 2))
            image.SetOrigin((0, 0, 2 * k))
            for tag, value in (
                ("0008|0060", "CT"),
                ("0020|000e", "1.2.3.4"),
                ("0020|000d", "1.2.3"),
                ("0020|0032", f"0\\0\\{2 * k}"),
                ("0020|0037", "1\\0\\0\\0\\1\\0"),
                ("0020|0013", str(k)),
                ("0008|0018", f"1.2.3.4.{k + 1}"),
            ):
                image.SetMetaData(tag, value)
            writer.SetFileName(f"{folder}/{k}.dcm")
            writer.Execute(image)
        return [(file.name, file.read_bytes()) for file in sorted(Path(folder).iterdir())]


def zipped(tmp_path, files):
    target = tmp_path / "made.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    content = target.read_bytes()
    target.unlink()
    return content


def test_dicom_comes_as_slices_or_as_a_zip(send, tmp_path):
    loose = send(*slices())
    packed = send(("study.zip", zipped(tmp_path, [(f"../a/{name}", content) for name, content in slices()])))
    assert loose.grid.shape == packed.grid.shape == (5, 6, 4)
    assert np.array_equal(loose.array, packed.array)
    assert not (tmp_path / "a").exists()


def bomb():
    """A NIfTI file that declares 32767 x 32767 x 32767 voxels, and holds none."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape((32767, 32767, 32767))
    header.set_sform(np.eye(4), 1)
    header.set_qform(np.eye(4), 1)
    return gzip.compress(header.binaryblock + bytes(1000))


def test_what_is_no_volume_is_refused_in_one_line(send, image, tmp_path):
    nrrd_elsewhere = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: /etc/hostname\n\n"
    mha_elsewhere = b"NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = /etc/hostname\n"
    for files, words in (
        ([], "Nothing was sent"),
        ([("notes.txt", b"hello")], "notes.txt: not one of"),
        ([("scan.nii.gz", b"")], "scan.nii.gz: the file is damaged"),
        ([("scan.nii.gz", image(".nii.gz")[:150])], "scan.nii.gz: "),
        ([("scan.nrrd", image(".nrrd")[:-200])], "scan.nrrd: the file is damaged"),
        ([("scan.mha", b"MZ" + bytes(500))], "scan.mha: the file is damaged"),
        ([("scan.nii.gz", bomb())], "declares more than"),
        ([("scan.nrrd", nrrd_elsewhere)], "in another file"),
        ([("scan.mha", mha_elsewhere)], "in another file"),
        ([("scan.nrrd", nrrd_elsewhere.replace(b"data file", b"DATAFILE"))], "in another file"),
        ([("a.nii", image(".nii")), ("b.dcm", b"x")], "a.nii: open image files one at a time"),
        ([("a.dcm", b"x"), ("b.dcm", b"y")], "DICOM"),
        ([("study.zip", b"PK\x03\x04 not really")], "study.zip: cannot be unpacked"),
        ([("study.zip", zipped(tmp_path, []))], "study.zip"),
        ([("study.zip", zipped(tmp_path, [("a", b"x"), ("b.nrrd", nrrd_elsewhere)]))], "in another file"),
    ):
        with pytest.raises(VolumeError) as caught:
            send(*files)
        text = str(caught.value)
        assert words in text
        assert "\n" not in text
        assert str(tmp_path) not in text


def test_bombs_are_stopped_while_they_unpack(send, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_FILES", 3)
    with pytest.raises(VolumeError, match="more than 4 GiB or 3 files"):
        send(("study.zip", zipped(tmp_path, [(str(n), b"x") for n in range(4)])))
    with pytest.raises(VolumeError, match="more than 3 files"):
        send(*[(f"{n}.dcm", b"x") for n in range(4)])
    monkeypatch.setattr(Incoming.__init__, "__defaults__", (1 << 20,))
    with pytest.raises(VolumeError, match=r"study\.zip: unpacks to more than"):
        send(("study.zip", zipped(tmp_path, [("zeros", bytes(2 << 20))])))
    with pytest.raises(VolumeError, match="more than a page takes"):
        send(("scan.nrrd", bytes(2 << 20)))
