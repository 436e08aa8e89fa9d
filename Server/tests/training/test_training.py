"""Training of the default model, in small: data, crops, simulated clicks, learning, resuming."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import make_affine, phantom, write_image
from sammed3d import Session, Volume, load_predictor
from sammed3d.errors import ModelError, VolumeError
from sammed3d.files.datasets import find_cases
from sammed3d.inference.compositing import MASK_LOGIT
from sammed3d.nets.tempering import Tempering
from sammed3d.simulation.training_clicks import clicks_on_neighbours, depth, first_clicks, next_clicks
from sammed3d.training.default_model import trainer as trainer_module
from sammed3d.training.default_model.cases import CachedCase, cached
from sammed3d.training.default_model.crops import (
    AS_SHOWN,
    Crops,
    CropSettings,
    CropStream,
    sample_voxels,
    shares_by_volume,
    some_objects,
)
from sammed3d.training.default_model.lessons import CLICKS, Conversation, Lesson, Turn, damaged, draw_lesson
from sammed3d.training.default_model.synthetic import random_shapes, structure_at
from sammed3d.training.default_model.train import case_weights, main, run
from sammed3d.training.default_model.trainer import STEPS_ALONE, Trainer, mask_loss

SIZES = {"patch_size": 32, "widths": [8, 16, 16, 24], "depths": [0, 1, 1, 1], "decoder_widths": [8, 16, 16, 24]}
SETTINGS = CropSettings(edges={32: 1.0}, batch_edge=24, objects=2)
SPACING = (1.5, 1.5, 1.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three cases; the third has no labels."""
    folder = tmp_path_factory.mktemp("data")
    for n, name in enumerate(("ct_abdomen_1", "ct_abdomen_2", "mr_brain_1")):
        image = phantom((30, 34, 28), seed=n)
        affine = make_affine((2.0, 2.0, 2.5), (0, 0, 0), (5, 5, 5))
        (folder / name).mkdir()
        write_image(folder / name / "image.nii.gz", image, affine)
        if n < 2:
            labels = (image > 300).astype(np.uint8) + (image > 600)
            write_image(folder / name / "label.nii.gz", labels.astype(np.uint8), affine)
    return folder


