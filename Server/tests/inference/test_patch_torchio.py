"""Patches against torchio, which the published code uses: Resample + ToCanonical + CropOrPad + ZNormalization."""

import warnings

import numpy as np
import pytest
import torch

from helpers import make_affine, phantom
from sammed3d.core.geometry import Box, Grid
from sammed3d.errors import VolumeError
from sammed3d.files.volume import Volume
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import cut_patch
from sammed3d.inference.preset import Preset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torchio

    from sammed3d.training.images import LabelMap, ScalarImage

CASES = {
    "ras 1 mm": ((90, 80, 70), make_affine((1, 1, 1))),
    "lps ct": ((100, 90, 40), make_affine((-0.8, -0.8, 3.0), origin=(120, 200, -300))),
    "coarse": ((40, 30, 50), make_affine((3.0, 3.0, 3.0), origin=(7, 8, 9))),
    "sagittal": ((30, 120, 110), make_affine((4.0, 0.9, 0.9))[:, [1, 2, 0, 3]]),
    "coronal flipped": ((100, 30, 90), make_affine((1.1, -5.0, -0.7))[:, [0, 2, 1, 3]][[0, 1, 2, 3]]),
    "oblique": ((80, 70, 60), make_affine((1.3, 0.9, 2.2), (0.4, -0.3, 0.2), (-50, 20, 900))),
    "oblique flipped": ((80, 70, 60), make_affine((-1.3, 0.9, -2.2), (-0.5, 0.2, 0.6), (10, -20, 30))),
    "high resolution": ((240, 250, 30), make_affine((0.3, 0.35, 6.0), (0.0, 0.1, 0.0))),
    "larger than the patch": ((150, 160, 140), make_affine((2.0, 1.7, 1.9), (0.1, 0.1, -0.1))),
    "one slice": ((80, 70, 1), make_affine((1.2, 1.2, 5.0))),
    "extent is a multiple of half a sample": ((61, 63, 65), make_affine((0.75, 0.75, 0.75))),
}


