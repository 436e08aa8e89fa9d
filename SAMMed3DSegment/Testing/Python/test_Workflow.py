"""A user's way through the module. Runs headless under pytest, and inside Slicer through the module's self test.

It uses nothing but Slicer, and a stand-in for the network, so it needs neither torch nor a model.
"""

import tempfile
import unittest
from pathlib import Path

import numpy as np
import slicer

from sammed3d import Capabilities, Prediction, Preset


class BallPredictor:
    """Says that there is a ball round every positive click, and none round a negative one."""

    name = "ball"
    preset = Preset()
    capabilities = Capabilities()

    def predict(self, patch, prompts, cancellation=None):
        initial = prompts.mask_prompt
        centres = np.stack(np.meshgrid(*[np.arange(32) * 4 + 1.5] * 3, indexing="ij"), axis=-1)
        logits = np.full((32, 32, 32), -1.0, np.float32) if initial is None else initial.astype(np.float32)
        for click in prompts.clicks:
            inside = np.linalg.norm(centres - np.array(click.voxel), axis=-1) < 20
            logits = np.where(inside, 1.0 if click.positive else -1.0, logits)
        return Prediction(logits.astype(np.float32))


class WorkflowTest(unittest.TestCase):
    """From the sample CT to files."""

    def setUp(self):
        from SAMMed3DSegment import SAMMed3DSegmentLogic
        from SAMMed3DSegmentLib import SampleVolumes

        slicer.mrmlScene.Clear(0)
        self.logic = SAMMed3DSegmentLogic(lambda choice: BallPredictor())
        self.volumeNode = SampleVolumes.load()
        self.segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
        self.segmentationNode.CreateDefaultDisplayNodes()
        self.segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(self.volumeNode)
        self.logic.segmenter.setInput(self.volumeNode, self.segmentationNode)
        self.liver = self.segmentationNode.GetSegmentation().AddEmptySegment("liver", "liver")

    def tearDown(self):
        self.logic.close()
        slicer.mrmlScene.Clear(0)

    def click(self, world, positive=True):
        self.logic.segmenter.click(self.liver, world, positive)
        self.logic.wait()

    def filled(self, name="liver"):
        array = slicer.util.arrayFromSegmentBinaryLabelmap(self.segmentationNode, name, self.volumeNode)
        return 0 if array is None else int(np.count_nonzero(array))

    def test_clicks_undo_and_redo(self):
        centre = (98.0, 164.0, 397.0)
        self.click(centre)
        first = self.filled()
        ball = 4 / 3 * np.pi * 30**3 / 27  # radius 30 mm, voxels of 27 mm3
        self.assertAlmostEqual(first, ball, delta=0.15 * ball)
        self.click((98.0, 164.0, 420.0), positive=False)
        second = self.filled()
        self.assertLess(second, first)
        self.logic.segmenter.undo(self.liver)
        self.logic.wait()
        self.assertEqual(self.filled(), first)
        self.logic.segmenter.redo(self.liver)
        self.logic.wait()
        self.assertEqual(self.filled(), second)

    def test_neighbours_are_left_alone(self):
        spleen = self.segmentationNode.GetSegmentation().AddEmptySegment("spleen", "spleen")
        self.logic.segmenter.click(spleen, (98.0, 164.0, 397.0))
        self.logic.wait()
        before = self.filled("spleen")
        self.click((110.0, 164.0, 397.0))
        self.assertEqual(self.filled("spleen"), before)
        self.assertGreater(self.filled(), 0)

    def test_a_scene_is_saved_and_reopened(self):
        self.click((98.0, 164.0, 397.0))
        before = self.filled()
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.util.saveScene(file))
            self.logic.segmenter.forgetScene()
            slicer.mrmlScene.Clear(0)
            slicer.util.loadScene(file)
        self.volumeNode = slicer.util.getNode("Trunk CT")
        self.segmentationNode = slicer.util.getNode("Organs")
        self.logic.segmenter.setInput(self.volumeNode, self.segmentationNode)
        self.assertEqual(self.filled(), before)
        self.click((98.0, 164.0, 420.0))
        self.assertGreater(self.filled(), before)


if __name__ == "__main__":
    unittest.main()
