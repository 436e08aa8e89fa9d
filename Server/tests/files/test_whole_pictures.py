"""Pictures that were cut off are refused, whatever their kind; transparency is not taken for pixels."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from sammed3d.errors import VolumeError
from sammed3d.files.image_lists import read_mask
from sammed3d.files.picture import Picture
from sammed3d.files.whole_pictures import check_whole, has_transparent_grey

PIXELS = np.random.default_rng(1).integers(0, 256, (70, 90, 3), np.uint8)
KINDS = [
    (".jpg", "RGB", {}),
    (".jpg", "L", {"quality": 30}),
    (".jpg", "RGB", {"progressive": True}),
    (".bmp", "RGB", {}),
    (".bmp", "L", {}),
    (".bmp", "P", {}),
    (".png", "RGB", {}),
    (".tif", "RGB", {}),
    (".tif", "L", {"compression": "tiff_deflate"}),
]


def saved(path, mode="RGB", **more):
    Image.fromarray(PIXELS).convert(mode).save(path, **more)
    return path


@pytest.mark.parametrize(("ending", "mode", "more"), KINDS)
def test_what_was_cut_off_is_refused(tmp_path, ending, mode, more):
    file = saved(tmp_path / f"scan{ending}", mode, **more)
    content = file.read_bytes()
    assert Picture.read(file).pixels.shape == (70, 90, 3)
    for length in (60, len(content) // 3, len(content) // 2, len(content) - 40):
        file.write_bytes(content[:length])
        with pytest.raises(VolumeError, match=r"scan\..*(cannot be read|its end is missing|the file is damaged)"):
            Picture.read(file)


def test_a_preview_inside_does_not_count_as_the_end(tmp_path):
    """Cameras put a small JPEG into the head of the large one, and other data behind its end."""
    preview = io.BytesIO()
    Image.fromarray(PIXELS[:16, :16]).save(preview, "JPEG")
    file = saved(tmp_path / "photo.jpg", exif=b"Exif\0\0" + preview.getvalue())
    content = file.read_bytes()
    assert content.count(b"\xff\xd9") >= 2
    file.write_bytes(content + b"\0\0appended by a camera")
    check_whole(file)
    file.write_bytes(content[:-200])
    with pytest.raises(VolumeError, match="its end is missing"):
        check_whole(file)


def test_old_headers_and_rows_from_above_are_understood(tmp_path):
    rows = bytes(range(4 * 3)) * 2  # 2 rows of 3 pixels of 24 bits, filled up to 12 bytes
    core = b"BM" + struct.pack("<IHHI", 26 + 24, 0, 0, 26) + struct.pack("<IHHHH", 12, 3, 2, 1, 24) + rows
    above = b"BM" + struct.pack("<IHHI", 54 + 24, 0, 0, 54)
    above += struct.pack("<IiiHHIIiiII", 40, 3, -2, 1, 24, 0, 0, 0, 0, 0, 0) + rows
    for content in (core, above):
        (file := tmp_path / "old.bmp").write_bytes(content)
        check_whole(file)
        file.write_bytes(content[:-1])
        with pytest.raises(VolumeError, match="its end is missing"):
            check_whole(file)


@pytest.mark.parametrize(
    ("ending", "more"),
    [(".tif", {}), (".tif", {"compression": "tiff_deflate"}), (".tif", {"big_tiff": True})],
)
def test_grey_with_transparency_is_read_without_it(tmp_path, ending, more):
    two = np.stack([PIXELS[..., 0], PIXELS[..., 1]], axis=-1)
    file = tmp_path / f"scan{ending}"
    Image.fromarray(two, "LA").save(file, **more)
    picture = Picture.read(file)
    assert np.array_equal(picture.pixels, np.stack(3 * [PIXELS[..., 0]], axis=-1))
    assert picture.grid.shape == (90, 70, 1)
    two[..., 0] = 255 * (two[..., 0] > 90)
    Image.fromarray(two, "LA").save(file, **more)
    assert np.array_equal(read_mask(file), PIXELS[..., 0] > 90)
    assert Picture.read(saved(file, "RGBA", **more)).is_coloured
    assert not Picture.read(saved(file, "L", **more)).is_coloured


def test_transparency_that_cannot_be_read_is_refused_with_what_to_do(tmp_path, monkeypatch):
    file = saved(tmp_path / "scan.tif", "LA")
    monkeypatch.setattr(Image, "open", lambda *_: (_ for _ in ()).throw(OSError("of 16 bits, which Pillow lacks")))
    for read in (Picture.read, read_mask):
        with pytest.raises(VolumeError, match=r"scan\..* is grey with transparency .* Save it again without"):
            read(file)


def test_tiff_files_that_count_from_the_other_end_are_looked_at_too(tmp_path):
    for values in (1, 2, 3):
        entry = struct.pack(">HHIHH", 277, 3, 1, values, 0)
        (file := tmp_path / "scan.tif").write_bytes(b"MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4))
        assert has_transparent_grey(file) == (values == 2)
