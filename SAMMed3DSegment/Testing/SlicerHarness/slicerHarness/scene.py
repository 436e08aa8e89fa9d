"""slicer.mrmlScene, slicer.app and slicer.modules on slicer-core's real nodes and logics."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import types
from pathlib import Path

import slicer

import ctk
import qt
from slicerHarness import manifest

INI = qt.QSettings.IniFormat
KEEPER = Path(__file__).parents[4] / "Server" / "sammed3d" / "web" / "front" / "keeper.py"
"""Removes a folder once the process that started it is gone; the front of the page has it, too."""
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


startupFunctions = []
"""What waits for the application to have started: tests call it."""
unloadFunctions = []
"""What waits for a module to be unloaded."""


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
            self.scene.StartState(self.scene.SaveState)
            try:
                return bool(self.scene.WriteToMRB(path))
            finally:
                self.scene.EndState(self.scene.SaveState)
        node = self.scene.GetNodeByID(properties["nodeID"])
        if not node.GetStorageNode():
            node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(path)
        return bool(node.GetStorageNode().WriteData(node))


@manifest.strict("qSlicerModuleManager")
class ModuleManager:
    """Stands for the module manager: tells modules that they are about to be unloaded."""

    def module(self, name):
        """A module by its name; None where there is none."""
        found = getattr(slicer.modules, name.lower(), None)
        return found if getattr(found, "name", None) == name else None

    def connect(self, signal, function):
        if signal != "moduleAboutToBeUnloaded(QString)":
            raise ValueError(f"qSlicerModuleManager has no signal {signal}, or not in this harness")
        unloadFunctions.append(function)
        return True

    def disconnect(self, signal, function):
        unloadFunctions.remove(function)
        return True


class ModuleSelector:
    """Stands for the module selector of the tool bar: leaves one module and enters another."""

    def __init__(self):
        self.selected = ""

    def selectModule(self, name):
        for entry, step in ((self.selected, "exit"), (name, "enter")):
            module = slicer.app.moduleManager().module(entry)
            if module is not None and module.widgetRepresentation().isEntered != (step == "enter"):
                getattr(module.widgetRepresentation(), step)()
        self.selected = name


class MainWindow(qt.QMainWindow):
    """Stands for qSlicerMainWindow."""

    def __init__(self):
        super().__init__()
        self._selector = ModuleSelector()

    def moduleSelector(self):
        return self._selector


class LayoutManager:
    """Stands for qSlicerLayoutManager: the slice views that a test has opened.

    Attributes:
        sliceWidgets: them by name; see `views.SliceView`.
    """

    def __init__(self):
        self.sliceWidgets = {}

    def sliceViewNames(self):
        return tuple(self.sliceWidgets)

    def sliceWidget(self, name):
        return self.sliceWidgets.get(name)

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()


layout = LayoutManager()
"""The views on the screen."""


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
    folder, keeper = _temporaryFolder()
    applicationLogic.SetTemporaryPath(folder)
    scene.SetRootDirectory(folder)
    keep = [keeper, *_dataIO(scene, applicationLogic, folder)]
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
    slicer.app = Application(scene, applicationLogic, folder, keep)
    return scene


def _temporaryFolder():
    """Make the application's folder for temporary files; returns it with the process that removes it at our end.

    However that comes: a run of tests may be killed.
    """
    folder = tempfile.mkdtemp(prefix="slicer-")
    command, silent = [sys.executable, "-I", str(KEEPER), folder], subprocess.DEVNULL
    keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=silent, stderr=silent, start_new_session=True)
    return folder, keeper


def _dataIO(scene, applicationLogic, folder):
    """What ReadFromMRB needs."""
    remoteIO = slicer.vtkMRMLRemoteIOLogic()
    remoteIO.GetCacheManager().SetRemoteCacheDirectory(folder)
    dataIO = slicer.vtkDataIOManagerLogic()
    dataIO.SetMRMLApplicationLogic(applicationLogic)
    dataIO.SetAndObserveDataIOManager(remoteIO.GetDataIOManager())
    applicationLogic.SetMRMLSceneDataIO(scene, remoteIO, dataIO)
    return remoteIO, dataIO


@manifest.strict("qSlicerApplication")
class Application:
    """Stands for qSlicerApplication: what the module and slicer.util ask of it, nothing else."""

    applicationName, majorVersion, minorVersion, revision = "SlicerHarness", 5, 12, "0"
    slicerUserSettingsFilePath = property(lambda self: f"{self.temporaryPath}/settings.ini")

    def __init__(self, scene, applicationLogic, folder, keep):
        self._scene, self._logic, self._keep = scene, applicationLogic, keep
        self.temporaryPath = folder
        self._io, self._settings = CoreIOManager(scene), qt.QSettings(self.slicerUserSettingsFilePath, INI)
        self._settingsDialog = ctk.ctkSettingsDialog()
        self._settingsDialog.settings = self._settings
        self._mainWindow = MainWindow()
        self._mainWindow.setObjectName("qSlicerMainWindow")
        self._modules = ModuleManager()

    def connect(self, signal, function):
        if signal != "startupCompleted()":
            raise ValueError(f"qSlicerApplication has no signal {signal}, or not in this harness")
        startupFunctions.append(function)
        return True

    def applicationLogic(self):
        return self._logic

    def mrmlScene(self):
        return self._scene

    def testingEnabled(self):
        return False

    def processEvents(self, *_):
        qt.QApplication.processEvents()

    def coreIOManager(self):
        return self._io

    ioManager = coreIOManager

    def moduleManager(self):
        return self._modules

    def layoutManager(self):
        return layout if layout.sliceWidgets else None  # without views, as Slicer with --no-main-window

    def settingsDialog(self):
        return self._settingsDialog

    def settings(self):
        return self._settings

    userSettings = settings

    def topLevelWidgets(self):
        """Go through them, the main window first: the list of all is not made for who looks for that one."""
        yield self._mainWindow
        yield from qt.app.topLevelWidgets()

    def setOverrideCursor(self, cursor):
        qt.QApplication.setOverrideCursor(qt.QCursor(cursor))

    def restoreOverrideCursor(self):
        qt.QApplication.restoreOverrideCursor()

    def pauseRender(self):
        pass

    def resumeRender(self):
        pass

    def translate(self, context, text):
        return text
