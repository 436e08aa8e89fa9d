"""Headers of NRRD and MetaImage: what ITK passes over in them, and files that it cannot read, in words that help."""

import contextlib

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from sammed3d.core.geometry import Grid
from sammed3d.errors import VolumeError, VolumeWarning
from sammed3d.files import volume
from sammed3d.files.segment_reader import read_segments
from sammed3d.files.volume import Volume

VOXELS = np.random.default_rng(0).integers(-1000, 1000, (7, 8, 9), dtype=np.int16)
AXES = np.array([[0, -0.8, 0], [0, 0, 1.2], [3.0, 0, 0]])
"""Of each axis of the image, in RAS mm."""
ORIGIN = np.array([-5, 60, -70.0])


def written(path, space="right-anterior-superior", signs=(1, 1, 1), **fields):
    """Write VOXELS with a header of one's own; a field that is None is left out."""
    header = {"space": space, "space directions": AXES * signs, "space origin": ORIGIN * signs, **fields}
    nrrd.write(str(path), VOXELS, {key: value for key, value in header.items() if value is not None})
    return path


@pytest.mark.parametrize(("space", "signs"), [("right-anterior-superior", (1, 1, 1)), ("LPS", (-1, -1, 1))])
@pytest.mark.parametrize("fields", [{}, {"space units": ["mm", "mm", "mm"]}, {"encoding": "raw"}])
def test_spaces_that_tell_the_sides_need_no_word(tmp_path, space, signs, fields, recwarn):
    read = Volume.read(written(tmp_path / "ct.nrrd", space, signs, **fields))
    assert np.array_equal(read.array, VOXELS)
    assert np.allclose(read.grid.index_to_world[:3, :3], AXES.T)
    assert np.allclose(read.grid.index_to_world[:3, 3], ORIGIN)
    assert not recwarn.list


@pytest.mark.parametrize("space", ["left-anterior-superior", "LAS"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_axes_that_itk_takes_for_others_are_refused(tmp_path, space, mirrored, monkeypatch):
    """SimpleITK before 2.5.6 does so with these, in silence: anterior and posterior change places."""
    file = written(tmp_path / "ct.nrrd", space, (-1, 1, 1))
    right = np.eye(4)
    right[:3, :3], right[:3, 3] = AXES.T, ORIGIN
    itk = np.diag([1, -1 if mirrored else 1, 1, 1]) @ right
    monkeypatch.setattr(volume, "grid_of", lambda *_: Grid(VOXELS.shape, itk))
    if mirrored:
        with pytest.raises(VolumeError, match=rf"ct\.nrrd: its axes \({space}\) are taken for others .*Update it"):
            Volume.read(file)
    else:
        assert np.array_equal(Volume.read(file).array, VOXELS)


@pytest.mark.parametrize("space", ["left-anterior-superior", "LAS"])
def test_no_version_of_itk_mirrors_an_image(tmp_path, space):
    file = written(tmp_path / "ct.nrrd", space, (-1, 1, 1))
    with contextlib.suppress(VolumeError):
        assert np.allclose(Volume.read(file).grid.index_to_world[:3, :3], AXES.T)


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "3D-left-handed"])
def test_spaces_that_do_not_tell_the_sides_are_said(tmp_path, space):
    with pytest.warns(VolumeWarning, match=rf"ct\.nrrd: its header does not say which side .*\(space: {space}\)"):
        Volume.read(written(tmp_path / "ct.nrrd", space))


@pytest.mark.parametrize("spacings", [None, [0.8, np.nan, 3.0]])
def test_voxels_of_no_size_are_said(tmp_path, spacings):
    plain = {"space": None, "space directions": None, "space origin": None, "spacings": spacings}
    with pytest.warns(VolumeWarning) as said:
        Volume.read(written(tmp_path / "ct.nrrd", **plain))
    assert [str(each.message).partition(": ")[2].partition(" how")[0].partition(" which")[0] for each in said] == [
        "its header does not say"
    ] * 2
    assert "how large its voxels are" in str(said[0].message)


@pytest.mark.parametrize("unit", ["cm", "m", "um", "microns"])
def test_sizes_in_other_units_are_refused_not_taken_for_mm(tmp_path, unit):
    with pytest.raises(
        VolumeError, match=rf"ct\.nrrd: the sizes in its header are in {unit}, and would be taken for mm"
    ):
        Volume.read(written(tmp_path / "ct.nrrd", **{"space units": [unit] * 3}))
    plain = {"space": None, "space directions": None, "space origin": None, "spacings": [1.0, 1.0, 2.0]}
    with pytest.raises(VolumeError, match=rf"are in {unit}"):
        Volume.read(written(tmp_path / "ct.nrrd", **plain, units=[unit] * 3))


@pytest.mark.parametrize("read", [Volume.read, read_segments])
def test_voxels_compressed_by_bzip2_are_told(tmp_path, read):
    with pytest.raises(VolumeError, match=r"ct\.nrrd: its voxels are compressed by bzip2, which cannot be read"):
        read(written(tmp_path / "ct.nrrd", encoding="bzip2"))


def listed(folder, missing):
    """A header that names a file for each slice, one of which may be missing."""
    written(folder / "ct.nhdr", encoding="raw")
    lines = (folder / "ct.nhdr").read_text().split("\n\n")[0].splitlines()
    head = [line for line in lines if not line.startswith("data file")]
    for k in range(9):
        if k != missing:
            (folder / f"slice {k}.raw").write_bytes(VOXELS[:, :, k].tobytes(order="F"))
    (folder / "ct.nhdr").write_text("\n".join([*head, "data file: LIST", *(f"slice {k}.raw" for k in range(9)), ""]))
    return folder / "ct.nhdr"


def test_a_header_may_name_a_file_for_each_slice(tmp_path):
    assert np.array_equal(Volume.read(listed(tmp_path, None)).array, VOXELS)


def one_file(folder, _missing):
    written(folder / "ct.nhdr", encoding="raw")
    (folder / "ct.raw").rename(folder / "moved.raw")
    return folder / "ct.nhdr"


def meta_image(folder, _missing):
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(folder / "ct.mhd"))
    (folder / "ct.raw").unlink()
    return folder / "ct.mhd"


@pytest.mark.parametrize(("layout", "name"), [(listed, "slice 5.raw"), (one_file, "ct.raw"), (meta_image, "ct.raw")])
def test_a_missing_file_of_voxels_is_named(tmp_path, layout, name):
    with pytest.raises(VolumeError, match=rf"ct\.\w+: its voxels are in another file, {name}, which is missing"):
        Volume.read(layout(tmp_path, 5))


def test_a_header_whose_voxels_end_early_is_damaged_as_any_other_file(tmp_path):
    file = listed(tmp_path, None)
    (tmp_path / "slice 3.raw").write_bytes(b"short")
    with pytest.raises(VolumeError, match=r"ct\.nhdr: the file is damaged or incomplete"):
        Volume.read(file)
