"""One batch of SAM-Med2D's training: loss, gradients and steps as the published formulas give them."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from networks import TINY_2D, filled
from sammed3d.nets import build
from sammed3d.nets.sam_med2d import best_mask
from sammed3d.simulation.image_prompts import box_of, first_points, points_in_error
from sammed3d.training.losses import dice_ce_iou_loss, focal_dice_iou_loss
from sammed3d.training.sam_med2d.recipe import Recipe2d
from sammed3d.training.sam_med2d.step import learn, parts_that_learn

SIZE = 64


def published_loss(logits, targets, scores):
    """Focal loss (gamma 2, alpha 0.25, epsilon in the logarithm), Dice with a smoothing of 1, and the IoU's error."""
    p = 1 / (1 + torch.exp(-logits))
    inside = -0.25 * targets * (1 - p) ** 2 * torch.log(p + 1e-12)
    outside = -0.75 * (1 - targets) * p**2 * torch.log(1 - p + 1e-12)
    focal = (inside.sum() + outside.sum()) / targets.numel()
    dice = 1 - (2 * (p * targets).sum() + 1) / (p.sum() + targets.sum() + 1)
    iou = ((p * targets).sum() + 1e-7) / (p.sum() + targets.sum() - (p * targets).sum() + 1e-7)
    return 20 * focal + dice + ((iou - scores) ** 2).mean()


