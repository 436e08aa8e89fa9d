"""2-D models on lists of images, with boxes and points, as SAM-Med2D's test measures them."""

import csv
import functools
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from numpy.random import RandomState
from torch.nn import functional
from typer.testing import CliRunner

from clusters import needs_ray
from sammed3d.cli.app import app
from sammed3d.errors import ModelError, VolumeError
from sammed3d.evaluation import metrics
from sammed3d.evaluation.apart import DIED, Workers
from sammed3d.evaluation.images import ImageEvaluation, evaluate_images, evaluate_images_apart, read_prompts
from sammed3d.files.image_lists import TEST, ListedImage, read_list, read_mask, read_pixels, write_lists
from sammed3d.inference.images import ImageFrame
from sammed3d.nets.slicewise import PIXEL_MEAN, PIXEL_STD
from sammed3d.simulation.image_prompts import first_points
from sammed3d.zoo.load import load_model

runner = CliRunner()


def disc(shape, row, column, radius):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (y - row) ** 2 + (x - column) ** 2 < radius**2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small image of odd size, a large one, and one as wide as the input, with two structures each."""
    folder = tmp_path_factory.mktemp("lists") / "data_demo"
    listed = []
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for n, shape in enumerate([(41, 51), (90, 110), (30, 64)]):
        masks = {"liver": disc(shape, 15, 20, 9), "spleen": disc(shape, 18, 40, 6)}
        pixels = RandomState(n).randint(0, 90, shape) + 100 * sum(masks.values())
        image = folder / "images" / f"ct_{n}.png"
        sitk.WriteImage(sitk.GetImageFromArray(pixels.astype(np.uint8)), str(image))
        files = []
        for name, mask in masks.items():
            files.append(folder / "masks" / f"ct_{n}_{name}_000.png")
            sitk.WriteImage(sitk.GetImageFromArray(mask.astype(np.uint8)), str(files[-1]))
        listed.append(ListedImage(image, tuple(files)))
    write_lists(folder, listed[:1], listed)
    return folder


@pytest.fixture(scope="module")
def listed(folder):
    return read_list(folder / TEST)


def published_box_scores(network, listed, mask_file, pads):
    """IoU and Dice of a mask with its box, in the words of the published test."""
    pixels, truth = read_pixels(listed.image), read_mask(mask_file)
    height, width = truth.shape
    image = (pixels.astype(np.float64) - PIXEL_MEAN) / PIXEL_STD
    small = pads and height < 64 and width < 64
    if small:
        top, left = (64 - height) // 2, (64 - width) // 2
        framed = np.zeros((64, 64, 3))
        framed[top : top + height, left : left + width] = image
        rows, columns = np.nonzero(truth)
        rows, columns = rows + top, columns + left
    else:
        row, column = (np.arange(64) * height) // 64, (np.arange(64) * width) // 64
        framed = image[np.ix_(row, column)]
        rows, columns = np.nonzero(truth[np.ix_(row, column)])
    box = torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=torch.float32)
    with torch.no_grad():
        embedding = network.encode(torch.from_numpy(framed).permute(2, 0, 1)[None].float())
        logits, scores = network.decode(embedding, torch.zeros(1, 0, 2), torch.zeros(1, 0).long(), None, box)
    best = logits[:, scores[0].argmax()][:, None]
    masks = functional.interpolate(best, (64, 64), mode="bilinear", align_corners=False)
    if small:
        masks = masks[..., top : top + height, left : left + width]
    else:
        masks = functional.interpolate(masks, (height, width), mode="bilinear", align_corners=False)
    found = masks[0, 0].sigmoid().numpy() > 0.5
    both = found.sum() + truth.sum()
    overlap = (found & truth).sum()
    return (overlap + 1e-7) / (both - overlap + 1e-7), (2 * overlap + 1e-7) / (both + 1e-7)


@pytest.mark.parametrize("fit", ["pad", "resize"])
def test_scores_of_boxes_are_the_published_ones(listed, tiny_checkpoint_2d, fit):
    model = load_model(tiny_checkpoint_2d)
    model = replace(model, preset=replace(model.preset, fit=fit))
    done = evaluate_images(model, listed, points=1)
    assert done.failures == []
    by_mask = {score.mask: score for score in done.scores if score.prompt == "box"}
    assert len(by_mask) == 6
    for each in listed:
        for file in each.masks:
            wanted = published_box_scores(model.plain_network, each, file, fit == "pad")
            found = by_mask[file.name]
            assert (found.iou, found.dice) == pytest.approx(wanted, abs=6e-5)
            assert found.dice == round(found.dice, 4)
    summary = done.summary()
    assert summary["all"]["box"]["dice"] == pytest.approx(np.mean([s.dice for s in by_mask.values()]))
    livers = [s.iou for s in by_mask.values() if s.structure == "liver"]
    assert summary["structures"]["liver"]["box"]["iou"] == pytest.approx(np.mean(livers))


def test_masks_of_one_file_name_in_several_folders_are_told_apart(listed, tiny_checkpoint_2d, tmp_path):
    renamed = []
    for n, each in enumerate(listed[:2]):
        mask = tmp_path / f"case{n}" / "mask.png"
        mask.parent.mkdir()
        mask.write_bytes(each.masks[0].read_bytes())
        renamed.append(ListedImage(each.image, (mask,)))
    model, places = load_model(tiny_checkpoint_2d), tmp_path / "masks"
    done = evaluate_images(model, renamed, points=1, masks_to=places)
    assert list(done.prompts) == [each.masks[0].as_posix() for each in renamed]
    assert done.summary()["masks"] == len(list((places / "boxes_prompt").iterdir())) == 2
    done.write(tmp_path)
    again = evaluate_images(model, renamed, points=1, prompts=read_prompts(tmp_path / "prompts.json"))
    assert again.scores == done.scores


class Perfect(torch.nn.Module):
    """Stands in for the networks' parts: answers with a mask that it is given."""

    def __init__(self, mask):
        super().__init__()
        self.mask, self.seen = mask, []

    def dense_position(self):
        return None

    def sparse(self, coords, labels, boxes):
        self.seen.append([coords.tolist(), labels.tolist(), boxes])

    def dense(self, mask, _count):
        self.seen[-1].append(mask)

    def forward(self, *_, multimask):
        assert multimask
        shown = torch.from_numpy(self.mask.reshape(16, 4, 16, 4).mean(axis=(1, 3))).float() * 8 - 4
        return torch.stack([-shown, shown, -shown])[None], torch.tensor([[0.1, 0.9, 0.2]])


