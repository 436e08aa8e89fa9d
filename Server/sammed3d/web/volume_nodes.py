"""Volumes and pictures as nodes of a scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtkmodules.util.numpy_support import numpy_to_vtk

from sammed3d.files.picture import PictureVolume
from sammed3d.files.volume import Volume

WHOLE_RANGE = 255.0, 127.5
"""Window and level at which the colours of a picture are shown as they are."""


def volume_node_of(volume: Volume) -> Any:
    """Add a volume to the scene, with a copy of its voxels; a picture in its colours, also where they are greys."""
    if isinstance(volume, PictureVolume):
        colours = volume.picture.pixels[..., ::-1]  # red first
        node = _node("vtkMRMLVectorVolumeNode", volume, np.ascontiguousarray(colours).reshape(-1, 3))
        node.SetVoxelVectorType(slicer.vtkMRMLVolumeNode.VoxelVectorTypeColorRGB)
        display = node.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(*WHOLE_RANGE)
        return node
    array = np.asfortranarray(volume.array, volume.array.dtype.newbyteorder("="))
    return _node("vtkMRMLScalarVolumeNode", volume, array.ravel(order="F"))


def bounds_of(node: Any) -> tuple[float, ...]:
    """Return the box round a volume (RAS mm): from, to along R, A and S; of none an empty one."""
    box = [0.0] * 6
    if node is not None:
        node.GetRASBounds(box)
    return tuple(box)


def _node(kind: str, volume: Volume, voxels: npt.NDArray[np.generic]) -> Any:
    """Add a node with voxels (N,) or (N, components), the first index fastest."""
    node = slicer.mrmlScene.AddNewNodeByClass(kind, Path(volume.name).name.split(".")[0])
    image = vtk.vtkImageData()
    image.SetDimensions(*volume.grid.shape)
    image.GetPointData().SetScalars(numpy_to_vtk(voxels, deep=True))
    node.SetAndObserveImageData(image)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(volume.grid.index_to_world.ravel().tolist())
    node.SetIJKToRASMatrix(matrix)
    node.CreateDefaultDisplayNodes()
    return node