def test_the_loss_and_its_gradients_are_the_published_formulas():
    rng = torch.Generator().manual_seed(1)
    logits = (2 * torch.randn(3, 1, 9, 7, generator=rng, dtype=torch.float64)).requires_grad_()
    scores = torch.rand(3, 1, generator=rng, dtype=torch.float64).requires_grad_()
    targets = (torch.rand(3, 1, 9, 7, generator=rng) > 0.6).double()
    ours = focal_dice_iou_loss(logits, targets, scores)
    theirs = published_loss(logits, targets, scores)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    for a, b in zip(
        torch.autograd.grad(ours, (logits, scores)), torch.autograd.grad(theirs, (logits, scores)), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-10)
    far = torch.tensor([[[[200.0]]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(focal_dice_iou_loss(far, torch.zeros(1, 1, 1, 1), torch.ones(1, 1)), far)
    assert torch.isfinite(gradient).all(), "also where the published logarithm ends"


def test_the_loss_for_random_weights_counts_each_mask_and_compares_its_own_iou():
    targets = torch.zeros(2, 1, 4, 4)
    targets[0, 0, :2] = targets[1, 0, 0, 0] = 1  # a large and a small one
    sure = 40 * targets - 20
    exact = torch.ones(2, 1)
    assert dice_ce_iou_loss(sure, targets, exact).item() == pytest.approx(0, abs=1e-4)
    lost = sure.clone()
    lost[1] = -20
    missed = dice_ce_iou_loss(lost, targets, torch.tensor([[1.0], [0.0]]))
    assert missed.item() == pytest.approx(0.5 + 20 / 32, abs=1e-3), "Dice of one of two masks, and of 32 pixels one"
    assert dice_ce_iou_loss(lost, targets, exact).item() == pytest.approx(missed.item() + 0.5, abs=1e-5)
    hardly = (sure * 0.01).requires_grad_()  # the IoU is that of logits above 0, and teaches the estimate alone
    scores = torch.full((2, 1), 0.4, requires_grad=True)
    estimate, mask = (dice_ce_iou_loss(hardly, targets, each) for each in (scores, exact))
    assert estimate.item() == pytest.approx(mask.item() + 0.36, abs=1e-5)
    assert torch.autograd.grad(estimate, scores)[0].flatten().tolist() == pytest.approx([-0.6, -0.6])


@pytest.fixture(scope="module")
def network():
    """The class of SAM-Med2D, small, in float64."""
    return filled(build("sam_med2d", TINY_2D)).double()


@pytest.fixture(scope="module")
def batch():
    """Two images with three masks each."""
    rng = np.random.RandomState(3)
    y, x = np.mgrid[:SIZE, :SIZE]
    masks = np.stack([(y - rng.randint(20, 44)) ** 2 + (x - rng.randint(20, 44)) ** 2 < 90 for _ in range(6)])
    points = [first_points(mask, 1, rng) for mask in masks]
    image = rng.randint(0, 256, (2, 3, SIZE, SIZE)).astype(np.float64)
    image[1, :, :8] = -1
    return {
        "image": torch.from_numpy(image),
        "masks": torch.from_numpy(masks.reshape(2, 3, 1, SIZE, SIZE).astype(np.float64)),
        "boxes": torch.from_numpy(np.stack([box_of(mask, rng) for mask in masks])).view(2, 3, 4),
        "points": torch.from_numpy(np.stack([p for p, _ in points])).view(2, 3, 1, 2),
        "labels": torch.from_numpy(np.stack([n for _, n in points])).view(2, 3, 1),
    }


def gradients_of_each_step(network, batch, seed=5, learns="adapters", **changes):
    """Gradients by key after each backward pass, without steps of an optimizer in between."""
    network = copy.deepcopy(network)
    parts_that_learn(network, learns)
    found = []

    def step(loss):
        loss.backward()
        learned = {key: p.grad.clone() for key, p in network.named_parameters() if p.grad is not None}
        network.zero_grad()
        found.append((loss.item(), learned))

    learn(network, batch, Recipe2d.read(None, start="x", **changes), step, seed)
    return found


def published_first_step(network, batch, with_boxes):
    """The first step in the words of the published training, on parts of the network alone."""
    network = copy.deepcopy(network)
    for key, parameter in network.image_encoder.named_parameters():
        parameter.requires_grad = "Adapter" in key
    mean = torch.tensor([123.675, 116.28, 103.53], dtype=torch.float64).view(1, 3, 1, 1)
    deviation = torch.tensor([58.395, 57.12, 57.375], dtype=torch.float64).view(1, 3, 1, 1)
    image = (batch["image"] - mean) / deviation
    image[batch["image"] < 0] = 0
    embedding = network.image_encoder(image)
    repeated = torch.cat([each.repeat(3, 1, 1, 1) for each in embedding])
    if with_boxes:
        corners = batch["boxes"].reshape(6, 2, 2).double() + 0.5
        sparse = network.prompt_encoder.tokens(corners, torch.tensor([[2, 3]] * 6))
    else:
        coords = torch.cat([batch["points"].reshape(6, 1, 2) + 0.5, torch.zeros(6, 1, 2)], dim=1)
        labels = torch.cat([batch["labels"].reshape(6, 1), torch.full((6, 1), -1)], dim=1)
        sparse = network.prompt_encoder.tokens(coords.double(), labels)
    dense = network.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(6, -1, 4, 4)
    position = network.prompt_encoder.dense_position()
    logits, scores = network.mask_decoder(repeated, position, sparse, dense, multimask=True)
    best, index = scores.max(dim=1)
    low_res = torch.stack([logits[n : n + 1, i] for n, i in enumerate(index)])
    masks = functional.interpolate(low_res, (SIZE, SIZE), mode="bilinear", align_corners=False)
    loss = published_loss(masks, batch["masks"].flatten(0, 1), best[:, None])
    loss.backward()
    return loss.item(), {key: p.grad for key, p in network.named_parameters() if p.grad is not None}


def test_the_first_step_has_the_published_loss_and_gradients(network, batch):
    by_prompt = {with_boxes: published_first_step(network, batch, with_boxes) for with_boxes in (False, True)}
    seen = set()
    for seed in (0, 1, 2):
        loss, gradients = gradients_of_each_step(network, batch, seed, iterations=0)[0]
        with_boxes = abs(loss - by_prompt[True][0]) < abs(loss - by_prompt[False][0])
        seen.add(with_boxes)
        wanted_loss, wanted = by_prompt[with_boxes]
        assert loss == pytest.approx(wanted_loss, abs=1e-8)
        assert gradients.keys() == wanted.keys()
        for key, gradient in gradients.items():
            assert torch.allclose(gradient, wanted[key], atol=1e-8), key
    assert seen == {True, False}, "boxes and points, in turns of chance"
    assert {key.split(".")[0] for key in wanted} == {"image_encoder", "prompt_encoder", "mask_decoder"}
    assert all(".Adapter." in key for key in wanted if key.startswith("image_encoder"))


def test_further_steps_teach_the_decoder_alone(network, batch):
    steps = gradients_of_each_step(network, batch)
    assert len(steps) == 1 + 8
    for _, gradients in steps[1:]:
        assert {key.split(".")[0] for key in gradients} == {"mask_decoder"}


@pytest.mark.parametrize(
    ("learns", "wanted"),
    [("all", {True, False}), ("adapters", {True}), ("nothing", set())],
    ids=["all", "some", "none"],
)
def test_what_learns_of_the_encoder(network, batch, learns, wanted):
    _, gradients = gradients_of_each_step(network, batch, learns=learns, iterations=0)[0]
    assert {".Adapter." in key for key in gradients if key.startswith("image_encoder.")} == wanted


class Watched(torch.nn.Module):
    """A network whose prompts are written down."""

    def __init__(self, network):
        super().__init__()
        self.config, self.mask_decoder, self.encode = network.config, network.mask_decoder, network.encode
        self.inner, self.seen = network.prompt_encoder, []
        self.prompt_encoder, self.dense_position = self, network.prompt_encoder.dense_position

    def sparse(self, coords, labels, boxes):
        self.seen.append([coords, labels, boxes])
        return self.inner.sparse(coords, labels, boxes)

    def dense(self, mask, batch):
        self.seen[-1].append(mask)
        return self.inner.dense(mask, batch)


@pytest.mark.slow
def test_points_lie_in_the_error_and_two_passes_see_the_mask_alone(network, batch):
    truth = batch["masks"].flatten(0, 1)[:, 0] > 0
    middles = set()
    for seed in range(4):
        watched = Watched(network)
        with torch.no_grad():
            learn(watched, batch, Recipe2d.read(None, start="x"), lambda _loss: None, seed)
        first, *others = watched.seen
        assert first[3] is None
        silent = [n for n, seen in enumerate(others) if seen[0].shape[1] == 0]
        assert len(silent) == 2
        assert silent[1] == 7
        assert 1 <= silent[0] <= 6
        middles.add(silent[0])
        for coords, labels, boxes, mask in others:
            assert boxes is None
            assert mask.shape == (6, 1, SIZE // 4, SIZE // 4)
            assert 0 <= mask.min() <= mask.max() <= 1, "probabilities, not logits"
            assert coords.shape[1] in (0, 1, 3, 5, 9)
            predicted = functional.interpolate(torch.logit(mask), (SIZE, SIZE), mode="bilinear") > 0
            for n in range(6):
                for (x, y), label in zip(coords[n].long().tolist(), labels[n].tolist(), strict=True):
                    assert label == int(truth[n, y, x])
                    assert bool(predicted[n, 0, y, x]) != bool(truth[n, y, x])
    assert len(middles) > 1
    for seed in range(8):  # of three passes, the one between the first and the last
        watched = Watched(network)
        with torch.no_grad():
            learn(watched, batch, Recipe2d.read(None, start="x", iterations=3), lambda _loss: None, seed)
        assert [seen[0].shape[1] == 0 for seen in watched.seen[1:]] == [False, True, True]


# Prompts


def test_boxes_are_round_the_largest_part_and_shift_as_a_whole():
    mask = np.zeros((40, 50), bool)
    mask[10:30, 5:25] = True
    mask[30, 25] = True  # touches at a corner
    mask[35:38, 40:43] = True
    assert box_of(mask).tolist() == [5, 10, 26, 31]
    rng = np.random.RandomState(0)
    shifted = [(box_of(mask, rng) - [5, 10, 26, 31]).tolist() for _ in range(120)]
    assert {a for a, _, _, _ in shifted} == {b for _, b, _, _ in shifted} == set(range(-5, 5))
    assert all(a == c and b == d for a, b, c, d in shifted)
    tiny = np.zeros((9, 9), bool)
    tiny[4, 4] = True
    assert box_of(tiny, np.random.RandomState(0)).tolist() == [4, 4, 5, 5], "of one pixel: no shift"


def test_several_first_points_are_half_inside_and_half_outside():
    mask = np.zeros((20, 30), bool)
    mask[3:9, 20:28] = True
    coords, labels = first_points(mask, 9, np.random.RandomState(2))
    assert sorted(labels.tolist()) == [0] * 5 + [1] * 4
    assert [int(mask[int(y), int(x)]) for x, y in coords] == labels.tolist()


def test_without_an_error_there_are_no_points():
    mask = np.ones((8, 8), bool)
    coords, labels = points_in_error(mask, mask, 3, np.random.RandomState(0))
    assert coords.shape == (3, 2)
    assert labels.tolist() == [-1, -1, -1]


def test_masks_are_of_full_precision_where_the_network_is_not():
    """Probabilities near 0 and 1, and the loss of them, are beyond 8 bits."""
    network = filled(build("sam_med2d", TINY_2D))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        embedding = network.encode(torch.randn(1, 3, SIZE, SIZE))
        nothing, box = (torch.zeros(1, 0, 2), torch.zeros(1, 0)), torch.tensor([[8.0, 9.0, 40.0, 50.0]])
        answer = best_mask(network, embedding, *nothing, box, None)
        logits, _ = network.decode(embedding, *nothing, None, box)
    assert logits.dtype == torch.bfloat16
    assert (answer.logits.dtype, answer.low_res.dtype) == (torch.float32, torch.float32)