def test_points_add_up_and_each_pass_sees_the_mask_before(listed, tiny_checkpoint_2d):
    model = load_model(tiny_checkpoint_2d)
    network = model.plain_network
    parts = Perfect(np.zeros((64, 64)))
    parts.mask[20:40, 10:30] = 1
    network.prompt_encoder = network.mask_decoder = parts
    one = ListedImage(listed[0].image, listed[0].masks[:1])
    evaluate_images(model, [one], points=3)
    box, *points = parts.seen
    assert box[0] == [[]]
    assert box[3] is None
    assert [len(seen[0][0]) for seen in points] == [1, 2, 3]
    assert points[1][0][0][0] == points[0][0][0][0]
    assert points[0][1] == [[1]]
    assert points[0][3] is None
    assert all(0 <= seen[3].min() <= seen[3].max() <= 1 for seen in points[1:])
    (x, y), sign = points[1][0][0][1], points[1][1][0][1]
    inside = parts.mask[int(y), int(x)]
    assert (inside, sign) in ((1, 0), (0, 1)), "in the error"
    wanted = first_points(ImageFrame.of((41, 51), model.preset).mask(read_mask(one.masks[0])), 1, RandomState(2023))
    assert points[0][0] == [wanted[0].tolist()], "each mask draws from the seed"


