"""Offscreen slice and 3-D views with the real displayable managers: clicks go through the real interactor."""

from __future__ import annotations

import types

import slicer
import vtk
from vtkmodules.vtkInteractionStyle import vtkInteractorStyleUser
from vtkmodules.vtkRenderingCore import vtkInteractorStyle3D

from slicerHarness.scene import layout

SLICE_MANAGERS = ("Crosshair", "ModelSlice", "ScalarBar", "Segmentations:2D", "Markups")
THREED_MANAGERS = ("Camera", "View", "Model", "Segmentations:3D", "Markups")


class _View:
    def __init__(self, factoryClass, managers, size):
        self.renderer, self.window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
        self.window.ShowWindowOff()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        self.factory = factoryClass.GetInstance()
        self.factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for manager in managers:
            kind, _, ending = manager.partition(":")
            name = f"vtkMRML{kind}DisplayableManager{ending}"
            if not self.factory.IsDisplayableManagerRegistered(name):
                self.factory.RegisterDisplayableManager(name)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.SetRenderer(self.renderer)

    def click(self, x, y):
        """Press and release the left button at a pixel."""
        self.interactor.SetEventInformation(int(x), int(y))
        for event in ("MouseMoveEvent", "LeftButtonPressEvent", "LeftButtonReleaseEvent"):
            self.interactor.InvokeEvent(event)

    def drag(self, start, end):
        """Press at one pixel, move to another and release."""
        self.interactor.SetEventInformation(*map(int, start))
        self.interactor.InvokeEvent("MouseMoveEvent")
        self.interactor.InvokeEvent("LeftButtonPressEvent")
        for step in range(1, 5):
            at = [int(a + (b - a) * step / 4) for a, b in zip(start, end, strict=True)]
            self.interactor.SetEventInformation(*at)
            self.interactor.InvokeEvent("MouseMoveEvent")
        self.interactor.InvokeEvent("LeftButtonReleaseEvent")

    def save(self, path):
        """Render into a PNG file."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        writer = vtk.vtkPNGWriter()
        writer.SetFileName(str(path))
        writer.SetInputConnection(grab.GetOutputPort())
        writer.Write()


class SliceView(_View):
    """A slice view."""

    def __init__(self, name="Red", orientation="Axial", size=(400, 400)):
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory, SLICE_MANAGERS, size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.overlay = vtk.vtkRenderer()
        self.overlay.SetLayer(1)  # markups draw there
        self.overlay.GetActiveCamera().ParallelProjectionOn()
        self.window.SetNumberOfLayers(2)
        self.window.AddRenderer(self.overlay)
        self.mapper, self.actor = vtk.vtkImageMapper(), vtk.vtkActor2D()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        self.actor.SetMapper(self.mapper)
        self.actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self.actor)
        self.group.Initialize(self.factory, self.renderer)
        applicationLogic = slicer.app.applicationLogic()
        if applicationLogic.GetSliceLogics() is None:
            applicationLogic.SetSliceLogics(vtk.vtkCollection())
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(applicationLogic)
        applicationLogic.GetSliceLogics().AddItem(self.logic)
        self.style = slicer.vtkMRMLSliceViewInteractorStyle()
        self.style.SetSliceLogic(self.logic)
        self.style.SetDisplayableManagers(self.group)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddSliceNode(name)
        self.group.SetMRMLDisplayableNode(self.node)
        self.interactor.SetInteractorStyle(vtkInteractorStyleUser())
        self.style.SetInteractor(self.interactor)
        self.node.SetOrientation(orientation)
        self.node.SetMappedInLayout(1)
        self.logic.ResizeSliceNode(*size)
        layout.sliceWidgets[name] = self

    def mrmlSliceNode(self):
        """The slice node, as of the application's slice widgets."""
        return self.node

    def sliceView(self):
        """What has the interactor, as of the application's slice widgets."""
        return types.SimpleNamespace(interactor=lambda: self.interactor)

    def show(self, volumeNode, through=None):
        """Show a volume, the slice through a world point."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volumeNode.GetID())
        self.logic.FitSliceToBackground()
        if through is not None:
            self.node.JumpSliceByOffsetting(*through)
        self.mapper.SetInputConnection(self.logic.GetImageDataConnection())

    def draw(self, pixels, shift=0, quickly=False):
        """Hold the left button along pixels, and perhaps Shift.

        `quickly`: so soon after another stroke that VTK says a double click in place of the second press.
        """
        event = "LeftButtonDoubleClickEvent" if quickly else "LeftButtonPressEvent"
        for x, y in pixels:
            self.interactor.SetEventInformation(int(x), int(y), 0, shift)
            self.interactor.InvokeEvent(event)
            event = "MouseMoveEvent"
        self.interactor.InvokeEvent("LeftButtonReleaseEvent")

    def pixelOf(self, world):
        """Return the pixel (x, y) at which a world point is shown."""
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), inverse)
        return inverse.MultiplyPoint([*world, 1])[:2]

    def worldAt(self, x, y):
        """Return the world point shown at a pixel."""
        return self.node.GetXYToRAS().MultiplyPoint([x, y, 0, 1])[:3]


def closeSliceViews():
    """Forget all slice views, which the application keeps for as long as it runs."""
    layout.sliceWidgets.clear()
    logics = slicer.app.applicationLogic().GetSliceLogics()
    if logics is not None:
        for index in range(logics.GetNumberOfItems()):
            logics.GetItemAsObject(index).SetMRMLScene(None)
        logics.RemoveAllItems()
    for kind in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode", "vtkMRMLSliceDisplayNode"):
        for node in list(slicer.util.getNodesByClass(kind)):
            slicer.mrmlScene.RemoveNode(node)


class ThreeDView(_View):
    """A 3-D view."""

    def __init__(self, name="1", size=(400, 400)):
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, THREED_MANAGERS, size)
        self.group.Initialize(self.factory, self.renderer)
        applicationLogic = slicer.app.applicationLogic()
        if applicationLogic.GetViewLogics() is None:
            applicationLogic.SetViewLogics(vtk.vtkCollection())
        self.style = slicer.vtkMRMLThreeDViewInteractorStyle()
        self.style.SetDisplayableManagers(self.group)
        self.style.SetInteractor(self.interactor)
        self.interactor.SetInteractorStyle(vtkInteractorStyle3D())
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(applicationLogic)
        applicationLogic.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddViewNode(name)
        self.group.SetMRMLDisplayableNode(self.node)
        self.node.SetMappedInLayout(1)
