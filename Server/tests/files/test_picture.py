"""Pictures read and masks of pictures written."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from sammed3d.core.mask import BoxedMask
from sammed3d.errors import VolumeError
from sammed3d.files.picture import Picture, read_picture_mask, write_picture_segments
from sammed3d.files.segmentation import Segment

GREY = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)
COLOURS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


def written(path, pixels):
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3), str(path))
    return path


def write_dicom(path, pixels, kind, **more):
    """Write one image as a secondary capture."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = pydicom.Dataset()
    ds.file_meta = meta
    ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "OT"
    ds.Rows, ds.Columns = pixels.shape[-3:-1] if kind == "RGB" else pixels.shape[-2:]
    ds.PhotometricInterpretation = kind
    ds.SamplesPerPixel = 3 if kind == "RGB" else 1
    if kind == "RGB":
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, 0
    for name, value in more.items():
        setattr(ds, name, value)
    ds.PixelData = pixels.tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path


def test_grey_pictures_with_transparency_are_read_without_it(tmp_path):
    """As OpenCV reads them; ITK does not know two values for a pixel."""
    two = np.stack([GREY, GREY[::-1]], axis=-1)
    Image.fromarray(two, "LA").save(tmp_path / "export.png")
    picture = Picture.read(tmp_path / "export.png")
    assert np.array_equal(picture.pixels, np.stack(3 * [GREY], -1))
    plain = Picture.read(written(tmp_path / "plain.png", GREY)).grid
    assert picture.grid.shape == plain.shape
    assert np.array_equal(picture.grid.index_to_world, plain.index_to_world)
    masks = np.stack([255 * (GREY > 100).astype(np.uint8), GREY], axis=-1)
    Image.fromarray(masks, "LA").save(tmp_path / "mask.png")
    assert np.array_equal(read_picture_mask(tmp_path / "mask.png", picture), GREY > 100)
    whole = (tmp_path / "export.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VolumeError, match=r"cut\.png: the file is damaged"):
        Picture.read(tmp_path / "cut.png")


def test_pictures_that_itk_does_not_read_are_read_as_others(tmp_path):
    """Two values of a BMP, a grey value that stands for transparency, and files named as another kind."""
    two, grey, colours = (Image.fromarray(each) for each in (GREY > 100, GREY, COLOURS))
    two.save(tmp_path / "two.bmp")
    grey.save(tmp_path / "hole.png", transparency=7)
    colours.save(tmp_path / "really.jpg", quality=95)
    (tmp_path / "really.jpg").rename(tmp_path / "named.png")
    for name in ("two.bmp", "hole.png", "named.png"):
        with pytest.raises(RuntimeError):
            sitk.ReadImage(str(tmp_path / name))
    assert np.array_equal(Picture.read(tmp_path / "two.bmp").pixels, 255 * np.stack(3 * [GREY > 100], -1))
    assert np.array_equal(Picture.read(tmp_path / "hole.png").pixels, np.stack(3 * [GREY], -1))
    with Image.open(tmp_path / "named.png") as image:
        assert np.array_equal(Picture.read(tmp_path / "named.png").pixels, np.asarray(image)[..., ::-1])
    picture = Picture.read(tmp_path / "hole.png")
    assert np.array_equal(read_picture_mask(tmp_path / "two.bmp", picture), GREY > 100)


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png"])
def test_pictures_that_are_turned_when_shown_are_refused_wherever_they_are_read(tmp_path, suffix):
    grey = Image.fromarray(GREY)
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = tmp_path / f"photo{orientation}{suffix}"
        grey.save(file, exif=exif)
        if orientation in (0, 1, 9):
            assert Picture.read(file).pixels.shape == (12, 20, 3)
            continue
        words = rf"photo{orientation}\{suffix}: its camera notes .* Save it upright first"
        with pytest.raises(VolumeError, match=words):
            Picture.read(file)
        with pytest.raises(VolumeError, match=words):
            read_picture_mask(file, Picture.read(tmp_path / f"photo1{suffix}"))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff"])
def test_grey_and_coloured_pictures_are_read_without_loss(tmp_path, suffix):
    grey = Picture.read(written(tmp_path / f"g{suffix}", GREY))
    assert not grey.is_coloured
    assert np.array_equal(grey.pixels[..., 0], GREY)
    assert (grey.width, grey.height) == (20, 12)
    colours = Picture.read(written(tmp_path / f"c{suffix}", COLOURS))
    assert colours.is_coloured
    assert np.array_equal(colours.pixels, COLOURS[..., ::-1]), "blue first"


def test_jpeg_is_read(tmp_path):
    smooth = np.broadcast_to(np.linspace(20, 230, 20, dtype=np.uint8), (12, 20))
    assert np.abs(Picture.read(written(tmp_path / "p.jpg", smooth)).pixels[..., 0].astype(int) - smooth).max() < 12


def test_single_images_of_dicom_are_read(tmp_path):
    ramp = np.linspace(100, 3000, 12 * 20).reshape(12, 20).astype(np.uint16)
    grey = Picture.read(write_dicom(tmp_path / "g.dcm", ramp, "MONOCHROME2", PixelSpacing=[0.5, 0.25]))
    assert (grey.pixels.min(), grey.pixels.max()) == (0, 255)
    assert grey.pixels[0, 0, 0] == 0
    assert np.array_equal(grey.pixels[..., 0], np.floor(0.5 + (ramp - 100.0) / 2900 * 255)), "to the nearest"
    assert grey.grid.shape == (20, 12, 1)
    inverted = Picture.read(write_dicom(tmp_path / "i.dcm", ramp, "MONOCHROME1"))
    assert inverted.pixels[0, 0, 0] == 255
    colours = Picture.read(write_dicom(tmp_path / "c.dcm", COLOURS, "RGB"))
    assert np.array_equal(colours.pixels, COLOURS[..., ::-1])


def test_what_is_no_picture_is_refused_in_one_line(tmp_path):
    frames = np.random.default_rng(0).integers(0, 99, (3, 12, 20), np.uint8)
    several = write_dicom(tmp_path / "several.dcm", frames, "MONOCHROME2", NumberOfFrames=3)
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "text.dcm").write_text("no picture")
    stack = tmp_path / "stack.tif"
    sitk.WriteImage(sitk.GetImageFromArray(frames), str(stack))
    for path, reason in (
        (several, "3 slices or frames"),
        (tmp_path / "text.png", "cannot be read"),
        (tmp_path / "text.dcm", "neither a picture"),
        (stack, "holds 3 images; save the one"),
        (tmp_path / "none.png", "no such file"),
        (written(tmp_path / "flat.png", np.full((5, 5), 7, np.uint8)), "all pixels are equal"),
        (written(tmp_path / "line.png", GREY[:1]), "20 x 1 pixels"),
    ):
        with pytest.raises(VolumeError, match=reason) as caught:
            Picture.read(path)
        assert "\n" not in str(caught.value)


