"""Volumes as nodes of a scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtkmodules.util.numpy_support import numpy_to_vtk

from sammed3d.files.volume import Volume


def volume_node_of(volume: Volume) -> Any:
    """Add a volume to the scene, with a copy of its voxels."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", Path(volume.name).name.split(".")[0])
    array = np.asfortranarray(volume.array, volume.array.dtype.newbyteorder("="))
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape)
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(order="F"), deep=True))
    node.SetAndObserveImageData(image)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(volume.grid.index_to_world.ravel().tolist())
    node.SetIJKToRASMatrix(matrix)
    node.CreateDefaultDisplayNodes()
    return node
