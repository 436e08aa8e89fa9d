"""MRML nodes for tests, added to a scene."""

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy


def addVolume(scene, array, affine, name="CT"):
    """Add a scalar volume node with voxels (I, J, K) and an IJK-to-RAS matrix."""
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape)
    image.AllocateScalars(vtk.VTK_SHORT, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = array.T.ravel()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAndObserveImageData(image)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(affine).ravel())
    node.SetIJKToRASMatrix(matrix)
    return node


def linearTransform(scene, affine):
    """Add a linear transform node."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(affine).ravel())
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(matrix)
    return node