def test_masks_come_back_from_every_format(tmp_path):
    picture = Picture.read(written(tmp_path / "p.png", GREY))
    mask = np.zeros((20, 12, 1), np.uint8)
    mask[3:9, 2:5] = 1
    segment = Segment("Lesion", BoxedMask.of(mask))
    png = tmp_path / "mask.png"
    write_picture_segments(png, [segment], picture.grid)
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(png)))
    assert set(np.unique(pixels)) == {0, 255}
    assert np.array_equal(read_picture_mask(png, picture), mask[..., 0].T != 0)
    write_picture_segments(tmp_path / "m.seg.nrrd", [segment, segment], picture.grid)
    found = sitk.ReadImage(str(tmp_path / "m.seg.nrrd"))
    assert found.GetSize() == (20, 12, 1)
    assert found.GetDirection() == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), "as ITK, and so Slicer, shows a PNG"
    with pytest.raises(VolumeError, match="one mask, not 2"):
        write_picture_segments(png, [segment, segment], picture.grid)
    with pytest.raises(VolumeError, match="unknown format"):
        write_picture_segments(tmp_path / "m.jpg", [segment], picture.grid)
    other = Picture.read(written(tmp_path / "o.png", GREY[:, :-1]))
    with pytest.raises(VolumeError, match=r"mask.png: has 20 x 12 pixels, o.png has 19 x 12"):
        read_picture_mask(png, other)
