"""Timelines, prompts and masks for tests, with a function that stands for network and volume."""

import hashlib

import numpy as np

from sammed3d.core.geometry import Box
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt, Click
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.object_timeline import ObjectTimeline

A, B, C, D = (Click((10.0 * n, 0, 0), positive=n != 2) for n in range(4))

BOX = BoxPrompt((0, 0, 0), (5, 5, 5))


def drawn(number: int) -> BoxedMask:
    """A mask that somebody drew; each number another one."""
    return BoxedMask(Box((number, 0, 0), (number + 2, 3, 1)), np.ones((2, 3, 1), np.uint8, order="F"))


def evaluate(state: PromptState) -> BoxedMask | None:
    """Stands for network and volume: some mask that nothing but the state determines."""
    if state.is_start:
        return state.base
    words = repr((state.clicks, state.base and state.base.digest, state.box, state.model))
    number = int(hashlib.sha256(words.encode()).hexdigest()[:6], 16)
    bits = np.unpackbits(np.frombuffer(number.to_bytes(3, "big"), np.uint8)).reshape((2, 3, 4), order="F")
    return BoxedMask.of(bits)


def same(a: BoxedMask | None, b: BoxedMask | None) -> bool:
    """Whether both are nothing, or the same voxels."""
    return (a is None and b is None) or (a is not None and b is not None and a.digest == b.digest)


def clicked(*clicks, model="m"):
    """A timeline with clicks, all evaluated one after the other."""
    timeline = ObjectTimeline()
    for count in range(1, len(clicks) + 1):
        timeline.put_clicks(clicks[:count], model)
        assert timeline.evaluated(timeline.now, evaluate(timeline.now))
    return timeline
