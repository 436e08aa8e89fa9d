"""Slices as they are looked at: which way is up, where pixels are, masks over them."""

import numpy as np
import pytest

from helpers import AXIS_MAPS, make_affine, stored_as
from sammed3d.core.geometry import Grid
from sammed3d.files.picture import Picture, PictureVolume
from sammed3d.files.volume import Volume
from sammed3d.slice_views import PLANES, PictureView, SliceView, outline

SHAPE, SPACING = (20, 24, 10), (1.0, 1.0, 3.0)
SPOT = (15, 4, 7)
"""A voxel to the right, at the back, near the top (R, A, S)."""


def one_bright_voxel():
    array = np.zeros(SHAPE, np.int16)
    array[SPOT] = 100
    return Volume(array, Grid(SHAPE, make_affine(SPACING)), "spot")


@pytest.mark.parametrize("axes", AXIS_MAPS)
@pytest.mark.parametrize("plane", PLANES)
def test_a_place_is_where_its_voxel_is_shown_however_the_volume_is_stored(axes, plane):
    volume = one_bright_voxel()
    stored = Volume(*stored_as(volume.array, volume.grid.index_to_world, axes), "stored")
    view = SliceView(stored, plane, edge=120, window=(0, 100))
    world = tuple(volume.grid.to_world(SPOT))
    number, x, y = view.place(world)
    assert number == SPOT[PLANES[plane]]
    shown = view.pixels(number)
    assert shown.shape == (view.size[1], view.size[0], 3)
    brightest = np.unravel_index(np.argmax(shown[..., 0]), shown.shape[:2])
    assert np.abs(np.subtract((brightest[1] + 0.5, brightest[0] + 0.5), (x, y))).max() <= 120 / 20
    assert view.world(number, x, y) == pytest.approx(world, abs=1e-6)
    assert np.array_equal(shown, SliceView(volume, plane, edge=120, window=(0, 100)).pixels(number))


def test_right_is_on_the_left_and_front_and_head_are_on_top():
    volume = one_bright_voxel()
    world = volume.grid.to_world(SPOT)
    across = {"axial": 100 * (1 - 15.5 / 20) * 20 / 24, "coronal": 100 * (1 - 15.5 / 20) * 20 / 30}
    _, x, y = SliceView(volume, "axial", edge=100).place(world)
    assert (x, y) == pytest.approx((across["axial"], 100 * (1 - 4.5 / 24)), rel=0.02)
    _, x, y = SliceView(volume, "coronal", edge=100).place(world)
    assert (x, y) == pytest.approx((across["coronal"], 100 * (1 - 7.5 / 10)), rel=0.02)
    _, x, y = SliceView(volume, "sagittal", edge=100).place(world)
    assert (x, y) == pytest.approx((100 * (1 - 4.5 / 24) * 24 / 30, 100 * (1 - 7.5 / 10)), rel=0.02)


def test_masks_are_tinted_with_an_outline_in_their_colour():
    volume = one_bright_voxel()
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:12, 4:12, 5] = 1
    view = SliceView(volume, "axial", edge=240, window=(0, 100))
    shown = view.pixels(5, [(mask, (1.0, 0.5, 0.0))])
    assert (np.unique(shown.reshape(-1, 3), axis=0) == [[0, 0, 0], [102, 51, 0], [255, 127, 0]]).all()
    assert (shown[..., 0] > 0).sum() == 80 * 80
    assert not view.pixels(4, [(mask, (1.0, 0.5, 0.0))])[..., 2].any()
    assert outline(np.ones((3, 3), bool)).sum() == 8


TOWARDS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
"""RAS."""
EDGES = (-1, 0), (1, 0), (0, 1), (0, -1)
"""Where the left, right, lower and upper edge lie, in pixels from the upper left."""


@pytest.mark.parametrize("axes", AXIS_MAPS)
@pytest.mark.parametrize("angles", [(0, 0, 0), (0.3, -0.5, 0.6)], ids=["straight", "oblique"])
@pytest.mark.parametrize("plane", PLANES)
def test_who_goes_to_a_side_of_the_patient_comes_nearer_to_the_edge_that_is_named_after_it(plane, angles, axes):
    affine = make_affine(SPACING, angles, (-20, 30, 40))
    volume = Volume(*stored_as(one_bright_voxel().array, affine, axes), "stored")
    view = SliceView(volume, plane, edge=120)
    middle = volume.grid.to_world((np.array(volume.grid.shape) - 1) / 2)
    start = np.array(view.place(middle)[1:])
    sides = view.sides()
    assert all(sides)
    for letters, edge in zip(sides, EDGES, strict=True):
        assert len(letters) == 1 or any(angles)
        for letter in letters:
            there = np.array(view.place(middle + np.array(TOWARDS[letter]))[1:])
            assert (there - start) @ edge > 0


def test_unturned_slices_have_the_letters_of_films():
    shown = {plane: "".join(SliceView(one_bright_voxel(), plane).sides()) for plane in PLANES}
    assert shown == {"axial": "RLPA", "coronal": "RLIS", "sagittal": "APIS"}


def test_a_picture_has_no_sides():
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[10:30] = 200
    volume = PictureVolume.of(Picture(pixels, Grid((90, 60, 1), np.diag([-1.0, -1.0, 1.0, 1.0]))))
    assert PictureView(volume, pixels).sides() == ("", "", "", "")
