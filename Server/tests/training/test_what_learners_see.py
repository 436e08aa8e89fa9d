"""What the default model's network learns from: whose crops, how often; image and masks show the same place."""

import numpy as np
import pytest
import torch

from networks import filled
from sammed3d import load_model
from sammed3d.inference.preset import Preset
from sammed3d.nets import build
from sammed3d.training.default_model.cases import CachedCase
from sammed3d.training.default_model.crops import CropSettings, CropStream
from sammed3d.training.default_model.trainer import Trainer
from sammed3d.training.learning import learners
from sammed3d.training.learning.learners import UNetLearner
from sammed3d.training.learning.split import sample_case
from sammed3d.zoo.checkpoint import write_checkpoint

SIZES = {"patch_size": 32, "widths": [4, 4, 8, 8], "decoder_widths": [4, 4, 8, 8], "depths": [0, 1, 1, 1]}
PRESET = Preset(spacing=(3.0, 3.0, 3.0), patch_shape=(32, 32, 32), low_res_shape=(16, 16, 16), normalisation="none")


@pytest.fixture
def start(tmp_path):
    """A small network of the default model's class."""
    about = {"network": "promptable_unet", "sizes": SIZES, "preset": PRESET.to_json(), "name": "start"}
    write_checkpoint(tmp_path / "start.safetensors", filled(build("promptable_unet", SIZES)).state_dict(), **about)
    return load_model(tmp_path / "start.safetensors")


def test_a_quarter_of_the_crops_rehearses_and_a_run_that_goes_on_sees_others(start, tmp_path, monkeypatch):
    streams = []

    def stream(cases, weights, settings, seed):
        streams.append((weights, settings.edges, seed))
        return cases

    monkeypatch.setattr(learners, "CropStream", stream)
    monkeypatch.setattr(learners, "cached", lambda case, *_: case)
    (tmp_path / "run").mkdir()

    def learner(rehearsed, seed=1):
        return UNetLearner(start, 3 * [sample_case()], rehearsed, tmp_path / "run", torch.device("cpu"), seed)

    learner(2 * [sample_case()])
    learner([])
    learner([], seed=2)
    trainer = Trainer(tmp_path / "run", torch.device("cpu"), 1e-3, SIZES)
    trainer.step = 10
    trainer.save()
    learner([])
    weights, edges, seeds = zip(*streams, strict=True)
    assert weights[0] == pytest.approx(3 * [0.25] + 2 * [0.125])
    assert weights[1] == pytest.approx(3 * [1 / 3])
    assert edges[0] == {32: 1.0}, "no larger than its patches"
    assert len({seeds[1], seeds[2], seeds[3]}) == 3
    assert seeds[0] == seeds[1]


@pytest.mark.parametrize("wide", [0.0, 1.0])
def test_image_and_masks_of_a_crop_show_the_same_place(wide):
    label = np.zeros((48, 44, 40), np.uint8)
    label[4:20, 6:26, 10:24] = label[4:12, 6:42, 10:16] = 1  # as no turn of it
    settings = CropSettings(synthetic=0.0, unlabelled=0.0, fused=0.0, wide=wide, degraded=0.0)
    stream = CropStream([CachedCase("a", 1000 * label.astype(np.float16), label)], [1.0], settings, 1)
    looked = 0
    for seed in range(16):
        crop = stream.draw(32, np.random.default_rng(seed))
        if crop is None or float(crop[1].sum()) < 1000:
            continue
        picture, [mask] = crop
        bright = picture > 0.5 * picture.max()
        assert 2 * float((bright * mask).sum()) > 0.85 * float(bright.sum() + mask.sum()), seed
        looked += 1
    assert looked > 4
