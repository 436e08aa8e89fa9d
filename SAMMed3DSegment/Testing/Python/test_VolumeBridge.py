import numpy as np
import pytest
import slicer
import vtk

from helpers import make_affine, phantom
from mrmlNodes import addVolume, linearTransform
from sammed3d import Grid, Volume, VolumeError
from SAMMed3DSegmentLib.VolumeBridge import volumeDigest, volumeFromNode, worldToVolume


def test_voxels_and_geometry_are_the_nodes(volumeNode):
    volume = volumeFromNode(volumeNode)
    assert np.array_equal(volume.array, phantom((40, 50, 30)))
    expected = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
    assert np.abs(volume.grid.index_to_world - expected).max() < 1e-9
    assert volume.name == "CT"


def test_voxels_are_not_copied(volumeNode):
    volume = volumeFromNode(volumeNode)
    volumeNode.GetImageData().SetScalarComponentFromDouble(3, 4, 5, 0, -777)
    assert volume.array[3, 4, 5] == -777


def test_nodes_without_a_usable_image_are_named(scene):
    with pytest.raises(VolumeError, match="Empty: this volume holds no image"):
        volumeFromNode(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty"))
    with pytest.raises(VolumeError, match="Flat: all voxels have the same value"):
        volumeFromNode(addVolume(scene, np.zeros((4, 5, 6), np.int16), np.eye(4), "Flat"))


def test_a_volume_of_vectors_is_refused_with_the_module_that_converts_it(scene):
    node = addVolume(scene, phantom((10, 10, 10)), np.eye(4), "Flow")
    image = vtk.vtkImageData()
    image.SetDimensions(10, 10, 10)
    image.AllocateScalars(vtk.VTK_FLOAT, 3)
    node.SetAndObserveImageData(image)
    with pytest.raises(VolumeError, match=r"^Flow: .* Convert it with the module Vector to Scalar Volume, and choose"):
        volumeFromNode(node)


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1e9, 1, 1), (np.nan, 1, 1)])
def test_a_geometry_that_is_none_is_told_with_the_volumes_name_and_a_remedy(scene, spacing):
    node = addVolume(scene, phantom((10, 10, 10)), np.eye(4), "Odd")
    node.SetSpacing(*spacing)
    with pytest.raises(VolumeError, match=r"^Odd: voxels of \S+ x 1 x 1 mm\. .*in the module Volumes"):
        volumeFromNode(node)


def test_clicks_pass_nested_linear_transforms(scene, volumeNode):
    inner = linearTransform(scene, make_affine((1, 1, 1), (0.1, 0.5, -0.3), (5, 6, 7)))
    outer = linearTransform(scene, make_affine((1, 1.2, 1), (0.4, 0, 0), (-50, 0, 9)))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    volumeNode.SetAndObserveTransformNodeID(inner.GetID())
    local = np.array([12.0, -3.0, 40.0])
    matrices = [make_affine((1, 1.2, 1), (0.4, 0, 0), (-50, 0, 9)), make_affine((1, 1, 1), (0.1, 0.5, -0.3), (5, 6, 7))]
    world = (matrices[0] @ matrices[1] @ [*local, 1])[:3]
    assert np.allclose(worldToVolume(volumeNode, tuple(world)), local)


def test_clicks_pass_a_bspline_transform(scene, volumeNode):
    grid = vtk.vtkImageData()
    grid.SetDimensions(8, 8, 8)
    grid.SetOrigin(-100, -100, -100)
    grid.SetSpacing(40, 40, 40)
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    for i in range(8):
        for j in range(8):
            for k in range(8):
                for axis in range(3):
                    grid.SetScalarComponentFromDouble(i, j, k, axis, 40 * np.sin(i + 2 * j + 3 * k + axis))
    bspline = slicer.vtkOrientedBSplineTransform()
    bspline.SetCoefficientData(grid)
    node = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    node.SetAndObserveTransformToParent(bspline)
    volumeNode.SetAndObserveTransformNodeID(node.GetID())
    local = (12.0, -3.0, 40.0)
    world = bspline.TransformPoint(local)
    assert np.linalg.norm(np.subtract(world, local)) > 0.5
    assert np.allclose(worldToVolume(volumeNode, world), local, atol=0.01)


def test_an_image_is_the_same_whatever_the_sign_of_a_zero_in_its_matrix():
    matrix = np.diag([-1.0, -1.0, 2.0, 1.0])
    flipped = np.where(matrix == 0, -0.0, matrix)
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    one, other = (volumeDigest(Volume(voxels, Grid((3, 4, 5), each))) for each in (matrix, flipped))
    assert one == other
