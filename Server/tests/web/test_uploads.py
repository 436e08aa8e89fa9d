"""What a browser may send, and what is refused in one line; nothing of it stays."""

import errno
import gzip
import importlib.util
import io
import mmap
import re
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from helpers import small_volume, write_image
from sammed3d.errors import VolumeError
from sammed3d.files.image_lists import SUFFIXES
from sammed3d.files.picture import Picture, PictureVolume
from sammed3d.files.volume import Volume
from sammed3d.web import allowance, uploads
from sammed3d.web.allowance import Allowance
from sammed3d.web.uploads import Incoming, read


@pytest.fixture
def send(tmp_path):
    """Send files (name, content) and return the volume that they are."""

    def run(*files, **more):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        arrived = folder / "arrived"
        arrived.mkdir(parents=True)
        incoming = Incoming(arrived)
        for name, content in files:
            place = incoming.begin(name)
            incoming.count(len(content))
            place.write_bytes(content)
        return read(incoming.files, folder, **more)

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


def test_an_image_is_looked_through_once_before_it_is_shown(send, image, monkeypatch):
    content, looked, look = image(".nrrd"), [], Volume._range  # noqa: SLF001
    monkeypatch.setattr(Volume, "_range", lambda self: looked.append(1) or look(self))
    volume = send(("knee.nrrd", content))
    assert looked == [1]
    assert volume.lowest == small_volume((9, 8, 7)).array.min()
    if importlib.util.find_spec("trame") is not None:
        from sammed3d.web.widgets import window_of

        object.__setattr__(volume, "array", None)
        assert window_of(volume) == "Automatic"


@pytest.mark.parametrize("ending", [ending for ending in uploads.IMAGES if ending not in SUFFIXES])
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


def zipped(tmp_path, files, method=zipfile.ZIP_DEFLATED):
    target = tmp_path / "made.zip"
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    content = target.read_bytes()
    target.unlink()
    return content


def broken(archive):
    """A zip whose first file's compressed data are none."""
    content = bytearray(archive)
    content[30 + len("a")] ^= 0xFF
    return bytes(content)


def damaged_lzma(tmp_path):
    """A zip of the rarer kind LZMA whose options are none."""
    content = bytearray(zipped(tmp_path, [("a", bytes(range(256)) * 20)], zipfile.ZIP_LZMA))
    content[30 + len("a") + 4] = 0xFF
    return bytes(content)


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


@pytest.fixture
def picture(tmp_path):
    """Content of a picture of 9 x 7 pixels, and its pixels as they are read, by its ending."""

    def of(ending, **more):
        path = tmp_path / f"made{ending}"
        pixels = np.random.default_rng(1).integers(0, 256, (7, 9, 3), np.uint8)
        Image.fromarray(pixels).save(path, **more)
        content, read_again = path.read_bytes(), Picture.read(path).pixels
        path.unlink()
        return content, read_again

    return of


@pytest.mark.parametrize("ending", SUFFIXES)
def test_pictures_are_read_as_the_command_line_reads_them(send, picture, ending):
    content, pixels = picture(ending)
    volume = send((f"../skin{ending.upper()}", content))
    assert isinstance(volume, PictureVolume)
    assert volume.name == volume.picture.name == f"skin{ending.upper()}"
    assert np.array_equal(volume.picture.pixels, pixels)
    assert volume.grid.spacing == (1, 1, 1)


def test_a_single_dicom_image_is_a_picture(send, tmp_path):
    image = sitk.GetImageFromArray(np.arange(30, dtype=np.int16).reshape(1, 5, 6))
    sitk.WriteImage(image, str(tmp_path / "x.dcm"))
    volume = send(("IM0001", (tmp_path / "x.dcm").read_bytes()))
    assert np.array_equal(volume.picture.pixels[..., 0], np.rint(np.arange(30) * 255 / 29).reshape(5, 6))
    assert volume.name == "IM0001"


