from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicerio

from helpers import make_affine, write_image
from sammed3d.core.geometry import Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.errors import VolumeError
from sammed3d.files.segment_reader import read_segments
from sammed3d.files.segmentation import Segment, read_mask, write_segments
from sammed3d.files.volume import Volume

GRID = Grid((20, 22, 24), make_affine((-0.8, 1.1, 2.5), (0.2, -0.1, 0.3), (10, 20, 30)))


def ball(centre, radius=5):
    distance = np.linalg.norm(np.stack(np.indices(GRID.shape), -1) - np.array(centre), axis=-1)
    return (distance < radius).astype(np.uint8)


def segment(name, mask, color=(1.0, 0.5, 0.0)):
    return Segment(name, BoxedMask.of(mask), color)


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz", "m.nrrd", "m.mha", "m.mhd", "m.nhdr"])
def test_label_maps_keep_voxels_and_geometry(tmp_path, name):
    one, two = ball((6, 7, 8)), ball((14, 14, 16), 4)
    write_segments(tmp_path / name, [segment("a", one), segment("b", two)], GRID)
    volume = Volume.read(tmp_path / name)
    assert volume.array.dtype == np.uint8
    assert np.array_equal(volume.array, one + 2 * two)
    assert volume.grid.matches(GRID)
    assert not [p for p in tmp_path.iterdir() if "writing" in p.name]


@pytest.mark.parametrize("name", ["m.mhd", "m.nhdr"])
def test_a_header_and_its_voxels_stay_as_they_were_where_others_cannot_be_written(tmp_path, monkeypatch, name):
    write_segments(tmp_path / name, [segment("a", ball((6, 7, 8)))], GRID)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(before) == 2

    def full(_image, file, **_options):
        Path(file).write_bytes(b"half")
        raise RuntimeError("ITK ERROR: no space left")

    monkeypatch.setattr(sitk, "WriteImage", full)
    with pytest.raises(VolumeError, match=r"m\.\w+: cannot be written\. Check .* free space"):
        write_segments(tmp_path / name, [segment("a", ball((14, 14, 16), 4))], GRID)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_seg_nrrd_is_what_slicer_tools_expect(tmp_path):
    liver, spleen, overlapping = ball((6, 7, 8)), ball((14, 14, 16), 4), ball((8, 7, 8))
    segments = [
        segment("Liver", liver, (0.8, 0.4, 0.3)),
        segment("Spleen", spleen),
        segment("Lesion", overlapping),
        Segment("Empty", None),
    ]
    write_segments(tmp_path / "x.seg.nrrd", segments, GRID)
    read = slicerio.read_segmentation(str(tmp_path / "x.seg.nrrd"))
    assert [s["name"] for s in read["segments"]] == ["Liver", "Spleen", "Lesion", "Empty"]
    assert np.allclose(read["segments"][0]["color"], (0.8, 0.4, 0.3))
    assert read["segments"][0]["terminology"]["type"][2] == "Tissue"
    voxels = read["voxels"]
    assert voxels.ndim == 4, "overlapping segments need a second layer"
    for s, mask in zip(read["segments"], (liver, spleen, overlapping, np.zeros_like(liver)), strict=True):
        assert np.array_equal(voxels[s["layer"]] == s["labelValue"], mask > 0), s["name"]
    lps = np.diag([-1, -1, 1, 1]) @ GRID.index_to_world
    assert np.abs(read["ijkToLPS"] - lps).max() < 1e-6


def test_names_are_stored_as_utf8(tmp_path):
    write_segments(tmp_path / "x.seg.nrrd", [segment("Lésion 肝", ball((6, 7, 8)))], GRID)
    assert "Segment0_Name:=Lésion 肝\n".encode() in (tmp_path / "x.seg.nrrd").read_bytes()


def test_a_name_that_is_no_text_costs_no_segment(tmp_path):
    """As where a terminal of another encoding gave it."""
    write_segments(tmp_path / "m.seg.nrrd", [segment("Nier\udce9\0x", ball((6, 7, 8)))], GRID)
    [found] = read_segments(tmp_path / "m.seg.nrrd")[1].values()
    assert found.name == "Nier??x"


@pytest.mark.parametrize("name", ["kinds: vector ", "two\n\nlines", "a:=b", "back\\nslash", " # ", "", "|"])
def test_whatever_names_hold_they_and_their_layers_survive(tmp_path, name):
    one, two = ball((6, 7, 8)), ball((8, 7, 8))
    write_segments(tmp_path / "m.seg.nrrd", [segment(name, one), segment(name * 2, two)], GRID)
    grid, found = read_segments(tmp_path / "m.seg.nrrd")
    assert grid.matches(GRID)
    assert [each.name for each in found.values()] == [name, name * 2]
    for each, mask in zip(found.values(), (one, two), strict=True):
        assert np.array_equal(each.mask.full(GRID.shape), mask)


def test_a_colour_image_is_no_segmentation(tmp_path):
    colours = sitk.GetImageFromArray(np.stack([ball((6, 7, 8)).T] * 3, axis=-1), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / "m.nrrd"))
    with pytest.raises(VolumeError, match=r"m\.nrrd: every voxel has 3 values .* describes no segments"):
        read_segments(tmp_path / "m.nrrd")


@pytest.mark.parametrize("overlapping", [False, True])
def test_segmentations_in_another_unit_are_refused_as_images_are(tmp_path, overlapping):
    segments = [segment("a", ball((6, 7, 8))), segment("b", ball((8, 7, 8) if overlapping else (14, 14, 16), 4))]
    write_segments(tmp_path / "m.seg.nrrd", segments, GRID)
    header, data = (tmp_path / "m.seg.nrrd").read_bytes().split(b"\n\n", 1)
    units = b'space units: "cm" "cm" "cm"\nspace origin'
    (tmp_path / "m.seg.nrrd").write_bytes(header.replace(b"space origin", units, 1) + b"\n\n" + data)
    with pytest.raises(VolumeError, match=r"m\.seg\.nrrd: the sizes in its header are in cm, .*taken for mm"):
        read_segments(tmp_path / "m.seg.nrrd")