@pytest.mark.slow
def test_the_command_writes_scores_prompts_and_masks(folder, tiny_checkpoint_2d, tmp_path):
    def evaluate(*more):
        command = ["evaluate", tiny_checkpoint_2d, folder, "--clicks", 2, "--device", "cpu", *more]
        return runner.invoke(app, [str(a) for a in command])

    result = evaluate("-o", tmp_path / "one", "--masks")
    assert result.exit_code == 0, result.output
    assert "liver" in result.output
    rows = list(csv.DictReader((tmp_path / "one" / "scores.csv").open()))
    assert len(rows) == 6 * 3
    assert {row["prompt"] for row in rows} == {"box", "1 point", "2 points"}
    mask = read_mask(tmp_path / "one" / "masks" / "boxes_prompt" / "ct_2_liver_000.png")
    assert mask.shape == (30, 64)
    prompts = json.loads((tmp_path / "one" / "prompts.json").read_text())
    assert set(prompts["ct_0_liver_000.png"]) == {"boxes", "point_coords", "point_labels"}
    again = evaluate("-o", tmp_path / "two", "--seed", 1, "--prompts", tmp_path / "one" / "prompts.json", "--json")
    assert again.exit_code == 0, again.output
    first = [row for row in rows if row["prompt"] != "2 points"]
    second = list(csv.DictReader((tmp_path / "two" / "scores.csv").open()))
    assert first == [row for row in second if row["prompt"] != "2 points"]
    apart = evaluate("-o", tmp_path / "apart", "--masks", "--workers", 2)
    assert apart.exit_code == 0, apart.output
    files = sorted(file.relative_to(tmp_path / "one") for file in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 3 + 6 * 3
    assert all((tmp_path / "apart" / file).read_bytes() == (tmp_path / "one" / file).read_bytes() for file in files)


@pytest.mark.parametrize("option", [("--protocol", "classic"), ("--every", "2"), ("--smallest", "0.5")])
def test_options_of_volumes_are_refused_for_lists(folder, tmp_path, option):
    refused = runner.invoke(app, ["evaluate", "absent", str(folder), *option, "-o", str(tmp_path / "out")])
    assert refused.exit_code == 1
    assert option[0] in refused.output
    assert "are for volumes" in " ".join(refused.output.split())


def test_what_is_measured_is_written_where_it_is_stopped(folder, stopping, tiny_checkpoint_2d, tmp_path, monkeypatch):
    asked, dice = [], metrics.dice

    def stopped(mask, truth):
        asked.append(1)
        if len(asked) == 8:  # in the second image
            stopping.now()
        return dice(mask, truth)

    monkeypatch.setattr(metrics, "dice", stopped)
    command = ["evaluate", tiny_checkpoint_2d, folder, "--clicks", 2, "--device", "cpu", "-o", tmp_path / "out"]
    done = runner.invoke(app, [str(a) for a in command])
    assert done.exit_code == stopping.exit_code
    assert "Not measured: the rest: it was stopped. 2 masks." in " ".join(done.output.split())
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert [row["mask"] for row in rows] == 3 * ["ct_0_liver_000.png"] + 3 * ["ct_0_spleen_000.png"]
    assert set(json.loads((tmp_path / "out" / "prompts.json").read_text())) == {row["mask"] for row in rows}


@pytest.mark.slow
@needs_ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(600)
def test_lists_are_measured_on_a_cluster(cluster, listed, tiny_checkpoint_2d):
    measure, load = functools.partial(evaluate_images, points=1), functools.partial(load_model, tiny_checkpoint_2d)
    empty = ImageEvaluation("?", 2023)
    one, two = measure(load(), listed), evaluate_images_apart(listed, measure, load, Workers(ray=cluster), empty)
    assert (one.model, one.scores, one.failures) == (two.model, two.scores, two.failures)
    assert len(two.scores) == 12


def ends_its_process(_model, _images):
    """Takes every process down."""
    os._exit(1)


@pytest.mark.slow
def test_an_image_that_ends_its_process_is_told(listed, tiny_checkpoint_2d):
    load = functools.partial(load_model, tiny_checkpoint_2d)
    done = evaluate_images_apart(listed[1:2], ends_its_process, load, Workers(2), ImageEvaluation("m", 2023))
    assert done.failures == [f"{listed[1].image}: {DIED}"]


def test_what_cannot_be_measured_is_said(listed, tiny_checkpoint_2d, tiny_checkpoint, tmp_path):
    with pytest.raises(ModelError, match="for SAM-Med2D and FT-SAM"):
        evaluate_images(load_model(tiny_checkpoint), listed)
    empty = tmp_path / "empty.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((41, 51), np.uint8)), str(empty))
    model = load_model(tiny_checkpoint_2d)
    done = evaluate_images(model, [ListedImage(listed[0].image, (empty, listed[1].masks[0]))], points=1)
    assert done.scores == []
    assert "has 110 x 90 pixels, ct_0.png has 51 x 41" in done.failures[0]
    [failure] = evaluate_images(model, [ListedImage(listed[0].image, (empty,))], points=1).failures
    assert "is empty" in failure
    [failure, _] = evaluate_images(model, listed[:1], prompts={}).failures
    assert "has none for it" in failure
    empty.with_suffix(".json").write_text("[]")
    with pytest.raises(VolumeError, match="no boxes and points"):
        read_prompts(empty.with_suffix(".json"))
