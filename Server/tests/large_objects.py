"""Objects larger than a patch, and a stand-in for a network that finds what hangs together."""

import numpy as np
from scipy import ndimage

from helpers import make_affine
from sammed3d.core.geometry import Grid
from sammed3d.files.volume import Volume
from sammed3d.inference.predictor import Capabilities, PatchPrompts, Prediction
from sammed3d.inference.preset import Preset

PRESET = Preset(spacing=(3.0, 3.0, 3.0), patch_shape=(64, 64, 64), low_res_shape=(16, 16, 16))
"""A patch of 192 mm, a wide one of 384 mm."""


class FloodPredictor:
    """Stands for a network: the bright region of the patch that its clicks or the mask prompt meet.

    Attributes:
        calls: windows that it was asked about.
        before: called with the number of each call, before it is answered.
        threshold: normalised grey value above which a voxel is bright.
        answer: what to say in place of the region, by number of the call.
    """

    name = "flood"
    preset = PRESET
    capabilities = Capabilities(all_clicks=True)

    def __init__(self) -> None:
        self.calls: list = []
        self.threshold = 0.0
        self.before = lambda _number: None
        self.answer: dict = {}

    def predict(self, patch, prompts: PatchPrompts, cancellation=None) -> Prediction:
        prompts.check(self.preset)
        self.calls.append(patch.window)
        self.before(len(self.calls))
        if cancellation is not None:
            cancellation.check()
        bright = patch.voxels > self.threshold
        regions, _ = ndimage.label(bright)
        seeds = np.zeros(bright.shape, bool)
        if prompts.mask_prompt is not None:
            seeds |= np.kron(prompts.mask_prompt > 0, np.ones((4, 4, 4), bool))
        for click in (*prompts.earlier, *prompts.clicks):
            if click.positive:
                seeds[tuple(int(v) for v in click.voxel)] = True
        chosen = np.isin(regions, sorted(set(np.unique(regions[seeds & bright])) - {0}))
        for click in (*prompts.earlier, *prompts.clicks):
            if not click.positive:
                near = np.linalg.norm(np.moveaxis(np.indices(chosen.shape), 0, -1) - click.voxel, axis=-1) < 8
                chosen &= ~near
        share = chosen.reshape(16, 4, 16, 4, 16, 4).mean(axis=(1, 3, 5))
        logits = (12 * share - 6).astype(np.float32)
        if len(self.calls) in self.answer:
            logits = self.answer[len(self.calls)](logits)
        return Prediction(logits, None, {"decode": 0.0})


def bar(length=900, thick=48, angles=(0, 0, 0), size=120, spacing=6.0):
    """A volume with a bright bar along its last axis that ends 30 mm before either end, and the bar."""
    shape = (int(size / spacing), int(size / spacing), int(length / spacing))
    grid = Grid(shape, make_affine((spacing,) * 3, angles))
    x, y, z = np.meshgrid(*[(np.arange(n) + 0.5) * spacing for n in shape], indexing="ij")
    truth = (abs(x - size / 2) < thick / 2) & (abs(y - size / 2) < thick / 2) & (z > 30) & (z < length - 30)
    rng = np.random.default_rng(0)
    image = np.where(truth, 900, 300) + rng.integers(0, 20, shape)
    return Volume(image.astype(np.int16), grid, "bar"), truth


def start_of(volume, share=0.1):
    shape = np.array(volume.grid.shape)
    return tuple(volume.grid.to_world([shape[0] // 2, shape[1] // 2, int(share * shape[2])]).tolist())
