"""A stand-in for a network whose answers depend on all that it is asked, to the last bit; sessions with a server."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from helpers import FakePredictor, long_volume
from sammed3d.inference.predictor import Capabilities
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session
from sammed3d.predictors.remote import RemotePredictor

PRESET = Preset(spacing=(3.0, 3.0, 3.0), patch_shape=(64, 64, 64), low_res_shape=(32, 32, 32))
AXES = np.stack(np.meshgrid(*[np.arange(32) * 2.0 + 0.5] * 3, indexing="ij"), -1)
PLACES = [(90.0, 90.0, 60.0), (70.0, 110.0, 90.0), (95.0, 80.0, 250.0), (110.0, 60.0, 420.0), (60.0, 90.0, 540.0)]


class RoughPredictor(FakePredictor):
    """Logits with a ragged border that patch, clicks and mask prompt change in every bit."""

    def __init__(self, looks_wide=False):
        super().__init__(PRESET, Capabilities(all_clicks=True, looks_wide=looks_wide))

    def answer(self, patch, prompts):
        noise = np.random.default_rng(int(patch.digest[:8], 16)).standard_normal(PRESET.low_res_shape)
        logits = 6 * ndimage.gaussian_filter(noise, 1) - 4
        for click in (*prompts.earlier, *prompts.clicks):
            distance = np.linalg.norm(AXES - click.voxel, axis=-1)
            logits += (9 if click.positive else -7) * np.exp(-((distance / 14) ** 2))
        if prompts.mask_prompt is None:
            return logits
        return logits + (0.6 if prompts.from_wide else 0.3) * prompts.mask_prompt


def pair(server, volume=None, looks_wide=False):
    """A session in this process, and one with a server."""
    volume = volume or long_volume()
    return Session(volume, RoughPredictor(looks_wide)), Session(volume, RemotePredictor(server.url))


def drawn_mask(shape=(60, 60, 200)):
    """A ball with a ragged surface, as a hand might draw it."""
    middle = np.array([30, 30, 25]).reshape(3, 1, 1, 1)
    rough = np.random.default_rng(0).uniform(-0.7, 0.7, shape)
    return np.linalg.norm(np.indices(shape) - middle, axis=0) + rough < 12
