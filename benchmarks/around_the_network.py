"""Everything but the network, on a synthetic 512x512x400 int16 CT at 0.7x0.7x1 mm.

Baseline: what a plain client does, resample the whole volume and cut the patch from it with SimpleITK, and resample
the 128³ logits to the whole grid.
"""

from __future__ import annotations

import time

import numpy as np
import SimpleITK as sitk
import torch
from common import seconds

from sammed3d import Capabilities, Grid, Prediction, Preset, Session, Volume
from sammed3d.files.volume import image_on


class Instant:
    """A predictor that costs nothing: a ball that grows with every click, up to the whole patch."""

    name = "instant"
    preset = Preset()
    capabilities = Capabilities()

    def predict(self, _patch, prompts, _cancellation=None):
        """Return logits of a ball of 20 to 120 voxels radius."""
        axes = np.meshgrid(*[np.arange(32) * 4 + 1.5] * 3, indexing="ij")
        distance = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, prompts.clicks[0].voxel, strict=True)))
        return Prediction((min(120, 10 + 10 * len(prompts.clicks)) - distance).astype(np.float32))


def synthetic_ct() -> Volume:
    """Smooth structures and noise, int16."""
    rng = np.random.default_rng(0)
    coarse = sitk.GetImageFromArray(rng.integers(-1000, 1000, (10, 10, 10)).astype(np.float32))
    axes = [np.linspace(0, 9, n) for n in (512, 512, 400)]
    reference = sitk.Image([512, 512, 400], sitk.sitkInt16)
    reference.SetSpacing([float(a[1]) for a in axes])
    smooth = sitk.GetArrayFromImage(sitk.Resample(coarse, reference, outputPixelType=sitk.sitkInt16))
    array = smooth + rng.integers(0, 200, (1, 512, 512), dtype=np.int16)
    affine = np.diag([-0.7, -0.7, 1.0, 1.0])
    return Volume(array.T, Grid((512, 512, 400), affine), "synthetic CT")


def baseline(volume: Volume) -> tuple[float, float]:
    """Seconds to cut a patch from the resampled whole volume, and to bring logits back to the whole grid."""
    image = sitk.Cast(sitk.GetImageFromArray(volume.array.T), sitk.sitkFloat32)
    image.CopyInformation(image_on(volume.grid, sitk.sitkUInt8))
    size = [int(np.ceil(n * s / 1.5)) for n, s in zip(volume.grid.shape, volume.grid.spacing, strict=True)]
    begin = time.perf_counter()
    resampled = sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), [1.5] * 3, image.GetDirection()
    )
    cut = sitk.GetArrayFromImage(resampled[50:178, 50:178, 60:188])
    inside = cut[cut > 0]
    cut = (cut - inside.mean()) / inside.std(ddof=1)
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    logits = torch.nn.functional.interpolate(torch.randn(1, 1, 32, 32, 32), size=(128,) * 3, mode="trilinear")
    back = sitk.GetImageFromArray(logits[0, 0].numpy())
    back.SetSpacing([1.5] * 3)
    mask = sitk.Resample(back, image, sitk.Transform(), sitk.sitkLinear, -1.0) > 0
    sitk.GetArrayFromImage(mask)
    return first, time.perf_counter() - begin


def main() -> None:
    """Print the seconds of each stage beside the baseline's."""
    volume = synthetic_ct()
    centre = tuple(volume.grid.to_world((256, 256, 200)))
    first_click = seconds(lambda: Session(volume, Instant()).click(centre), repeats=5)
    stages = Session(volume, Instant()).click(centre).seconds
    session = Session(volume, Instant())
    session.click(centre)
    further = seconds(lambda: session.click(centre), repeats=10)
    plain_first, plain_back = baseline(volume)
    rows = ("cut, resample, normalise", plain_first, "cut"), ("back to the grid", plain_back, "paint")
    for name, whole, stage in rows:
        ours = stages[stage]
        print(f"{name:25} whole volume {whole:5.2f} s  ours {ours:6.3f} s  {whole / ours:5.1f} times faster")
    print(f"first click, all but the network:   {first_click:.3f} s (goal 0.4)")
    print(f"further click, all but the network: {further:.3f} s (goal 0.4), median while the object fills the patch")


if __name__ == "__main__":
    main()