def by_torchio(array, affine, label):
    subject = torchio.Subject(
        image=ScalarImage(tensor=torch.from_numpy(array[None].astype(np.float32)), affine=affine),
        label=LabelMap(tensor=torch.from_numpy(label[None]), affine=affine),
    )
    pipeline = torchio.Compose(
        [
            torchio.Resample(1.5),
            torchio.ToCanonical(),
            torchio.CropOrPad(mask_name="label", target_shape=(128, 128, 128)),
            torchio.ZNormalization(masking_method=lambda x: x > 0),
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = pipeline(subject)
    return result.image.data[0].numpy(), result.image.affine


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("label_box", [((0.3, 0.4, 0.2), (0.6, 0.7, 0.6)), ((0.0, 0.8, 0.5), (0.15, 1.0, 0.9))])
@pytest.mark.slow
def test_patch_is_that_of_torchio_voxel_by_voxel(case, label_box):
    shape, affine = CASES[case]
    noise = np.random.default_rng(1).uniform(-5, 5, shape)
    array = (phantom(shape) - 60 + noise).astype(np.float32)  # some voxels are not above 0
    patch, expected, expected_affine = both_ways(array, affine, label_box)
    assert np.abs(patch.grid.index_to_world - expected_affine).max() < 1e-6
    assert np.abs(patch.voxels - expected).max() < 2e-5
    assert patch.voxels.flags.c_contiguous


@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_integer_patches_differ_by_interpolated_zeros_at_most(case):
    """Between whole numbers many voxels interpolate to exactly 0; by rounding, torchio takes some of them as above 0.

    That moves mean and deviation, and so all voxels alike, by less than 1e-3 of a deviation.
    """
    shape, affine = CASES[case]
    patch, expected, _ = both_ways(phantom(shape) - np.int16(60), affine, ((0.3, 0.4, 0.2), (0.6, 0.7, 0.6)))
    difference = patch.voxels - expected
    assert np.abs(difference).max() < 1e-3
    low, high = int(expected.argmin()), int(expected.argmax())  # the same straight line takes all voxels across
    slope = (patch.voxels.flat[high] - patch.voxels.flat[low]) / (expected.flat[high] - expected.flat[low])
    assert np.abs(patch.voxels - patch.voxels.flat[low] - slope * (expected - expected.flat[low])).max() < 2e-5


def both_ways(array, affine, label_box):
    label = np.zeros(array.shape, np.uint8)
    begin, end = (np.multiply(corner, array.shape).astype(int) for corner in label_box)
    end = np.maximum(end, begin + 1)
    label[begin[0] : end[0], begin[1] : end[1], begin[2] : end[2]] = 1
    expected, expected_affine = by_torchio(array, affine, label)
    volume = Volume(array, Grid(array.shape, affine))
    preset = Preset()
    lattice = Lattice(volume.grid, preset.spacing)
    window = lattice.window_around(lattice.box_of(label), preset.patch_shape)
    return cut_patch(volume, lattice, window, preset), expected, expected_affine


def test_windows_of_one_volume_hold_the_same_voxels_where_they_overlap():
    array = phantom((120, 110, 100))
    volume = Volume(array, Grid(array.shape, make_affine((2.1, 1.9, 2.3), (0.2, 0.1, 0.3))))
    preset = Preset(patch_shape=(64, 64, 64), low_res_shape=(16, 16, 16), normalisation="none")
    lattice = Lattice(volume.grid, preset.spacing)
    a = cut_patch(volume, lattice, Box((20, 20, 20), (84, 84, 84)), preset)
    b = cut_patch(volume, lattice, Box((40, 30, 20), (104, 94, 84)), preset)
    assert np.abs(a.voxels[20:, 10:, :] - b.voxels[:44, :54, :]).max() < 1e-3  # of values up to 1200


def test_cutting_first_gives_the_voxels_of_resampling_the_whole_volume():
    array = phantom((50, 40, 60))
    affine = make_affine((1.1, 2.3, 0.7), (0.3, -0.2, 0.1))
    whole = torchio.Resample(1.5)(ScalarImage(tensor=torch.from_numpy(array[None].astype(np.float32)), affine=affine))
    whole = torchio.ToCanonical()(whole)
    volume = Volume(array, Grid(array.shape, affine))
    lattice = Lattice(volume.grid, (1.5, 1.5, 1.5))
    assert lattice.shape == whole.spatial_shape
    assert np.abs(lattice.grid.index_to_world - whole.affine).max() < 1e-6
    preset = Preset(patch_shape=(9, 10, 11), normalisation="none")
    patch = cut_patch(volume, lattice, Box((4, 7, 3), (13, 17, 14)), preset)
    assert np.abs(patch.voxels - whole.data[0].numpy()[4:13, 7:17, 3:14]).max() < 1e-3


@pytest.mark.parametrize(
    ("low", "high", "size", "begin"),
    [(10, 20, 128, -49), (10, 21, 128, -49), (0, 1, 128, -64), (10, 20, 7, 11), (10, 21, 7, 12), (10, 20, 8, 11)],
)
def test_crop_or_pad_rule_for_odd_and_even_boxes(low, high, size, begin):
    lattice = Lattice(Grid((100, 100, 100), make_affine((1.5, 1.5, 1.5))), (1.5, 1.5, 1.5))
    window = lattice.window_around(Box((low,) * 3, (high,) * 3), (size,) * 3)
    assert window.begin == (begin,) * 3
    assert window.shape == (size,) * 3


def test_interactive_window_is_centred_on_the_click_and_stays_in_the_volume():
    lattice = Lattice(Grid((300, 200, 100), make_affine((1.5, 1.5, 1.5))), (1.5, 1.5, 1.5))
    window = lattice.window_at(lattice.grid.to_world((150, 10, 99)), (128, 128, 128))
    assert window == Box((86, 0, -14), (214, 128, 114))
    window = lattice.window_at(lattice.grid.to_world((299, 199, 0)), (128, 128, 128))
    assert window == Box((172, 72, -14), (300, 200, 114))


def test_normalisation_is_z_score_of_the_positive_voxels_with_unbiased_deviation():
    array = phantom((128, 128, 128)) - np.int16(100)
    volume = Volume(array, Grid(array.shape, make_affine((1.5, 1.5, 1.5))))
    lattice = Lattice(volume.grid, (1.5, 1.5, 1.5))
    patch = cut_patch(volume, lattice, Box((0, 0, 0), (128, 128, 128)), Preset())
    positive = array[array > 0].astype(np.float64)
    assert np.abs(patch.voxels - (array - positive.mean()) / positive.std(ddof=1)).max() < 1e-5


def test_presets_change_intensities_before_resampling():
    array = phantom((40, 40, 40))
    volume = Volume(array, Grid(array.shape, make_affine((1, 1, 1))))
    preset = Preset((1.0, 1.0, 1.0), (40, 40, 40), (10, 10, 10), clamp=(100, 300), rescale=True, normalisation="none")
    lattice = Lattice(volume.grid, preset.spacing)
    patch = cut_patch(volume, lattice, Box((0, 0, 0), (40, 40, 40)), preset)
    assert np.abs(patch.voxels - (np.clip(array, 100, 300) - 100) / 200).max() < 1e-6
    assert Preset.from_json(preset.to_json()) == preset


def test_a_patch_without_positive_voxels_is_refused_with_a_remedy():
    array = np.where(phantom((40, 40, 40)) > 500, -10, -20).astype(np.int16)
    volume = Volume(array, Grid(array.shape, make_affine((1, 1, 1))), "air.nii.gz")
    lattice = Lattice(volume.grid, (1.5, 1.5, 1.5))
    with pytest.raises(VolumeError, match=r"air.nii.gz.*Click inside the body"):
        cut_patch(volume, lattice, lattice.window_at((20, 20, 20), (128, 128, 128)), Preset())


def test_a_patch_is_named_by_its_voxels():
    volume = Volume(phantom((40, 40, 40)), Grid((40, 40, 40), make_affine((3, 3, 3))))
    lattice = Lattice(volume.grid, (1.5, 1.5, 1.5))
    window = Box((0, 0, 0), (128, 128, 128))
    first, again = (cut_patch(volume, lattice, window, Preset()) for _ in range(2))
    other = cut_patch(volume, lattice, window.shifted((1, 0, 0)), Preset())
    assert first.digest == again.digest != other.digest
    with pytest.raises(ValueError, match="read-only"):
        first.voxels[0, 0, 0] = 1
