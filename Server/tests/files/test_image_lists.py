"""2-D images and masks by SAM-Med2D's lists."""

import base64
import json
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from sammed3d.errors import VolumeError
from sammed3d.files.image_lists import (
    TEST,
    TRAIN,
    ListedImage,
    list_in,
    pairs_in,
    read_list,
    read_mask,
    read_pixels,
    write_lists,
)


def save(file, pixels, vector=False):
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(np.asarray(pixels), isVector=vector), str(file))
    return file


@pytest.fixture
def demo(tmp_path):
    """A folder as the published one is laid out."""
    folder = tmp_path / "data_demo"
    for name in ("images/amos_4_75.png", "masks/amos_4_75_liver_000.png", "masks/amos_4_75_liver_001.png"):
        save(folder / name, np.zeros((4, 5), np.uint8))
    return folder


def test_the_published_lists_are_read_as_they_are(demo):
    masks = ["data_demo/masks/amos_4_75_liver_000.png", "data_demo/masks/amos_4_75_liver_001.png"]
    (demo / TRAIN).write_text(json.dumps({"data_demo/images/amos_4_75.png": masks}))
    (demo / TEST).write_text(json.dumps(dict.fromkeys(masks, "data_demo/images/amos_4_75.png")))
    found = [read_list(demo / name) for name in (TRAIN, TEST)]
    assert found[0] == found[1]
    [listed] = found[0]
    assert listed.image == demo / "images" / "amos_4_75.png"
    assert [mask.name[-7:] for mask in listed.masks] == ["000.png", "001.png"]
    assert {listed.structure_of(mask) for mask in listed.masks} == {"liver"}
    assert list_in(demo, TEST) == list_in(demo / TEST, TRAIN) == demo / TEST
    (demo / TEST).write_text((demo / TEST).read_text(), encoding="utf-8-sig")  # as Windows' own tools save it
    assert read_list(demo / TEST) == found[1]


@pytest.mark.parametrize(
    ("mask", "structure"),
    [
        ("x_0003_liver_000.png", "liver"),
        ("x_0003--0002_000.png", "0002"),
        ("x_0003_left_kidney_12.png", "left_kidney"),
        ("x_0003_7.png", "7"),
        ("x_0003.png", "mask"),
    ],
)
def test_the_structure_is_in_the_name_of_the_mask(tmp_path, mask, structure):
    listed = ListedImage(tmp_path / "x_0003.png", ())
    assert listed.structure_of(tmp_path / mask) == structure


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "lists no images"),
        ("[1]", "lists no images"),
        ('{"a.png": []}', "names no masks"),
        ('{"a.png": ["b.png"]}', "names a.png, which is neither in"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path, text, words):
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(VolumeError, match=words):
        read_list(tmp_path / "list.json")


def test_what_is_written_is_read_back(demo):
    pairs, without = pairs_in(demo)
    assert [len(each.masks) for each in pairs] == [2]
    assert without == []
    write_lists(demo, pairs, pairs)
    assert read_list(demo / TRAIN) == read_list(demo / TEST) == pairs
    assert next(iter(json.loads((demo / TRAIN).read_text()))) == "data_demo/images/amos_4_75.png"


def test_links_to_images_elsewhere_are_listed_by_their_own_names(demo, tmp_path):
    linked = tmp_path / "linked"
    for file in demo.glob("*/*"):
        (linked / file.parent.name).mkdir(parents=True, exist_ok=True)
        (linked / file.parent.name / file.name).symlink_to(file)
    (tmp_path / "other").symlink_to(linked)
    for folder in (linked, tmp_path / "other"):
        pairs, _ = pairs_in(folder)
        write_lists(folder, pairs, pairs)
        assert next(iter(json.loads((folder / TRAIN).read_text()))) == "linked/images/amos_4_75.png"
        assert [each.image.name for each in read_list(folder / TRAIN)] == ["amos_4_75.png"]


def test_a_mask_belongs_to_the_longest_name_that_its_own_begins_with(tmp_path):
    for name in ("images/a.png", "images/a_1.png", "masks/a_1_liver.png", "masks/a_liver.png", "masks/ab.png"):
        save(tmp_path / name, np.zeros((2, 2), np.uint8))
    pairs, without = pairs_in(tmp_path)
    assert {each.image.name: [m.name for m in each.masks] for each in pairs} == {
        "a.png": ["a_liver.png"],
        "a_1.png": ["a_1_liver.png"],
    }
    assert [mask.name for mask in without] == ["ab.png"]


def test_pixels_are_those_that_opencv_reads(tmp_path):
    colour = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(read_pixels(save(tmp_path / "c.png", colour, vector=True)), colour[..., ::-1])
    grey = np.array([[0, 7], [255, 3]], np.uint8)
    assert np.array_equal(read_pixels(save(tmp_path / "g.png", grey)), np.stack(3 * [grey], -1))
    deep = np.array([[0, 256, 65535]], np.uint16)
    assert read_pixels(save(tmp_path / "d.png", deep))[0, :, 0].tolist() == [0, 1, 255]


COLOURS_MEET = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMU"
    "FRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"
    "FBQUFBQUFBT/wAARCAAQABADASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAABgf/xAAaEAABBQEAAAAAAAAAAAAAAAAAAgME"
    "NHOx/8QAFQEBAQAAAAAAAAAAAAAAAAAABgf/xAAaEQAABwAAAAAAAAAAAAAAAAAAAQQHNHKx/9oADAMBAAIRAxEAPwCJzab+auBM"
    "WTab+auBMsLWQlNiwOnXmpaHo//Z"
)
"""A JPEG file of 16 x 16 pixels, red on the left and blue on the right, whose colours are stored at half of that."""


def test_colours_of_jpeg_are_those_that_opencv_reads(tmp_path, monkeypatch):
    """The numbers are those of OpenCV 4.10 and 5.0."""
    file = tmp_path / "dermoscopy.jpg"
    file.write_bytes(COLOURS_MEET)
    opencv = [[60, 36, 200], [84, 45, 184], [125, 55, 145], [145, 47, 91], [186, 55, 58], [207, 59, 42], [211, 60, 40]]
    pixels = read_pixels(file)
    assert pixels.shape == (16, 16, 3)
    assert pixels[8, 4:11].tolist() == opencv
    monkeypatch.setitem(sys.modules, "PIL", None)  # not installed: as ITK reads it
    difference = np.abs(read_pixels(file)[8, 4:11].astype(int) - opencv)
    assert 0 < difference.max() < 10


def test_masks_hold_one_structure(tmp_path):
    assert read_mask(save(tmp_path / "a.png", np.array([[0, 255]], np.uint8))).tolist() == [[False, True]]
    assert read_mask(save(tmp_path / "b.png", np.array([[0, 1]], np.uint8))).tolist() == [[False, True]]
    with pytest.raises(VolumeError, match=r"holds the values \[0, 1, 2\]"):
        read_mask(save(tmp_path / "c.png", np.array([[0, 1, 2]], np.uint8)))
    with pytest.raises(VolumeError, match="cannot be read as an image"):
        read_mask(tmp_path / "none.png")


def test_photographs_that_are_turned_when_shown_teach_nothing(tmp_path):
    """Their masks were drawn on what the screen shows."""
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "photo.jpg", exif=exif)
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "mask.tif", exif=exif)
    with pytest.raises(VolumeError, match=r"photo\.jpg: its camera notes"):
        read_pixels(tmp_path / "photo.jpg")
    with pytest.raises(VolumeError, match=r"mask\.tif: its camera notes"):
        read_mask(tmp_path / "mask.tif")
