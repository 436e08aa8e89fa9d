"""SAM-Med2D and FT-SAM against what the published code answers for the same weights and prompts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from networks import filled
from sammed3d.nets import build

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sam_med2d", "ft_sam2d"])
def test_numbers_are_the_published_ones(name):
    golden = {key: torch.from_numpy(value) for key, value in np.load(GOLDEN / f"{name}_seed0.npz").items()}
    network = filled(build(name))
    noise = np.random.Generator(np.random.PCG64(0)).standard_normal((3, 256, 256), dtype=np.float32)
    point, box = torch.tensor([[[100.0, 60.0]]]), torch.tensor([[40.0, 50.0, 200.0, 180.0]])
    positive, nothing = torch.ones(1, 1), (torch.zeros(1, 0, 2), torch.zeros(1, 0))
    with torch.inference_mode():
        embedding = network.encode(torch.from_numpy(noise)[None])
        of_point, point_scores = network.decode(embedding, point, positive, None)
        of_box, box_scores = network.decode(embedding, *nothing, None, box)
        of_both, _ = network.decode(embedding, point, positive, None, box)
        more, labels = torch.tensor([[[100.0, 60.0], [30.0, 220.0]]]), torch.tensor([[1, 0]])
        mask = golden["box_masks"][1].sigmoid()[None, None]
        refined, _ = network.decode(embedding, more, labels, mask, multimask=False)
    answers = {
        "embedding_every_4th_channel": embedding[0, ::4],
        "point_masks": of_point[0],
        "point_iou": point_scores[0],
        "box_masks": of_box[0],
        "box_iou": box_scores[0],
        "point_and_box_masks": of_both[0],
        "refined_mask": refined[0],
    }
    for key, answer in answers.items():
        assert (answer - golden[key]).abs().max() < 1e-4, key