@pytest.fixture(scope="module")
def cases(folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return [cached(case, cache, SPACING) for case in find_cases(folder)]


def stream(cases, seed=0):
    return iter(CropStream(cases, case_weights(cases), SETTINGS, seed))


def test_cases_are_found_and_cached_on_the_lattice(folder, cases, tmp_path):
    assert [case.name for case in cases] == ["ct_abdomen_1", "ct_abdomen_2", "mr_brain_1"]
    assert cases[0].image.shape == cases[0].label.shape == (40, 46, 47)
    assert set(np.unique(cases[0].label)) == {0, 1, 2}
    assert not cases[2].label.any()
    volume = Volume.read(folder / "ct_abdomen_1" / "image.nii.gz")
    middle = np.asarray(cases[0].image[10:30, 10:30, 10:30], np.float32)
    assert abs(middle.mean() - volume.array[7:22, 7:22, 6:18].mean()) < 40
    again = cached(find_cases(folder)[0], tmp_path, SPACING)
    stamp = (tmp_path / "ct_abdomen_1" / "image.npy").stat().st_mtime_ns
    assert np.array_equal(again.image, cases[0].image)
    cached(find_cases(folder)[0], tmp_path, SPACING)
    assert (tmp_path / "ct_abdomen_1" / "image.npy").stat().st_mtime_ns == stamp, "made once"


def test_a_corrected_label_map_is_taken_over_into_the_cache(tmp_path):
    image, label = tmp_path / "c" / "image.nii.gz", tmp_path / "c" / "label.nii.gz"
    image.parent.mkdir()
    write_image(image, phantom((16, 16, 16)), make_affine(SPACING))
    labels = np.zeros((16, 16, 16), np.uint8)
    shown = []
    for begin in (2, 8):
        labels[:], labels[begin : begin + 4, 4:8, 4:8] = 0, 1
        write_image(label, labels, make_affine(SPACING))
        shown.append(np.array(cached(find_cases(tmp_path)[0], tmp_path / "cache", SPACING).label))
    assert shown[0].sum() == shown[1].sum() == 64
    assert not (shown[0] * shown[1]).any()


def test_large_label_values_are_numbered_and_too_many_are_refused(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    write_image(folder / "image.nii.gz", phantom((16, 16, 16)), make_affine(SPACING))
    labels = np.full((16, 16, 16), 1024, np.uint16)  # no background
    labels[8:] = 2048
    write_image(folder / "label.nii.gz", labels, make_affine(SPACING))
    case = cached(find_cases(tmp_path)[0], tmp_path / "cache", SPACING)
    assert set(np.unique(case.label)) == {1, 2}, "multiples of 256 too"
    assert set(sample_voxels(case.label, np.random.default_rng(0))) == {1, 2}, "without a background too"
    (folder / "labels.json").write_text('{"1024": "kidney", "2048": "kidney"}')
    case = cached(find_cases(tmp_path)[0], tmp_path / "other", SPACING)
    assert set(np.unique(case.label)) == {1}, "labels of one name are one structure"
    write_image(
        folder / "label.nii.gz", (np.arange(16**3) % 300).reshape(labels.shape).astype(np.uint16), make_affine(SPACING)
    )
    with pytest.raises(VolumeError, match=r"c: the label map holds 299 structures, and 255"):
        cached(find_cases(tmp_path)[0], tmp_path / "cache", SPACING)


def test_a_folder_without_cases_is_named(tmp_path):
    with pytest.raises(VolumeError, match="holds no cases"):
        find_cases(tmp_path)


def test_every_group_of_cases_counts_by_its_labels(cases):
    first, second, third = case_weights(cases)
    assert first == second == pytest.approx(2 / 2)
    assert third == pytest.approx(2), "an image without labels counts like four"


def test_crops_hold_objects_and_repeat_with_the_seed(cases):
    some, same, other = (next(stream(cases, seed)) for seed in (1, 1, 2))
    count, edge = some.images.shape[0], some.images.shape[-1]
    assert (count, edge) == (4 * 24**3 // 32**3, 32)
    assert some.masks.shape[1:] == (1, 32, 32, 32)
    assert some.masks.flatten(1).sum(1).min() >= 40
    assert some.owners.tolist() == sorted(some.owners.tolist())
    assert some.owners.max() == count - 1
    assert torch.isfinite(some.images).all()
    assert torch.equal(some.images, same.images)
    assert torch.equal(some.masks, same.masks)
    assert not torch.equal(some.images, other.images)


def test_random_shapes_and_found_structures():
    rng = np.random.default_rng(0)
    image, labels = random_shapes(48, rng)
    assert image.shape == labels.shape == (48, 48, 48)
    assert len(np.unique(labels)) > 3
    ball = np.linalg.norm(np.indices((40, 40, 40)) - 20, axis=0) < 9
    noisy = (100 * ball + rng.normal(0, 5, ball.shape)).astype(np.float32)
    found = [structure_at(noisy, (20, 20, 20), rng) for _ in range(10)]
    masks = [mask for mask in found if mask is not None]
    assert masks
    overlap = max(2 * (m & ball).sum() / (m.sum() + ball.sum()) for m in masks)
    assert overlap > 0.8


def test_wide_crops_show_more_and_prefer_large_structures(cases):
    def sizes(wide):
        settings = CropSettings(edges={32: 1.0}, synthetic=0, unlabelled=0, wide=wide, fused=0, objects=1)
        crops, rng = CropStream(cases[:2], [1, 1], settings, 0), np.random.default_rng(0)
        drawn = [crop for crop in (crops.draw(32, rng) for _ in range(40)) if crop is not None]
        image, masks = drawn[0]
        assert image.shape == masks.shape[1:] == (32, 32, 32)
        return [float(masks.sum()) for _, masks in drawn]

    assert 0 < np.median(sizes(1.0)) < np.median(sizes(0.0)), "what is shown is smaller in a wide crop"
    label = np.zeros((20, 20, 20), np.uint8)
    label[:8], label[15] = 3, 7
    assert shares_by_volume(label, {3: label, 7: label}) == pytest.approx([0.7388, 0.2612], abs=1e-3)


def test_crops_as_the_product_shows_them_stay_upright():
    grey = np.linspace(100, 900, 120, dtype=np.float32)
    image = (grey[:, None, None] + 3 * grey[None, :, None] + 9 * grey[None, None, :]).astype(np.float16)
    label = np.zeros(image.shape, np.uint8)
    label[50:70, 50:70, 50:70] = 1
    case = CachedCase("ct_abdomen_1", image, label)

    def directions(settings):
        crops, rng = CropStream([case], [1], settings, 0), np.random.default_rng(0)
        drawn = [crop[0] for crop in (crops.draw(32, rng) for _ in range(40)) if crop is not None]
        steps = [[float(image.diff(dim=axis).mean()) for axis in range(3)] for image in drawn]
        return [(np.argsort(np.abs(each)).tolist(), np.sign(each).tolist()) for each in steps]

    plain = {"edges": {32: 1.0}, "synthetic": 0, "unlabelled": 0}
    upright = directions(replace(AS_SHOWN, **plain, degraded=0.0))
    assert all(order == [0, 1, 2] and signs[1:] == [1, 1] for order, signs in upright)
    assert {signs[0] for _, signs in upright} == {-1, 1}, "left and right may be exchanged"
    turned = directions(replace(CropSettings(), **plain, degraded=0.0))
    assert any(order != [0, 1, 2] for order, _ in turned)


def test_touching_labels_become_one_object_now_and_then():
    labels = np.zeros((24, 24, 24), np.uint8)
    labels[4:10, 4:20, 4:20], labels[10:16, 4:20, 4:20], labels[20:24] = 1, 2, 3
    rng = np.random.default_rng(0)
    alone = some_objects(labels, 1, rng, wanted=1, fused=0.0)
    assert np.array_equal(alone[0], labels == 1)
    together = some_objects(labels, 1, rng, wanted=1, fused=1.0)
    assert np.array_equal(together[0], (labels == 1) | (labels == 2)), "the third is not near"


def test_depth_is_that_of_plain_means():
    masks = (torch.rand(2, 1, 17, 17, 17, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    plain = sum(torch.nn.functional.avg_pool3d(masks, k, 1, k // 2) for k in (3, 7, 13)) / 3
    assert torch.allclose(depth(masks), plain, atol=1e-6)


def test_first_clicks_lie_inside_and_next_clicks_in_errors():
    generator = torch.Generator().manual_seed(0)
    targets = torch.zeros(2, 1, 16, 16, 16)
    targets[0, 0, 2:9, 3:10, 4:11] = 1
    targets[1, 0, 12:14, 12:14, 12:14] = 1
    for _ in range(20):
        for n, (r, a, s) in enumerate(first_clicks(targets, generator).tolist()):
            assert targets[n, 0, r, a, s] == 1
    logits = torch.full_like(targets, -1.0)
    logits[1] = 1  # everything, where there is little
    for _ in range(20):
        voxels, labels = next_clicks(logits, targets, generator, count=2)
        assert labels.tolist() == [[1, 1], [0, 0]]
        for k in range(2):
            assert targets[0, 0, *voxels[0, k]] == 1
            assert targets[1, 0, *voxels[1, k]] == 0
    voxels, labels = next_clicks(2 * targets - 1, targets, generator)
    assert labels.tolist() == [[1], [1]], "without an error, inside"
    there = torch.zeros_like(targets)
    there[:, :, 5] = 1
    for _ in range(20):
        voxels, labels = next_clicks(logits, targets, generator, where=there)
        assert voxels[:, 0, 0].tolist() == [5, 5]


def test_clicks_on_neighbours_lie_beside_the_object_where_it_looks_alike():
    generator = torch.Generator().manual_seed(0)
    targets = torch.zeros(1, 1, 32, 32, 32)
    targets[:, :, 8:16, 8:16, 8:16] = 1
    image = torch.rand(1, 1, 32, 32, 32, generator=generator) * 0.1
    image[:, :, 8:16, 8:16, 8:24] += 5  # the object and a neighbour behind it
    voxels = clicks_on_neighbours(image, targets, generator, 50)[0]
    assert targets[0, 0, *voxels.T].sum() == 0
    assert image[0, 0, *voxels.T].gt(1).float().mean() > 0.6


def lessons(count=400):
    generator = torch.Generator().manual_seed(0)
    return [draw_lesson(generator) for _ in range(count)]


def test_lessons_are_conversations_as_the_product_leads_them():
    for lesson in lessons():
        assert [turn.opens for turn in lesson.turns] == [not lesson.from_mask, *[False] * (len(lesson.turns) - 1)]
        assert 1 <= sum(turn.clicks for turn in lesson.turns) <= 12
        assert 1 <= sum(turn.learns for turn in lesson.turns) <= 2
        assert lesson.turns[-1].learns
        if not lesson.from_mask:
            assert lesson.turns[1].clicks == 0, "the first click is answered twice"
        assert not lesson.turns[0].tempered, "nothing came before it in this patch"
        assert not any(turn.tempered and (turn.moves or turn.clicks != 1) for turn in lesson.turns)
    drawn = lessons()
    assert {sum(turn.clicks for turn in lesson.turns) for lesson in drawn} == set(CLICKS)
    for kind in ("moves", "neighbours", "tempered"):
        assert any(getattr(turn, kind) for lesson in drawn for turn in lesson.turns)
    assert 0 < sum(lesson.from_mask for lesson in drawn) < 100


def test_a_conversation_that_moves_loses_a_part_and_goes_on_there():
    targets = torch.zeros(3, 1, 32, 32, 32)
    targets[:, :, 6:26, 8:24, 8:24] = 1
    lesson = Lesson(False, (Turn(1, opens=True), Turn(3, moves=True)))
    moved = 0
    for seed in range(8):
        talk = Conversation.begin(lesson, targets, targets, torch.Generator().manual_seed(seed))
        talk.prepare(lesson.turns[0])
        assert talk.labels.tolist() == [[1]] * 3
        talk.logits = 10 * (2 * targets - 1)  # right, as far as it is in sight
        talk.prepare(lesson.turns[1])
        assert talk.coords.shape == (3, 4, 3)
        assert talk.labels[:, 1:].eq(1).all(), "what was lost is missing"
        lost = (talk.logits <= 0) & (targets > 0)
        for n in range(3):
            r, a, s = (talk.coords[n, 1:] // 2).T
            assert lost[n].any()
            assert (talk.logits[n, 0, r, a, s] < 10).all(), "clicks where the new patch shows something new"
        moved += int((talk.labels[:, 0] == -1).sum())
    assert 0 < moved < 24, "some of the first clicks are out of sight"


def test_a_further_answer_counts_as_it_does_in_the_product():
    targets = torch.zeros(2, 1, 32, 32, 32)
    targets[:, :, 6:26, 8:24, 8:24] = 1
    tempering = Tempering(early=1.2, reach=8.0, against=0.2)
    talk = Conversation.begin(Lesson(False, ()), targets, targets, torch.Generator().manual_seed(0))
    talk.prepare(Turn(1, opens=True))
    first, second = torch.randn(2, *targets.shape, generator=torch.Generator().manual_seed(1))
    talk.take(first, Turn(1, opens=True), tempering)
    assert torch.equal(talk.logits, first)
    talk.prepare(Turn(1, tempered=True))
    talk.take(second, Turn(1, tempered=True), tempering)
    for n in range(2):
        place = ((talk.coords[n, -1] - 0.5) / 2).tolist()
        one = slice(n, n + 1)
        expected = tempering.further(first[one], second[one], place, bool(talk.labels[n, -1]))
        assert torch.equal(talk.logits[one], expected)
    talk.take(second, Turn(1, tempered=True), None)
    assert torch.equal(talk.logits, second), "networks that are not tempered are taken at their word"


def test_a_lesson_from_a_mask_begins_with_one_that_is_not_quite_right():
    targets = torch.zeros(4, 1, 32, 32, 32)
    targets[:, :, 6:26, 8:24, 8:24] = 1
    prompts = damaged(targets, torch.Generator().manual_seed(0))
    assert prompts.unique().tolist() == pytest.approx([-MASK_LOGIT, MASK_LOGIT])
    overlap = ((prompts > 0) & (targets > 0)).flatten(1).sum(1) / (targets > 0).flatten(1).sum(1)
    assert overlap.max() > 0.5
    assert overlap.min() < 0.5, "of some only a part is there"


def test_the_loss_is_low_for_the_right_mask_and_counts_small_objects():
    targets = torch.zeros(1, 1, 16, 16, 16)
    targets[0, 0, 4:8, 4:8, 4:8] = 1
    right, wrong, nothing = 10 * (2 * targets - 1), -10 * (2 * targets - 1), torch.full_like(targets, -10.0)
    assert mask_loss(right, targets) < 0.02
    assert mask_loss(nothing, targets) > 1
    assert mask_loss(wrong, targets) > mask_loss(nothing, targets)


@pytest.mark.slow
def test_a_budget_ends_a_run_and_leaves_its_state_and_log(cases, tmp_path):
    trainer = Trainer(tmp_path, torch.device("cpu"), 3e-3, SIZES)
    before = {k: v.clone() for k, v in trainer.average.items()}
    run(trainer, stream(cases), budget=1e-3)
    assert trainer.step == STEPS_ALONE
    assert trainer.total_seconds > 1e-3
    assert (tmp_path / "last.pt").is_file()
    assert any(not torch.equal(before[k], v) for k, v in trainer.average.items())
    run(trainer, stream(cases), budget=1e-3)
    assert trainer.step == STEPS_ALONE, "the budget is used up"


def test_a_case_to_keep_aside_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(ModelError, match="no case 'ct_abdomen_9' to keep aside"):
        main([folder], tmp_path, aside=["ct_abdomen_1", "ct_abdomen_9"])


@pytest.mark.slow
def test_cases_of_one_name_in_two_folders_are_two(folder, tmp_path):
    for name, case in (("one", "ct_abdomen_1"), ("two", "ct_abdomen_2")):
        shutil.copytree(folder / case, tmp_path / name / "ct_abdomen_1")
    main([tmp_path / "one", tmp_path / "two"], tmp_path / "work", hours=0.0, workers=0)
    kept = [np.load(tmp_path / "work" / "cache" / name / "ct_abdomen_1" / "image.npy") for name in ("one", "two")]
    assert not np.array_equal(*kept)


@pytest.mark.slow
def test_it_learns_saves_resumes_and_ships(cases, tmp_path):
    trainer = Trainer(tmp_path, torch.device("cpu"), 3e-3, SIZES)
    crops = next(stream(cases))
    losses = [trainer.learn(crops, 0.0)["loss"] for _ in range(30)]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    trainer.save()
    again = Trainer(tmp_path, torch.device("cpu"), 3e-3, SIZES)
    assert again.resume()
    assert again.step == 30
    trainer.generator.manual_seed(30)
    assert trainer.learn(crops, 0.1) == pytest.approx(again.learn(crops, 0.1), nan_ok=True), "as if never stopped"
    trainer.export(tmp_path / "small.safetensors")
    predictor = load_predictor(tmp_path / "small.safetensors", device="cpu")
    assert predictor.name == "default"
    assert not Trainer(tmp_path / "elsewhere", torch.device("cpu"), 3e-3, SIZES).resume()


@pytest.mark.parametrize(("edge", "has", "suits"), [(64, True, True), (64, False, False), (32, True, False)])
def test_a_cpu_learns_in_bfloat16_where_it_has_it_and_gets_its_gradients_right(tmp_path, monkeypatch, edge, has, suits):
    monkeypatch.setattr(trainer_module, "has_bfloat16", lambda device: has and device.type == "cpu")
    entered, going_back = set(), []
    autocast = torch.autocast

    def noted(*arguments, enabled):
        if torch.bfloat16 in arguments:
            entered.add(enabled)
        return autocast(*arguments, enabled=enabled)

    monkeypatch.setattr(torch, "autocast", noted)
    masks = torch.zeros(1, 1, edge, edge, edge)
    masks[:, :, 8:24, 8:24, 8:24] = 1
    trainer = Trainer(tmp_path, torch.device("cpu"), 1e-3, SIZES)
    for part in (trainer.network.mask_decoder.logits, trainer.network.image_encoder.down[0]):
        part.register_full_backward_hook(lambda *_: going_back.append(torch.is_autocast_enabled("cpu")))
    trainer.learn(Crops(masks + 0.1, masks, torch.tensor([0])), 0.0)
    assert entered == {suits}
    assert going_back
    assert not any(going_back), "each gradient is of the precision of what it is a gradient of"


@pytest.mark.slow
def test_a_trained_file_runs_in_a_session(cases, tmp_path):
    from helpers import small_volume

    trainer = Trainer(tmp_path, torch.device("cpu"), 1e-3)
    trainer.export(tmp_path / "untrained.safetensors")
    session = Session(small_volume(), load_predictor(tmp_path / "untrained.safetensors", device="cpu"))
    session.click((60.0, 75.0, 45.0))
    session.click((30.0, 30.0, 30.0), positive=False)
    assert len(session.current.clicks) == 2
