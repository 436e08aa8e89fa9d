"""Slices as 2-D models see them, and masks painted back from them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import AXIS_MAPS, make_affine, phantom, stored_as
from sammed3d.core.geometry import Grid
from sammed3d.files.volume import Volume
from sammed3d.inference.preset import Preset
from sammed3d.inference.slices import OUTSIDE, Slices, nearest_pixels

RESIZED = Preset(patch_shape=(64, 64, 1), low_res_shape=(16, 16, 1), normalisation="grey", fit="resize", boxes=True)
PADDED = Preset(patch_shape=(64, 64, 1), low_res_shape=(16, 16, 1), normalisation="grey", fit="pad")


@pytest.mark.parametrize(
    ("spacing", "axis"), [((1, 1, 5), 2), ((4, 1, 1), 0), ((1, 3, 1), 1), ((1, 1, 1), 2), ((1.1, 1, 1), 2)]
)
def test_slices_are_those_that_were_acquired_and_axial_where_that_is_not_clear(spacing, axis):
    assert Slices(Grid((20, 30, 40), make_affine(spacing)), RESIZED).axis == axis


def test_a_single_slice_is_one_whatever_its_thickness():
    assert Slices(Grid((1, 30, 40), make_affine((0.5, 1, 1))), RESIZED).axis == 0
    assert Slices(Grid((20, 30, 1), make_affine((0.5, 3, 1))), RESIZED).axis == 2


def test_a_slice_is_resized_by_nearest_pixels_and_shown_like_on_a_light_box():
    array = phantom((30, 40, 5))
    volume = Volume(array, Grid((30, 40, 5), make_affine((1, 1, 4))), "v")
    patch = Slices(volume.grid, RESIZED).cut(volume, 3)
    assert patch.voxels.shape == (64, 64, 1)
    shown = array[::-1, ::-1, 3].astype(np.float64)  # columns to the left of the patient, rows to the back
    grey = (shown - shown.min()) / (shown.max() - shown.min()) * 255
    nearest = grey[np.floor(np.arange(64) * 30 / 64).astype(int)][:, np.floor(np.arange(64) * 40 / 64).astype(int)]
    assert np.allclose(patch.voxels[..., 0], nearest, atol=1e-3)
    assert patch.window.begin == (0, 0, 3)
    assert patch.window.shape == (30, 40, 1)


@pytest.mark.parametrize(
    ("size", "places", "taken"),
    [
        (186, [127, 128, 129], [92, 92, 93]),
        (420, [64, 128, 192], [104, 209, 314]),
        (840, [32, 64, 96, 128, 160, 192, 224], [104, 209, 314, 419, 524, 629, 734]),
        (300, [64, 128, 255], [75, 150, 298]),
        (512, [1, 128, 255], [2, 256, 510]),
    ],
)
def test_the_nearest_pixels_are_those_of_opencv(size, places, taken):
    """The numbers are what `cv2.resize` of OpenCV 4.10 and 5.0 takes, which the published code calls."""
    pixels = nearest_pixels(size, 256)
    assert pixels[places].tolist() == taken
    assert np.abs(pixels - np.arange(256) * size // 256).max() <= 1
    assert nearest_pixels(size, size).tolist() == list(range(size))


def test_small_slices_are_padded_where_the_preset_says_so():
    volume = Volume(phantom((31, 40, 5)), Grid((31, 40, 5), make_affine((1, 1, 4))), "v")
    slices = Slices(volume.grid, PADDED)
    voxels = slices.cut(volume, 0).voxels[..., 0]
    inside = np.zeros((64, 64), bool)
    inside[16 : 16 + 31, 12 : 12 + 40] = True
    assert (voxels[~inside] == OUTSIDE).all()
    assert voxels[inside].min() == 0
    assert voxels[inside].max() == pytest.approx(255)
    assert slices.place((0.0, 0.0, 8.0)) == (2, (16 + 30, 12 + 39))
    large = Volume(phantom((70, 40, 5)), Grid((70, 40, 5), make_affine((1, 1, 4))), "v")
    assert (Slices(large.grid, PADDED).cut(large, 0).voxels >= 0).all(), "large slices are resized"
    as_wide = Volume(phantom((64, 40, 5)), Grid((64, 40, 5), make_affine((1, 1, 4))), "v")
    assert (Slices(as_wide.grid, PADDED).cut(as_wide, 0).voxels >= 0).all(), "so are those as large along one axis"
    assert (slices.prompt_of(np.ones((31, 40), np.uint8), 6.9)[:4] == np.float32(-6.9)).all(), "nothing lies beside it"


@given(st.sampled_from(AXIS_MAPS), st.sampled_from([RESIZED, PADDED]), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_a_slice_is_the_same_however_the_volume_is_stored(axes, preset, coarse):
    spacing = [1.0, 1.0, 1.0]
    spacing[coarse] = 4.0
    array, affine = phantom((25, 33, 41)), make_affine(spacing)
    plain = Volume(array, Grid(array.shape, affine), "v")
    stored, grid = stored_as(array, affine, axes)
    other = Volume(np.asfortranarray(stored), grid, "v")
    world = (10.0 * spacing[0], 12.0 * spacing[1], 20.0 * spacing[2])
    one, two = Slices(plain.grid, preset), Slices(grid, preset)
    (n, place), (m, same_place) = one.place(world), two.place(world)
    assert np.allclose(place, same_place)
    patch, same_patch = one.cut(plain, n), two.cut(other, m)
    assert np.array_equal(patch.voxels, same_patch.voxels)
    assert np.allclose(patch.grid.index_to_world[:3, 3], same_patch.grid.index_to_world[:3, 3])
    low_res = np.random.default_rng(0).normal(size=preset.low_res_shape).astype(np.float32)
    for slices, volume, number in ((one, plain, n), (two, other, m)):
        mask = np.zeros(volume.grid.shape, np.uint8)
        mask[slices.box(number).slices] = np.expand_dims(slices.paint(low_res), slices.axis)
        if volume is plain:
            expected = mask
        else:
            assert np.array_equal(axes.undo(mask), expected)


@pytest.mark.parametrize("preset", [RESIZED, PADDED])
def test_a_click_lands_on_the_pixel_that_was_clicked(preset):
    """The pixel of the image that a click names shows the voxel that was clicked."""
    array = np.zeros((32, 32, 4), np.int16)
    array[7, 20, 2] = 100
    array[8, 20, 2] = -1
    volume = Volume(array, Grid(array.shape, make_affine((2, 2, 5))), "v")
    slices = Slices(volume.grid, preset)
    number, (column, row) = slices.place((14.0, 40.0, 10.0))
    assert number == 2
    voxels = slices.cut(volume, number).voxels[..., 0]
    assert voxels[int(column), int(row)] == pytest.approx(255)
    world = slices.cut(volume, number).grid.to_world((column, row, 0))
    assert np.abs(world - (14, 40, 10)).max() <= 1


@pytest.mark.parametrize("preset", [RESIZED, PADDED])
def test_masks_go_to_prompts_and_back(preset):
    grid = Grid((48, 40, 3), make_affine((1, 1, 4)))
    slices = Slices(grid, preset)
    mask = np.zeros((48, 40), np.uint8)
    mask[8:32, 12:28] = 1
    low_res = slices.prompt_of(mask, 6.9)
    assert low_res.shape == (16, 16, 1)
    assert np.abs(low_res).max() == pytest.approx(6.9)
    again = slices.paint(low_res)
    assert 2 * (again & mask).sum() / (again.sum() + mask.sum()) > 0.9
    box = slices.bounds(low_res)
    _, (right, bottom) = slices.place((8.0, 12.0, 4.0))  # columns and rows run against R and A
    assert np.abs(np.array(box.end) - (right, bottom, 0)).max() < 4
    assert slices.bounds(np.full((16, 16, 1), -1, np.float32)) is None
    assert slices.paint(np.full((16, 16, 1), 0.01, np.float32)).all(), "what is above 0 is inside"
    assert not slices.paint(np.zeros((16, 16, 1), np.float32)).any()
