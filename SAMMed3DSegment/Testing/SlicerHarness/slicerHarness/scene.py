"""slicer.mrmlScene, slicer.app and slicer.modules on slicer-core's real nodes and logics."""

from __future__ import annotations

import tempfile
import types
from pathlib import Path

import slicer

import qt

LOGICS = {
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
}
FILE_TYPES = {
    ".seg.nrrd": "SegmentationFile",
    ".mrk.json": "MarkupsFile",
    ".mrb": "SceneFile",
    ".mrml": "SceneFile",
    ".stl": "ModelFile",
}
NODE_CLASSES = {
    "SegmentationFile": "vtkMRMLSegmentationNode",
    "MarkupsFile": "vtkMRMLMarkupsFiducialNode",
    "ModelFile": "vtkMRMLModelNode",
}


class CoreIOManager:
    """Stands for qSlicerCoreIOManager: one storage node for each node class."""

    def __init__(self, scene):
        self.scene = scene

    def fileType(self, path):
        lower = str(path).lower()
        return next((kind for ending, kind in FILE_TYPES.items() if lower.endswith(ending)), "VolumeFile")

    def loadNodes(self, fileType, properties, loaded, messages=None):
        path = properties["fileName"]
        name = properties.get("name") or Path(path).name.split(".")[0]
        if not Path(path).exists():
            return False
        if fileType == "SceneFile":
            return bool(self.scene.ReadFromMRB(path))
        if fileType == "VolumeFile":
            node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name, int(properties.get("labelmap", 0)))
        else:
            node = self.scene.AddNewNodeByClass(NODE_CLASSES[fileType], name)
            node.AddDefaultStorageNode(path)
            if not node.GetStorageNode().ReadData(node):
                self.scene.RemoveNode(node)
                return False
            node.CreateDefaultDisplayNodes()
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def fileWriterFileType(self, node):
        return node.GetClassName()

    def saveNodes(self, fileType, properties, messages=None):
        path = properties["fileName"]
        if fileType == "SceneFile":
            return bool(self.scene.WriteToMRB(path))
        node = self.scene.GetNodeByID(properties["nodeID"])
        if not node.GetStorageNode():
            node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))


class ModuleManager:
    """Stands for the module factory manager's signals."""

    def connect(self, *_):
        return True

    disconnect = connect


class Module:
    """An entry of slicer.modules."""

    def __init__(self, logic):
        self._logic = logic

    def logic(self):
        return self._logic


def boot():
    """Fill the module `slicer` with a scene and what the application adds to it. Once for each process."""
    scene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    applicationLogic = slicer.vtkSlicerApplicationLogic()
    applicationLogic.SetMRMLScene(scene)
    folder = tempfile.mkdtemp(prefix="slicer-")
    applicationLogic.SetTemporaryPath(folder)
    scene.SetRootDirectory(folder)
    keep = [*_dataIO(scene, applicationLogic, folder)]
    logics = {"colors": slicer.vtkMRMLColorLogic()}
    for name, className in LOGICS.items():
        logics[name.lower()] = getattr(slicer, className)()
    for name, logic in zip(("Colors", *LOGICS), logics.values(), strict=True):
        logic.SetMRMLApplicationLogic(applicationLogic)
        logic.SetMRMLScene(scene)
        applicationLogic.SetModuleLogic(name, logic)
    applicationLogic.GetColorLogic().SetMRMLScene(scene)
    applicationLogic.GetColorLogic().AddDefaultColorNodes()
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    slicer.mrmlScene = scene
    slicer.modules = types.SimpleNamespace(**{name: Module(logic) for name, logic in logics.items()})
    slicer.app = _application(scene, applicationLogic, folder, keep)
    return scene


def _dataIO(scene, applicationLogic, folder):
    """What ReadFromMRB needs."""
    remoteIO = slicer.vtkMRMLRemoteIOLogic()
    remoteIO.GetCacheManager().SetRemoteCacheDirectory(folder)
    dataIO = slicer.vtkDataIOManagerLogic()
    dataIO.SetMRMLApplicationLogic(applicationLogic)
    dataIO.SetAndObserveDataIOManager(remoteIO.GetDataIOManager())
    applicationLogic.SetMRMLSceneDataIO(scene, remoteIO, dataIO)
    return remoteIO, dataIO


def _application(scene, applicationLogic, folder, keep):
    io, settings, startup = CoreIOManager(scene), qt.QSettings(f"{folder}/settings.ini", qt.QSettings.IniFormat), []
    return types.SimpleNamespace(
        keep=keep,
        startupFunctions=startup,
        connect=lambda signal, function: (startup.append((signal, function)), True)[1],
        temporaryPath=folder,
        slicerUserSettingsFilePath=f"{folder}/settings.ini",
        applicationLogic=lambda: applicationLogic,
        mrmlScene=lambda: scene,
        applicationName="SlicerHarness",
        testingEnabled=lambda: True,
        processEvents=lambda *_: qt.QApplication.processEvents(),
        coreIOManager=lambda: io,
        ioManager=lambda: io,
        pauseRender=lambda: None,
        resumeRender=lambda: None,
        setOverrideCursor=lambda cursor: qt.QApplication.setOverrideCursor(qt.QCursor(cursor)),
        restoreOverrideCursor=qt.QApplication.restoreOverrideCursor,
        layoutManager=lambda: None,
        topLevelWidgets=qt.app.topLevelWidgets,
        moduleManager=ModuleManager,
        translate=lambda context, text: text,
        settings=lambda: settings,
        userSettings=lambda: settings,
        majorVersion=5,
        minorVersion=12,
        revision="0",
    )