def huge_png(width=60_000, height=30_000):
    """A PNG that declares so many pixels, and holds none."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def test_pictures_that_cannot_be_used_are_refused_in_one_line(send, picture, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    pages = [Image.fromarray(np.full((7, 9), grey, np.uint8)) for grey in (0, 90)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    flat, photo = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (9, 7), (1, 2, 3)).save(flat, "PNG")
    pages[0].save(photo, "JPEG", exif=turned)
    for name, content, words in (
        ("a.png", b"hello", "a.png: cannot be read"),
        ("a.png", picture(".png")[0][:60], "a.png: the file is damaged"),
        ("a.jpg", b"", "a.jpg: cannot be read"),
        ("a.jpg", picture(".jpg")[0][:-30], "a.jpg: the file is damaged; its end is missing"),
        ("a.bmp", picture(".bmp")[0][:-30], "a.bmp: the file is damaged; its end is missing"),
        ("a.png", huge_png(), "a.png: declares more than"),
        ("a.png", huge_png(20_000, 10_000), "a.png: has 20000 x 10000 pixels"),
        ("a.tif", (tmp_path / "pages.tif").read_bytes(), "a.tif: holds 2 images"),
        ("a.jpg", photo.getvalue(), "a.jpg: its camera notes that it is to be turned"),
        ("a.png", flat.getvalue(), "a.png: all pixels are equal"),
    ):
        with pytest.raises(VolumeError) as caught:
            send((name, content))
        text = str(caught.value)
        assert words in text
        assert "\n" not in text
        assert str(tmp_path) not in text
        assert "000000" not in text
    with pytest.raises(VolumeError, match=r"b\.png: open image files one at a time"):
        send(("a.dcm", b"x"), ("b.png", picture(".png")[0]))


def test_what_is_no_volume_is_refused_in_one_line(send, image, tmp_path):
    nrrd_elsewhere = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: /etc/hostname\n\n"
    mha_elsewhere = b"NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = /etc/hostname\n"
    for files, words in (
        ([], "Nothing was sent"),
        ([("notes.txt", b"hello")], "notes.txt: not one of"),
        ([("scan.nii.gz", b"")], "scan.nii.gz: the file is empty"),
        ([("scan.nii.gz", image(".nii.gz")[:150])], "scan.nii.gz: "),
        ([("scan.nrrd", image(".nrrd")[:-200])], "scan.nrrd: the file is damaged"),
        ([("scan.mha", b"MZ" + bytes(500))], "scan.mha: the file is damaged"),
        ([("scan.nii.gz", bomb())], "declares more than"),
        ([("scan.nrrd", nrrd_elsewhere)], "in another file"),
        ([("scan.mha", mha_elsewhere)], "in another file"),
        ([("scan.nrrd", nrrd_elsewhere.replace(b"data file", b"DATAFILE"))], "in another file"),
        ([("a.nii", image(".nii")), ("b.dcm", b"x")], "a.nii: open image files one at a time"),
        ([("a.dcm", b"x"), ("b.dcm", b"y")], "DICOM: holds no DICOM slices. Choose all slices"),
        ([("study.zip", b"PK\x03\x04 not really")], "study.zip: cannot be unpacked"),
        ([("study.zip", broken(zipped(tmp_path, [("a", bytes(range(256)) * 20)])))], "study.zip: cannot be unpacked"),
        ([("study.zip", damaged_lzma(tmp_path))], "study.zip: cannot be unpacked"),
        ([("study.zip", zipped(tmp_path, []))], "study.zip: holds no DICOM slices. Choose all slices"),
        ([("study.zip", zipped(tmp_path, [("a.nii", image(".nii"))]))], "other images one at a time, not in a zip."),
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


def test_a_zips_own_list_of_files_is_not_read_where_it_is_longer_than_any(send, monkeypatch):
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, *[0] * 8, 1, *[0] * 6) + b"d"
    count = 1000
    for listed, words in ((count - 1, "cannot be unpacked"), (count, "unpacks to more than")):
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, listed, listed, listed * len(entry), 0, 0)
        monkeypatch.setattr(uploads, "MOST_DIRECTORY", count * len(entry) - 1)
        with pytest.raises(VolumeError, match=rf"^study\.zip: {words}"):
            send(("study.zip", entry * listed + end))


def test_an_image_that_does_not_fit_into_what_is_left_is_refused_before_it_is_read(send, image, monkeypatch):
    whole = small_volume((9, 8, 7)).array.nbytes
    voxels = "504 voxels of "
    monkeypatch.setattr(allowance, "held", lambda: 1000)
    for clicks, room in ((0, 2 * whole), (700, 2 * whole)):
        limit = Allowance(1000 + clicks + room, clicks)
        assert send(("scan.nii.gz", image(".nii.gz")), allowance=limit).grid.shape == (9, 8, 7)
        tight = Allowance(1000 + clicks + room - 1, clicks)
        monkeypatch.setattr(uploads, "read_image", None)
        for ending in uploads.IMAGES[:4]:
            with pytest.raises(
                VolumeError, match=rf"^scan{re.escape(ending)}: {voxels}\d+ bits take .* left for images"
            ):
                send((f"scan{ending}", image(ending)), allowance=tight)
        monkeypatch.undo()
        monkeypatch.setattr(allowance, "held", lambda: 1000)


def test_what_nothing_uses_goes_back_before_an_image_is_refused(send, image, monkeypatch):
    whole, holds = small_volume((9, 8, 7)).array.nbytes, [1000, 1000]
    monkeypatch.setattr(allowance, "held", lambda: holds[-1])
    monkeypatch.setattr(allowance, "give_back", holds.pop)
    send(("scan.nii.gz", image(".nii.gz")), allowance=Allowance(1000 + 2 * whole, 0))
    assert len(holds) == 2, "it fits, and the next click finds what is kept for it"
    holds[:] = [1000, 1001]
    send(("scan.nii.gz", image(".nii.gz")), allowance=Allowance(1000 + 2 * whole, 0))
    assert len(holds) == 1


def test_what_a_process_holds_is_what_it_took():
    before = allowance.held()
    with mmap.mmap(-1, 64 << 20) as taken:  # what an array takes may be there since others went away
        for _ in range(64):
            taken.write(bytes([1]) * (1 << 20))
        assert allowance.held() - before > len(taken) - (4 << 20)
    assert allowance.held(0x7FFFFFFF) == 0


def test_slices_count_together(send, monkeypatch):
    monkeypatch.setattr(allowance, "held", lambda: 1000)
    one = 6 * 5 * 2
    with pytest.raises(VolumeError, match=r"^DICOM: 120 voxels of 16 bits"):
        send(*slices(), allowance=Allowance(1000 + 2 * one, 0))
    assert send(*slices(), allowance=Allowance(1 << 50, 0)).grid.shape == (5, 6, 4)


def test_a_full_disk_is_not_called_a_damaged_zip(send, tmp_path, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "infolist", full)
    with pytest.raises(OSError, match="No space left"):
        send(("slices.zip", zipped(tmp_path, [("a.dcm", b"x")])))