def test_segments_that_do_not_overlap_share_one_layer(tmp_path):
    write_segments(tmp_path / "x.seg.nrrd", [segment("a", ball((6, 7, 8))), segment("b", ball((14, 14, 16), 4))], GRID)
    assert slicerio.read_segmentation(str(tmp_path / "x.seg.nrrd"))["voxels"].shape == GRID.shape


def test_overlap_in_a_label_map_is_refused_and_nothing_is_written(tmp_path):
    (tmp_path / "x.nii.gz").write_bytes(b"precious")
    with pytest.raises(VolumeError, match=r"x\.nii\.gz: some objects overlap.*Save as \.seg\.nrrd"):
        write_segments(tmp_path / "x.nii.gz", [segment("a", ball((6, 7, 8))), segment("b", ball((8, 7, 8)))], GRID)
    assert (tmp_path / "x.nii.gz").read_bytes() == b"precious"


def test_bad_places_and_suffixes_are_named(tmp_path):
    with pytest.raises(VolumeError, match=r"x\.png: unknown format. Use .seg.nrrd"):
        write_segments(tmp_path / "x.png", [], GRID)
    with pytest.raises(VolumeError, match="the folder does not exist"):
        write_segments(tmp_path / "no" / "x.nrrd", [], GRID)
    (tmp_path / "taken.nrrd").mkdir()
    with pytest.raises(VolumeError, match=r"taken\.nrrd: cannot be written"):
        write_segments(tmp_path / "taken.nrrd", [], GRID)
    assert [p.name for p in tmp_path.iterdir()] == ["taken.nrrd"]


def test_sheared_grids_cannot_be_written_as_images(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.5
    with pytest.raises(VolumeError, match="sheared"):
        write_segments(tmp_path / "x.nrrd", [], Grid((4, 4, 4), affine))


def test_masks_are_read_on_their_grid_only(tmp_path):
    mask = ball((6, 7, 8)) * 3
    write_segments(tmp_path / "m.nrrd", [segment("a", mask)], GRID)
    assert np.array_equal(read_mask(tmp_path / "m.nrrd", GRID), mask > 0)
    other = Grid((20, 22, 25), GRID.index_to_world)
    with pytest.raises(
        VolumeError, match=r"m\.nrrd: this mask's grid \(20 x 22 x 24 .*is not the volume's \(20 x 22 x 25"
    ):
        read_mask(tmp_path / "m.nrrd", other)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.arange(np.prod(GRID.shape), dtype=np.int16) % 3 - 1000, id="CT"),
        pytest.param(np.arange(np.prod(GRID.shape), dtype=np.int16) % 2000, id="MR"),
        pytest.param(np.linspace(0, 1, np.prod(GRID.shape), dtype=np.float32), id="probabilities"),
    ],
)
def test_images_are_no_masks(tmp_path, values):
    write_image(tmp_path / "ct.nrrd", values.reshape(GRID.shape), GRID.index_to_world)
    with pytest.raises(VolumeError, match=r"ct\.nrrd: holds an image rather than a mask"):
        read_mask(tmp_path / "ct.nrrd", GRID)


def test_empty_masks_are_masks(tmp_path):
    write_segments(tmp_path / "m.nrrd", [Segment("a", None)], GRID)
    assert not read_mask(tmp_path / "m.nrrd", GRID).any()


@pytest.mark.slow
def test_many_segments_need_wider_labels(tmp_path):
    segments = [segment(f"s{n}", (np.arange(np.prod(GRID.shape)) == n).reshape(GRID.shape)) for n in range(300)]
    write_segments(tmp_path / "m.nrrd", segments, GRID)
    image = sitk.ReadImage(str(tmp_path / "m.nrrd"))
    assert sitk.GetArrayViewFromImage(image).max() == 300
    write_segments(tmp_path / "m.seg.nrrd", segments, GRID)
    assert len(slicerio.read_segmentation(str(tmp_path / "m.seg.nrrd"))["segments"]) == 300


def test_voxels_without_a_value_are_outside_of_a_mask(tmp_path):
    values = np.where(ball((6, 7, 8)) > 0, 1, np.nan).astype(np.float32)
    write_image(tmp_path / "mask.nrrd", values, GRID.index_to_world)
    assert (read_mask(tmp_path / "mask.nrrd", GRID) == ball((6, 7, 8))).all()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"Segment1_ID": "Segment_1"}, "two of them have one ID"),
        ({"Segment1_Layer": "2"}, "one lies in a layer that is none of the 2 that there are"),
        ({"Segment1_Layer": "-1"}, "one lies in a layer that is none of the 2 that there are"),
        ({"Segment1_LabelValue": "0"}, "one has the value 0, which is that of the background"),
    ],
)
def test_a_description_that_would_lose_or_exchange_a_segment_is_refused(tmp_path, change, why):
    path = tmp_path / "organs.seg.nrrd"
    write_segments(path, [segment("a", ball((6, 7, 8))), segment("b", ball((8, 7, 8)))], GRID)
    assert [each.name for each in read_segments(path)[1].values()] == ["a", "b"]
    image = sitk.ReadImage(str(path))
    for key, value in change.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path))
    with pytest.raises(VolumeError, match=rf"what it says of its segments is damaged \({why}\)"):
        read_segments(path)
