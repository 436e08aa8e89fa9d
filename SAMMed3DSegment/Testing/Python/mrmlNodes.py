"""MRML nodes for tests, added to a scene."""

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from helpers import make_affine
from sammed3d import Box
from SAMMed3DSegmentLib.MaskGrids import imageOf, matrixOfVolume

OBLIQUE = make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30))
"""Voxels (I, J, K) to RAS mm of a volume that lies askew."""


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


def addSeries(scene, volumes, name="heart"):
    """Add a sequence of volumes and a browser that shows the first; returns the browser and the node that it fills."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for number, volume in enumerate(volumes):
        node = addVolume(scene, volume.array, volume.grid.index_to_world, name)
        sequence.SetDataNodeAtValue(node, f"{0.8 * number:.1f}")
        scene.RemoveNode(node)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser, browser.GetProxyNode(sequence)


def linearTransform(scene, affine):
    """Add a linear transform node."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(affine).ravel())
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(matrix)
    return node


def addSegment(segmentationNode, name="liver"):
    """Add an empty segment and return its id."""
    return segmentationNode.GetSegmentation().AddEmptySegment("", name)


def voxels(segmentationNode, segmentId, shape=(40, 50, 30)):
    """Return a segment on the whole grid of its segmentation, (I, J, K)."""
    image = slicer.vtkOrientedImageData()
    segmentationNode.GetBinaryLabelmapRepresentation(segmentId, image)
    whole = np.zeros(shape, np.uint8)
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    if i1 >= i0 and image.GetPointData().GetScalars():
        block = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1).T
        whole[i0 : i1 + 1, j0 : j1 + 1, k0 : k1 + 1] = block
    return whole


def drawByHand(segmentationNode, segmentId, volumeNode, box, value=1):
    """Fill (or clear) a box of voxels in a segment, as somebody would in the Segment Editor."""
    mask = np.ones(box.shape, np.uint8)
    labelmap = imageOf(box, mask, matrixOfVolume(volumeNode))
    logic = slicer.vtkSlicerSegmentEditorLogic()
    editor = slicer.vtkMRMLSegmentEditorNode()
    editor.SetOverwriteMode(editor.OverwriteNone)
    slicer.mrmlScene.AddNode(editor)
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.SetSegmentEditorNode(editor)
    logic.SetSegmentationNode(segmentationNode)
    logic.SetSourceVolumeNode(volumeNode)
    mode = logic.ModificationModeAdd if value else logic.ModificationModeRemove
    logic.ModifySegmentByLabelmap(segmentationNode, segmentId, labelmap, mode, labelmap.GetExtent(), True, True)
    slicer.mrmlScene.RemoveNode(editor)


def newEditor(segmentationNode, volumeNode):
    """Open the Segment Editor's widget on a segmentation, with the module's settings, which the scene keeps."""
    scene = slicer.mrmlScene
    node = slicer.vtkMRMLSegmentEditorNode()
    node.SetSingletonTag("SegmentEditor")
    node = scene.AddNode(node)
    node.SetOverwriteMode(node.OverwriteNone)
    widget = slicer.qMRMLSegmentEditorWidget()
    widget.setMRMLScene(scene)
    widget.setMRMLSegmentEditorNode(node)
    widget.setSegmentationNode(segmentationNode)
    widget.setSourceVolumeNode(volumeNode)
    return widget


def importedSegments(scene, affine, referenceVolume):
    """A segmentation for a volume, whose two segments share a label map on another grid, as after an import."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "imported")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(referenceVolume)
    labels = np.zeros((20, 20, 10), np.uint8)
    labels[3:8, 3:8, 2:5], labels[3:8, 10:15, 2:5] = 1, 2
    image = imageOf(Box((0, 0, 0), labels.shape), labels, affine)
    for value, name in enumerate(("one", "two"), start=1):
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetLabelValue(value)
        segment.AddRepresentation("Binary labelmap", image)
        node.GetSegmentation().AddSegment(segment, name)
    return node
