"""Files that `sammed3d` writes, opened by Slicer's own storage node."""

import numpy as np
import slicer
import vtk

from helpers import make_affine
from mrmlNodes import voxels
from sammed3d import Grid
from sammed3d.core.mask import BoxedMask
from sammed3d.files.segmentation import Segment, write_segments
from SAMMed3DSegmentLib.MaskGrids import arrayFromMatrix


def test_slicer_reads_names_colours_layers_voxels_and_geometry(scene, tmp_path):
    grid = Grid((20, 22, 24), make_affine((-0.8, 1.1, 2.5), (0.2, -0.1, 0.3), (10, 20, 30)))
    masks = {name: np.zeros(grid.shape, np.uint8) for name in ("Liver", "Lésion", "Spleen", "Empty")}
    masks["Liver"][3:12, 4:9, 5:20] = 1
    masks["Lésion"][8:14, 6:12, 3:9] = 1  # overlaps the liver
    masks["Spleen"][15:18, 15:20, 2:4] = 1
    segments = [Segment(name, BoxedMask.of(mask), (0.8, 0.4, 0.3)) for name, mask in masks.items()]
    write_segments(tmp_path / "x.seg.nrrd", segments, grid)

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(tmp_path / "x.seg.nrrd"))
    assert node.GetStorageNode().ReadData(node)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfLayers() == 2
    for index, (name, mask) in enumerate(masks.items()):
        segmentId = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(segmentId)
        assert segment.GetName() == name
        assert np.allclose(segment.GetColor(), (0.8, 0.4, 0.3))
        assert np.array_equal(voxels(node, segmentId, grid.shape), mask)
        terminology = vtk.mutable("")
        assert segment.GetTag("TerminologyEntry", terminology)
        assert "Tissue" in str(terminology)
        image = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(segmentId, image)
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        assert np.abs(arrayFromMatrix(matrix) - grid.index_to_world).max() < 1e-6
