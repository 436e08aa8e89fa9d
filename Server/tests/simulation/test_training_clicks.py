"""How likely simulated users click where during training: by depth, in what is wrong."""

import pytest
import torch
from torch.nn import functional

from sammed3d.simulation import training_clicks
from sammed3d.simulation.training_clicks import first_clicks, next_clicks

GENERATOR = torch.Generator()


@pytest.fixture
def weighed(monkeypatch):
    """By what voxels are drawn."""
    seen, pick = [], training_clicks._pick  # noqa: SLF001

    def noted(weights, generator, count):
        seen.append(weights)
        return pick(weights, generator, count)

    monkeypatch.setattr(training_clicks, "_pick", noted)
    return seen


def depth(masks):
    """The mean share of a mask in cubes of 3, 7 and 13 voxels round each voxel."""
    return sum(functional.avg_pool3d(masks.double(), edge, 1, edge // 2) for edge in (3, 7, 13)) / 3


def test_clicks_are_drawn_by_depth_and_later_ones_where_the_answer_is_wrong(weighed):
    targets = torch.zeros(2, 1, 18, 18, 18)
    targets[0, 0, 2:12, 3:10, 4:15] = targets[1, 0, 6:9, 6:9, 6:9] = 1
    logits = torch.full_like(targets, -0.3)
    logits[:, :, 5:14] = 0.3  # inside, though not above a half
    first_clicks(targets, GENERATOR)
    next_clicks(logits, targets, GENERATOR, count=3)
    there = torch.zeros_like(targets)
    there[:, :, :7] = 1
    next_clicks(logits, targets, GENERATOR, where=there)
    first, wrong, wrong_there = (each.double() for each in weighed)
    assert torch.allclose(first, targets * (0.02 + depth(targets) ** 2), atol=1e-6)
    errors = ((logits > 0) != (targets > 0)).float()
    assert 0 < errors.sum() < errors.numel()
    assert torch.allclose(wrong, errors * depth(errors) ** 4, atol=1e-6)
    assert torch.allclose(wrong_there, errors * there * depth(errors * there) ** 4, atol=1e-6)
    next_clicks(2 * targets - 1, targets, GENERATOR)
    assert torch.allclose(weighed[-1].double(), targets * depth(targets) ** 4, atol=1e-6), "without an error, inside"


def test_voxels_are_drawn_as_often_as_they_weigh():
    weights = torch.zeros(1, 1, 4, 4, 4)
    weights[0, 0, 1, 2, 3], weights[0, 0, 3, 0, 1] = 3.0, 1.0
    drawn = training_clicks._pick(weights, torch.Generator().manual_seed(0), 4000)[0]  # noqa: SLF001
    voxels, counts = drawn.unique(dim=0, return_counts=True)
    assert voxels.tolist() == [[1, 2, 3], [3, 0, 1]]
    assert counts[0] / 4000 == pytest.approx(0.75, abs=0.03)
