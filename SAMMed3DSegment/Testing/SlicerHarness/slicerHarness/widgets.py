"""Stand-ins for Slicer's own widgets, bound to the real scene."""

from __future__ import annotations

import sys

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from slicerHarness.manifest import strict
from slicerHarness.uiLoader import register


class SceneWidget:
    """What every qMRML widget has: a scene."""

    def _initializeScene(self):
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._scene = scene
        self._onScene()

    def _onScene(self):
        pass


@strict("qMRMLWidget")
class qMRMLWidget(QtWidgets.QWidget, SceneWidget):
    """The root widget of a module."""

    mrmlSceneChanged = Signal(object)

    def _onScene(self):
        self.mrmlSceneChanged.emit(self._scene)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._initializeScene()


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """What the application puts a scripted module's panel into."""

    def __init__(self, name):
        super().__init__()
        self._name, self._entered, self._self = name, False, None
        self.setLayout(QtWidgets.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    isEntered = Property(bool, lambda self: self._entered)

    def self(self):
        """The Python object."""
        return self._self

    def enter(self):
        self._entered = True
        self._self.enter()

    def exit(self):
        self._entered = False
        self._self.exit()

    def reload(self):
        """Make the Python object anew from the module as it is now; neither the old widgets nor `enter` are called."""
        self._self = getattr(sys.modules[self._name], f"{self._name}Widget")(self)
        setattr(slicer.modules, f"{self._name}Widget", self._self)
        self._self.setup()


def _setting(name, valueType):
    return Property(valueType, lambda self: self._settings[name], lambda self, value: self._setSetting(name, value))


@strict("qMRMLNodeComboBox")
class qMRMLNodeComboBox(QtWidgets.QWidget, SceneWidget):
    """Chooses a node of the scene.

    As Slicer's, it follows QComboBox: the row of a node goes while that is about to leave the scene, and where it was
    the current one, the node behind it is chosen, or the last one. The node is said again where its name changed, and
    where its row moved up.
    """

    nodeTypes = _setting("nodeTypes", "QStringList")
    noneEnabled = _setting("noneEnabled", bool)
    addEnabled = _setting("addEnabled", bool)
    removeEnabled = _setting("removeEnabled", bool)
    renameEnabled = _setting("renameEnabled", bool)
    showChildNodeTypes = _setting("showChildNodeTypes", bool)
    selectNodeUponCreation = _setting("selectNodeUponCreation", bool)
    noneDisplay = _setting("noneDisplay", str)
    baseName = _setting("baseName", str)
    currentNodeChanged = Signal(object)
    nodeAddedByUser = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._initializeScene()
        self._tags, self._busy, self._named = [], False, []
        self._settings = {"nodeTypes": [], "noneEnabled": False, "addEnabled": True, "removeEnabled": True}
        self._settings |= {"renameEnabled": False, "showChildNodeTypes": True, "selectNodeUponCreation": True}
        self._settings |= {"noneDisplay": "None", "baseName": ""}
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QtWidgets.QComboBox()
        layout.addWidget(self._combo)
        self.setFocusProxy(self._combo)
        self._combo.currentIndexChanged.connect(self._emit)

    def _setSetting(self, name, value):
        self._settings[name] = value
        self._fill()

    def _onScene(self):
        for scene, tag in self._tags:
            scene.RemoveObserver(tag)
        self._tags = []
        if self._scene:
            events = slicer.vtkMRMLScene

            @vtk.calldata_type(vtk.VTK_OBJECT)
            def leaves(_scene, _event, node):
                self._onLeaves(node)

            for event, handler in (
                (events.NodeAddedEvent, self._onNode),
                (events.NodeAboutToBeRemovedEvent, leaves),
                (events.EndCloseEvent, self._rebuild),
                (events.EndImportEvent, self._rebuild),
            ):
                self._tags.append((self._scene, self._scene.AddObserver(event, handler)))
        self._fill()

    def _onNode(self, *_):
        if not (self._scene.IsClosing() or self._scene.IsImporting()):
            self._fill()

    def _onLeaves(self, node):
        row = self._combo.findData(node.GetID() or "")
        if row >= 0 and node.GetID() and not self._scene.IsClosing():
            self._combo.removeItem(row)

    def _onName(self, node, _event):
        row = self._combo.findData(node.GetID() or "")
        if row >= 0 and node.GetID() and self._combo.itemText(row) != node.GetName():
            self._combo.setItemText(row, node.GetName())
            if row == self._combo.currentIndex:
                self._emit()

    def _rebuild(self, *_):
        """Remove all rows and make them anew, as qMRMLSceneModel does: nothing is chosen afterwards."""
        before = self._currentId()
        self._busy = True
        self._combo.clear()
        self._busy = False
        if before:
            self.currentNodeChanged.emit(None)
        self._fill()

    def _nodes(self):
        if not self._scene:
            return []
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        children, types = self._settings["showChildNodeTypes"], self._settings["nodeTypes"]
        fitting = [n for n in nodes if any(n.IsA(t) if children else n.GetClassName() == t for t in types)]
        return [n for n in fitting if not n.GetHideFromEditors()]

    def _fill(self):
        before, self._busy = self._currentId(), True
        self._combo.clear()
        if self._settings["noneEnabled"]:
            self._combo.addItem(self._settings["noneDisplay"], "")
        for node, tag in self._named:
            node.RemoveObserver(tag)
        self._named = []
        for node in self._nodes():
            self._combo.addItem(node.GetName(), node.GetID())
            self._named.append((node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onName)))
        self._combo.setCurrentIndex(self._combo.findData(before))
        self._busy = False
        if self._currentId() != before:
            self._emit()

    def _emit(self, *_):
        if not self._busy:
            self.currentNodeChanged.emit(self.currentNode())

    def _currentId(self):
        return self._combo.currentData or ""

    def currentNode(self):
        return self._scene.GetNodeByID(self._currentId()) if self._scene and self._currentId() else None

    def setCurrentNode(self, node):
        self._combo.setCurrentIndex(self._combo.findData(node.GetID() if node else ""))

    def addNode(self, nodeType=None):
        name = self._scene.GenerateUniqueName(self._settings["baseName"] or "Node")
        node = self._scene.AddNewNodeByClass(nodeType or self._settings["nodeTypes"][0], name)
        if self._settings["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node


@strict("qMRMLSegmentsTableView")
class qMRMLSegmentsTableView(qMRMLWidget):
    """Lists segments with visibility, colour and name."""

    selectionChanged = Signal(object, object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._table = QtWidgets.QTableWidget()
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        self._node, self._tag, self._busy = None, None, False
        self._table.setColumnCount(3)
        self._table.setHorizontalHeaderLabels(["", "", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.verticalHeader().hide()
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
        self._table.setColumnWidth(0, 28)
        self._table.setColumnWidth(1, 28)
        self._table.itemSelectionChanged.connect(self._onSelection)
        self._table.itemChanged.connect(self._renamed)

    def tableWidget(self):
        return self._table

    def clearSelection(self):
        self._table.clearSelection()

    def _onSelection(self):
        if not self._busy:
            self.selectionChanged.emit(QtCore.QItemSelection(), QtCore.QItemSelection())

    def setSegmentationNode(self, node):
        if self._node is not None:
            self._node.RemoveObserver(self._tag)
        self._node = node
        if node is not None:
            self._tag = node.AddObserver(vtk.vtkCommand.AnyEvent, self._onEvent)
        self._fill()

    def segmentationNode(self):
        return self._node

    def _onEvent(self, caller, event):
        if not self._busy:
            self._fill()

    def _ids(self):
        segmentation = self._node.GetSegmentation() if self._node else None
        return (
            [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())] if segmentation else []
        )

    def _fill(self):
        selected = self.selectedSegmentIDs()
        self._busy = True
        self._table.setRowCount(0)
        for row, segmentId in enumerate(self._ids()):
            segment = self._node.GetSegmentation().GetSegment(segmentId)
            self._table.insertRow(row)
            eye = QtWidgets.QTableWidgetItem("●")
            colour = QtWidgets.QTableWidgetItem("")
            colour.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            name = QtWidgets.QTableWidgetItem(segment.GetName())
            for item in (eye, colour):
                item.setFlags(QtCore.Qt.ItemIsEnabled | QtCore.Qt.ItemIsSelectable)
            name.setData(QtCore.Qt.UserRole, segmentId)
            for column, item in enumerate((eye, colour, name)):
                self._table.setItem(row, column, item)
        self._select(selected)
        self._busy = False

    def _renamed(self, item):
        if not self._busy and item.column() == 2:
            self._node.GetSegmentation().GetSegment(item.data(QtCore.Qt.UserRole)).SetName(item.text())

    def selectedSegmentIDs(self):
        rows = (
            sorted({index.row() for index in self._table.selectionModel().selectedRows()})
            if self._table.rowCount
            else []
        )
        return [self._table.item(row, 2).data(QtCore.Qt.UserRole) for row in rows]

    def setSelectedSegmentIDs(self, segmentIds):
        self._select(segmentIds)

    def _select(self, segmentIds):
        self.clearSelection()
        for row in range(self._table.rowCount):
            if self._table.item(row, 2).data(QtCore.Qt.UserRole) in segmentIds:
                self._table.selectRow(row)


WIDGETS = {c.__name__: c for c in (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentsTableView)}
register(*WIDGETS.values())
vars(slicer).update(WIDGETS | {"qSlicerScriptedLoadableModuleWidget": qSlicerScriptedLoadableModuleWidget})
