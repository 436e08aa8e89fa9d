"""From a volume and clicks to a mask, against the published steps done one by one with torchio and torch."""

import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional

from helpers import make_affine, phantom
from networks import filled
from sammed3d.core.geometry import Grid
from sammed3d.files.volume import Volume
from sammed3d.inference.preset import Preset
from sammed3d.inference.session import Session
from sammed3d.nets import build
from sammed3d.nets.literal import make_literal
from sammed3d.predictors.torch_predictor import TorchPredictor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torchio

    from sammed3d.training.images import ScalarImage

SIZES = {"encoder": {"width": 96, "depth": 3, "heads": 4, "global_blocks": [2], "out_channels": 48}}
CASES = {
    "axial ct": ((90, 80, 40), make_affine((-1.7, -1.7, 4.0), origin=(80, 70, -300))),
    "sagittal mr": ((100, 110, 40), make_affine((4.0, 1.1, 1.1))[:, [1, 2, 0, 3]]),
    "oblique": ((80, 70, 60), make_affine((1.3, 0.9, 2.2), (0.4, -0.3, 0.2), (-50, 20, 900))),
}


@pytest.fixture(scope="module")
def network():
    return filled(build("sam_med3d", SIZES))


def by_published_steps(network, array, affine, clicks):
    """Resample, ToCanonical, CropOrPad, ZNormalization; click by click; trilinear; back to the image's grid."""
    image = ScalarImage(tensor=torch.from_numpy(array[None]), affine=affine)
    prepare = torchio.Compose(
        [
            torchio.Resample(1.5),
            torchio.ToCanonical(),
            torchio.CropOrPad((128, 128, 128)),
            torchio.ZNormalization(masking_method=lambda x: x > 0),
        ]
    )
    patch = prepare(image)
    world_to_patch = np.linalg.inv(patch.affine)
    with torch.inference_mode():
        embedding = network.encode(patch.data[None])
        low_res = torch.zeros(1, 1, 32, 32, 32)
        for world, positive in clicks:
            voxel = np.rint((world_to_patch @ [*world, 1])[:3])
            coords, labels = torch.tensor(voxel, dtype=torch.float32)[None, None], torch.tensor([[int(positive)]])
            low_res, _ = network.decode(embedding, coords, labels, low_res)
    logits = functional.interpolate(low_res, (128, 128, 128), mode="trilinear", align_corners=False)
    field = ScalarImage(tensor=logits[0], affine=patch.affine)
    return torchio.Resample(image)(field).data[0].numpy()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_the_session_gives_what_the_published_steps_give(network, case):
    shape, affine = CASES[case]
    noise = np.random.default_rng(0).uniform(-5, 5, shape)
    array = (phantom(shape) + noise).astype(np.float32)
    grid = Grid(shape, affine)
    fractions = [((0.52, 0.43, 0.61), True), ((0.31, 0.72, 0.33), False), ((0.77, 0.38, 0.41), True)]
    clicks = [(grid.to_world(np.multiply(f, shape)), positive) for f, positive in fractions]

    literal = build("sam_med3d", SIZES)
    literal.load_state_dict(network.state_dict())
    make_literal(literal)
    logits = by_published_steps(literal.eval(), array, affine, clicks)

    session = Session(Volume(array, grid), TorchPredictor(network, Preset(), device="cpu"))
    for world, positive in clicks:
        session.click(tuple(world), positive)
    mask = session.mask()
    assert 0.01 < mask.mean() < 0.99
    # Equal wherever the logits are not within rounding of 0.
    clear = np.abs(logits) > 1e-3 * np.abs(logits).max()
    assert clear.mean() > 0.99
    assert np.array_equal(mask[clear], (logits > 0)[clear])
