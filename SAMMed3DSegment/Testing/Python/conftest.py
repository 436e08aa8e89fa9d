"""A MRML scene without the desktop application: real nodes and logics from slicer-core."""

import importlib.util

import pytest

from helpers import make_affine, phantom

if importlib.util.find_spec("slicer") is None:  # no slicer-core for this platform
    collect_ignore_glob = ["test_*.py"]
else:
    import slicer

    from mrmlNodes import addVolume


@pytest.fixture
def scene():
    """An empty scene with the logics that register nodes for segmentations and markups."""
    mrmlScene = slicer.vtkMRMLScene()
    slicer.mrmlScene = mrmlScene
    applicationLogic = slicer.vtkSlicerApplicationLogic()
    applicationLogic.SetMRMLScene(mrmlScene)
    logics = [slicer.vtkSlicerSegmentationsModuleLogic(), slicer.vtkSlicerMarkupsLogic()]
    for logic in logics:
        logic.SetMRMLApplicationLogic(applicationLogic)
        logic.SetMRMLScene(mrmlScene)
    yield mrmlScene
    mrmlScene.Clear(1)


@pytest.fixture
def volumeNode(scene):
    """An oblique, anisotropic CT-like phantom."""
    return addVolume(scene, phantom((40, 50, 30)), make_affine((2.0, 2.5, 3.0), (0.2, -0.1, 0.3), (10, -20, 30)))
