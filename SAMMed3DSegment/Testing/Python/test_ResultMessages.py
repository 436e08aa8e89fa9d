"""What a user is told about a click that left a mask as it was, and about others."""

import numpy as np
import pytest

from helpers import make_affine, phantom
from sammed3d import Box
from sammed3d.core.geometry import Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import Click
from sammed3d.files.volume import Volume
from sammed3d.inference.inferer import PromptState
from SAMMed3DSegmentLib.Job import Job
from SAMMed3DSegmentLib.ResultMessages import NOTHING_CHANGED, aboutResult

SHAPE = (8, 9, 7)
DRAWN = BoxedMask(Box((1, 1, 1), (4, 5, 6)), np.ones((3, 4, 5), np.uint8))
IN_ANOTHER_BOX = BoxedMask(Box((0, 0, 0), SHAPE), DRAWN.full(SHAPE))
MORE = BoxedMask(Box((1, 1, 1), (5, 5, 6)), np.ones((4, 4, 5), np.uint8))
CLICK = Click((2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("mask", "clicks", "text"),
    [
        (DRAWN, 1, NOTHING_CHANGED),
        (IN_ANOTHER_BOX, 1, NOTHING_CHANGED),
        (MORE, 1, ""),
        (DRAWN, 2, ""),
        (None, 1, "The model found nothing there. Undo, and click further inside the structure."),
    ],
)
def test_a_click_that_left_what_was_drawn_as_it_was_says_so(mask, clicks, text):
    volume = Volume(phantom(SHAPE, 0), Grid(SHAPE, make_affine((1, 1, 1))))
    job = Job(("node", "segment"), volume, "digest", "model", PromptState((CLICK,) * clicks, base=DRAWN))
    job.mask = mask
    assert aboutResult(job) == text
    job.state = PromptState((CLICK,) * clicks)
    assert aboutResult(job) == ("" if mask is not None else text), "nothing was drawn"
