"""From a click in Slicer to the painted segment: everything but the network, on a 512x512x400 volume.

The predictor costs nothing, so what is measured is what this extension adds. The goal is 0.6 s on two cores. Beside it,
in the same run: what it costs to write the same mask with `slicer.util.updateSegmentBinaryLabelmapFromArray`, as other
extensions do. Needs slicer-core and PySide6 (extra [test]).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
TESTING = ROOT / "SAMMed3DSegment" / "Testing"
for folder in (TESTING / "SlicerHarness", TESTING / "Python", ROOT / "SAMMed3DSegment", ROOT / "Server" / "tests"):
    sys.path.insert(0, str(folder))

import slicer  # noqa: E402

import slicerHarness  # noqa: F401, E402 - fills `slicer`
from mrmlNodes import addVolume  # noqa: E402
from sammed3d import Capabilities, Prediction, Preset  # noqa: E402
from SAMMed3DSegmentLib.InferenceThread import InferenceThread  # noqa: E402
from SAMMed3DSegmentLib.Segmenter import Segmenter  # noqa: E402
from SAMMed3DSegmentLib.VolumeBridge import volumeFromNode  # noqa: E402

SHAPE = (512, 512, 400)


class BallPredictor:
    """A ball of 60 mm round the first click, a little smaller with every further one; costs a millisecond."""

    name = "ball"
    preset = Preset()
    capabilities = Capabilities()

    def __init__(self) -> None:
        axis = np.arange(32, dtype=np.float32) * 4 + 1.5
        self._axes = axis[:, None, None], axis[None, :, None], axis[None, None, :]

    def predict(self, patch, prompts, cancellation=None):
        centre = prompts.clicks[0].voxel
        squared = sum((a - c) ** 2 for a, c in zip(self._axes, centre, strict=True))
        return Prediction((20 - len(prompts.clicks) - np.sqrt(squared) / 2).astype(np.float32))


def main() -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 1000, SHAPE, dtype=np.int16)
    volumeNode = addVolume(slicer.mrmlScene, array, np.diag([0.8, 0.8, 1.0, 1.0]))
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.CreateDefaultDisplayNodes()
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("ball")
    thread = InferenceThread(lambda name: BallPredictor())
    segmenter = Segmenter(thread)
    segmenter.setInput(volumeNode, segmentationNode)
    segmenter.pointsFor(segmentId)
    grid = volumeFromNode(volumeNode).grid
    rows = []
    for n in range(8):
        world = grid.to_world((256 + 5 * n, 256, 200))
        begin = time.perf_counter()
        segmenter.click(segmentId, world)
        while segmenter.busy:
            segmenter.poll()
            time.sleep(0.001)
        rows.append((time.perf_counter() - begin, dict(segmenter.seconds)))
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)
    begin = time.perf_counter()
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentationNode, segmentId, volumeNode)
    baseline = time.perf_counter() - begin
    for name, (total, stages) in (("first click", rows[0]), ("further click", sorted(rows[1:], key=lambda r: r[0])[3])):
        share = ", ".join(f"{stage} {1000 * value:.0f} ms" for stage, value in stages.items())
        rest = total - sum(stages.values())
        print(f"{name}: {1000 * total:.0f} ms ({share}, the rest {1000 * rest:.0f} ms)")
    further = sorted(r[0] for r in rows[1:])[3]
    print(f"writing the mask alone with updateSegmentBinaryLabelmapFromArray: {1000 * baseline:.0f} ms")
    print(f"a whole further click takes {further / baseline:.2f} times as long as that")
    segmenter.forgetScene()
    thread.stop()


if __name__ == "__main__":
    main()
