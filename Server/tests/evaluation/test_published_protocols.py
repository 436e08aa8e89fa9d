"""What protocols report against transcriptions of the published code and against formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchio
from torch.nn import functional

from helpers import ThresholdPredictor, make_affine, small_volume
from networks import TINY_PRESET
from sammed3d.core.geometry import Box, Grid
from sammed3d.evaluation import metrics
from sammed3d.evaluation import run as measuring
from sammed3d.evaluation.protocols import PROTOCOLS, Step
from sammed3d.evaluation.results import Evaluation, Score
from sammed3d.inference.lattice import Lattice
from sammed3d.inference.patch import cut_patch
from sammed3d.inference.predictor import Prediction
from sammed3d.predictors.torch_predictor import TorchPredictor
from sammed3d.simulation.clicks import random_click
from sammed3d.training.images import LabelMap, ScalarImage

SHAPE = (40, 50, 30)


def ball(centre, radius):
    axes = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2


def test_the_current_protocol_is_the_published_loop(tiny_network):
    """Against a plain transcription: random clicks, all of them in each pass, and a mask back by nearest neighbours."""
    volume, truth = small_volume(SHAPE), ball((20, 25, 15), 7)
    predictor = TorchPredictor(tiny_network, TINY_PRESET, device="cpu", all_clicks=True)
    steps = list(PROTOCOLS["current"].steps(predictor, TINY_PRESET, volume, truth, 4, np.random.RandomState(5)))

    lattice = Lattice(volume.grid, TINY_PRESET.spacing)  # its samples are the volume's voxels, at 3 mm
    window = lattice.window_around(lattice.box_of(truth), TINY_PRESET.patch_shape)
    patch = torch.tensor(cut_patch(volume, lattice, window, TINY_PRESET).voxels)[None, None]
    inner = tuple(slice(-b, -b + n) for b, n in zip(window.begin, SHAPE, strict=True))
    inside = np.zeros(window.shape, bool)
    inside[inner] = truth
    rng, mask = np.random.RandomState(5), np.zeros(inside.shape, bool)
    low, coords, labels = torch.zeros(1, 1, 16, 16, 16), [], []
    with torch.no_grad():
        embedding = tiny_network.encode(patch)
        for step in steps:
            voxel, positive = random_click(mask, inside, rng)
            coords.append(voxel)
            labels.append(int(positive))
            shown = torch.tensor([coords], dtype=torch.float32), torch.tensor([labels])
            low = tiny_network.decode(embedding, *shown, low)[0]
            mask = functional.interpolate(low, size=inside.shape, mode="trilinear")[0, 0].sigmoid().numpy() > 0.5
            assert (step.mask != mask[inner]).mean() < 1e-4
            assert np.array_equal(step.truth, truth)
            assert step.spacing == pytest.approx((3, 3, 3))
    assert len({step.mask.tobytes() for step in steps}) > 1


def test_a_click_without_an_error_is_a_positive_one_in_the_structure():
    volume, truth = small_volume(SHAPE), ball((20, 25, 15), 7)
    lattice = Lattice(volume.grid, TINY_PRESET.spacing)
    window = lattice.window_around(lattice.box_of(truth), TINY_PRESET.patch_shape)
    asked = []

    class Perfect(ThresholdPredictor):
        def predict(self, patch, prompts, cancellation=None):
            asked.append(prompts.clicks[-1])
            inside = np.zeros(window.shape, np.float32)
            inside[tuple(slice(-b, -b + n) for b, n in zip(window.begin, SHAPE, strict=True))] = truth
            return Prediction(8 * inside - 4, None, {})

    steps = PROTOCOLS["current"].steps(Perfect(), TINY_PRESET, volume, truth, 4, np.random.RandomState(1))
    assert all(np.array_equal(step.mask != 0, truth) for step in steps)
    assert [click.positive for click in asked] == [True] * 4
    voxels = [tuple(int(v) + b for v, b in zip(click.voxel, window.begin, strict=True)) for click in asked]
    assert all(truth[voxel] for voxel in voxels)
    assert len(set(voxels)) == 4


def test_overlaps_are_their_formulas_whatever_stands_for_inside():
    rng = np.random.default_rng(0)
    mask, truth = rng.random((7, 8, 9)) > 0.6, rng.random((7, 8, 9)) > 0.3
    both, either = np.logical_and(mask, truth).sum(), np.logical_or(mask, truth).sum()
    for a in (mask, mask.astype(np.uint8) * 255, mask.astype(np.float32) * 0.1):
        assert metrics.dice(a, truth) == pytest.approx(2 * both / (mask.sum() + truth.sum()))
        assert metrics.iou(a, truth) == pytest.approx(both / either)
        assert metrics.volume_error(a, truth) == pytest.approx(mask.sum() / truth.sum() - 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_surface_score_is_in_mm_along_each_axis_and_weighs_surfaces_by_area(axis):
    """A block shifted along an axis by two voxels: its two faces there are as far away as those are long."""
    spacing, size = np.array([0.7, 1.5, 3.0]), np.array([24, 30, 18])
    truth, sides = np.zeros((40, 40, 40), bool), spacing * size
    truth[tuple(slice(5, 5 + n) for n in size)] = True
    areas = sides.prod() / sides
    share = 1 - areas[axis] / areas.sum()
    found = np.roll(truth, 2, axis)
    for tolerance, expected in ((1.9 * spacing[axis], share), (2.1 * spacing[axis], 1.0)):
        for one, other in ((found, truth), (truth, found)):
            assert metrics.nsd(one, other, spacing.tolist(), tolerance) == pytest.approx(expected, abs=0.06)


def test_the_surface_score_has_a_tolerance_of_2_mm_and_counts_from_a_dice_of_a_fifth(monkeypatch):
    asked = []
    monkeypatch.setattr(metrics, "nsd", lambda *arguments: asked.append(arguments[2:]) or 0.7)

    def surface(share):
        mask, truth = np.zeros((10, 10, 10), bool), np.zeros((10, 10, 10), bool)
        truth[:, :, 0] = True
        mask[:, :share, 0] = mask[:, share:, 1] = True  # as large, and so much of it right
        step = Step(mask, truth, (1.0, 2.0, 3.0))
        return measuring._score(step, "c", "s", 1.0, "m", 1).nsd  # noqa: SLF001 - what `evaluate` makes of a step

    assert [surface(share) for share in (1, 2, 3)] == [0, 0, 0.7]
    assert asked == [((1.0, 2.0, 3.0), 2.0)]


def test_the_best_of_all_clicks_is_the_mean_of_each_structures_maximum():
    done = Evaluation("m", PROTOCOLS["classic"], 1)
    first = Score("c", "liver", 1.0, "m", 1, 0.5, 0.4, 0.3, 0.2)
    for structure, curve in (("liver", (0.5, 0.9, 0.4)), ("spleen", (0.2, 0.1, 0.3)), ("aorta", (0.8, 0.8, 0.2))):
        done.scores += [replace(first, structure=structure, click=n, dice=d) for n, d in enumerate(curve, 1)]
    table = done.summary()["methods"]["m"]
    assert table["best_of_clicks"] == pytest.approx((0.9 + 0.3 + 0.8) / 3), "not the best mean, which is 0.6"
    assert table["dice"] == pytest.approx({"1": 0.5, "2": 0.6, "3": 0.3})
    assert done.curve("m") == pytest.approx([0.5, 0.6, 0.3]), "means, not medians"


def test_labels_go_to_the_nearest_voxel_as_itk_takes_it():
    """Halfway between two voxels it is the upper one, in the file's order."""
    lattice = Lattice(Grid((8, 8, 8), make_affine((1.0, 1.0, 1.0))), (2.0, 2.0, 2.0))  # samples at 0.5, 2.5, ...
    labels = np.arange(8, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    assert lattice.sample_nearest(labels)[:, 0, 0].tolist() == [1, 3, 5, 7]
    fine = Lattice(Grid((4, 4, 4), make_affine((3.0, 3.0, 3.0))), (1.5, 1.5, 1.5))  # voxels at samples 0.5, 2.5, ...
    samples = np.arange(8, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    back = fine.spread_nearest(Box((0, 0, 0), (8, 8, 8)), samples)
    assert back[:, 0, 0].tolist() == [1, 3, 5, 7]
    wanted = torchio.Resample(
        ScalarImage(tensor=torch.zeros(1, 4, 4, 4), affine=fine.source.index_to_world),
        image_interpolation="nearest",
    )(LabelMap(tensor=torch.from_numpy(samples)[None], affine=fine.grid.index_to_world))
    assert (back == wanted.numpy()[0]).all()
