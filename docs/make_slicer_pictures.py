"""Render the pictures of the tutorial: the panel in its main states, and slice and 3-D views with a real result.

They are rendered without the desktop application, by the headless Slicer of the tests (slicer-core and PySide6), so the
frame round the panel differs from the application's. Run: python docs/make_slicer_pictures.py
"""

from __future__ import annotations

import sys
import tempfile
import time
import types
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
MODULES = ("SegmentEditorSAMMed3D", "SAMMed3DSegment", "SAMMed3DSegment/Testing/SlicerHarness")
for folder in ("Server", *MODULES):
    sys.path.insert(0, str(ROOT / folder))

import numpy as np  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402

import slicer  # noqa: E402

import qt  # noqa: E402
import slicerHarness  # noqa: E402 - fills `slicer`
import SegmentEditorSAMMed3D  # noqa: E402
from slicerHarness.views import SliceView, ThreeDView  # noqa: E402

CLICKS = {
    "left kidney": [
        ((-85.0, 110.3, 364.3), True),
        ((-109.0, 119.3, 385.3), False),
        ((-82.0, 152.3, 334.3), True),
        ((-52.0, 128.3, 379.3), True),
        ((-82.0, 161.3, 319.3), False),
        ((-109.0, 125.3, 337.3), True),
    ],
    "spleen": [
        ((-109.0, 107.3, 406.3), True),
        ((-130.0, 140.3, 361.3), True),
        ((-70.0, 128.3, 418.3), True),
    ],
}
"""Each in the middle of the largest error of the answer before."""
COLORS = {"left kidney": (1.0, 0.7, 0.1), "spleen": (0.2, 0.65, 1.0)}  # the same in all pictures, and easy to see
WIDTH = 430


def main() -> None:
    _, module = slicerHarness.loadModule(ROOT / "SAMMed3DSegment" / "SAMMed3DSegment.py")
    shot(module, "panel-start.png", 640)
    module.ui.tryButton.click()
    display = module.logic.getParameterNode().volume.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(450, 50)
    module.ui.folderButton.directory = "~/segmentations"
    module.ui.urlEdit.setText("https://gpu.hospital.example:8443")
    module.ui.positiveButton.click()
    shot(module, "panel-ready.png", 640)
    first = segment(module, "left kidney")
    slices(module, "views-first.png", CLICKS["left kidney"][0][0])
    module.ui.nextSegmentButton.click()
    segment(module, "spleen")
    module.ui.show3DButton.click()
    module.panel.update()
    shot(module, "panel-segments.png", 640)
    slices(module, "views-segments.png", CLICKS["spleen"][1][0])
    search(module)
    for name in ("modelSection", "serverSection", "exportSection"):
        module.ui.placeSelector.setCurrentIndex(1 if name == "serverSection" else 0)
        section = getattr(module.ui, name)
        section.collapsed = False
        shot(module, f"panel-{name.removesuffix('Section')}.png", 860)
        section.collapsed = True
    module.panel.segments.select(first)
    effect(module)
    series(module)
    slicerHarness.unloadModule("SAMMed3DSegment")


def segment(module, name: str) -> str:
    """Click on a structure, as a user would, and wait for the result."""
    for world, positive in CLICKS[name]:
        (module.ui.positiveButton if positive else module.ui.negativeButton).setChecked(True)
        module.panel.clicks.place(positive)
        module.panel.segmenter.pointsFor(module.panel.segmentId).AddControlPointWorld(world)
        while module.panel.segmenter.busy or module.panel.threadTime.active:
            qt.QApplication.processEvents()
            time.sleep(0.01)
    made = module.logic.getParameterNode().segmentation.GetSegmentation().GetSegment(module.panel.segmentId)
    made.SetName(name)
    made.SetColor(*COLORS[name])
    return module.panel.segmentId


def search(module) -> None:
    """Save the section Find with what it finds in a ROI round the left kidney, then let go of it."""
    ui, roi = module.ui, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "left kidney")
    roi.SetCenter(-80, 112, 365)
    roi.SetSize(40, 40, 60)
    roi.SetDisplayVisibility(False)
    ui.findSection.collapsed = False
    ui.regionSelector.setCurrentIndex(1)
    ui.roiSelector.setCurrentNode(roi)
    ui.smallestSpinBox.value = 5
    ui.findButton.click()
    while module.panel.find.busy:
        qt.QApplication.processEvents()
    ui.foundTable.selectRow(0)
    shot(module, "panel-find.png", 1000)
    module.panel.find.forget()
    ui.findSection.collapsed = True
    slicer.mrmlScene.RemoveNode(roi)


def series(module) -> None:
    """Save the section for series in time, with a phantom: the bundled CT, moved by 3 mm from frame to frame."""
    ui, node = module.ui, module.logic.getParameterNode().volume
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "CT in time")
    sequence.SetIndexName("time")
    array = slicer.util.arrayFromVolume(node)
    for number in range(4):
        frame = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT in time")
        frame.CopyContent(node)
        slicer.util.updateVolumeFromArray(frame, np.roll(array, number, axis=1).copy())
        sequence.SetDataNodeAtValue(frame, str(number))
        slicer.mrmlScene.RemoveNode(frame)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "CT browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    ui.segmentationSelector.setCurrentNode(None)
    ui.volumeSelector.setCurrentNode(browser.GetProxyNode(sequence))
    segment(module, "left kidney")
    ui.propagateSection.collapsed = False
    ui.propagateButton.click()
    while module.panel.series.busy:
        qt.QApplication.processEvents()
        time.sleep(0.01)
    shot(module, "panel-series.png", 960)
    ui.propagateSection.collapsed = True


def effect(module) -> None:
    """Save the options of the Segment Editor's effect, on the segments of the module."""
    SegmentEditorSAMMed3D.SegmentEditorSAMMed3D(types.SimpleNamespace(path=SegmentEditorSAMMed3D.__file__))
    slicerHarness.scene.startupFunctions[-1]()
    parameters, editor = module.logic.getParameterNode(), slicer.qMRMLSegmentEditorWidget()
    editor.setMRMLScene(slicer.mrmlScene)
    editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setSegmentationNode(parameters.segmentation)
    editor.setSourceVolumeNode(parameters.volume)
    editor.setCurrentSegmentID(module.panel.segmentId)
    editor.setActiveEffectByName("SAM-Med3D")
    editor.activeEffect().self().positiveButton.click()
    editor.resize(WIDTH, 195)
    editor.show()
    qt.QApplication.processEvents()
    editor.grab().save(str(PICTURES / "panel-effect.png"))
    editor.close()


def shot(module, name: str, height: int) -> None:
    """Save the panel as a picture; as high as Slicer's scroll area makes it, which asks for the height of its width."""
    module.parent.resize(WIDTH, height)
    module.parent.show()
    for _ in range(5):
        qt.QApplication.processEvents()
        module.parent.resize(WIDTH, max(height, module.parent.heightForWidth(WIDTH)))
    module.parent.grab().save(str(PICTURES / name))


def slices(module, name: str, through) -> None:
    """Save axial, coronal and sagittal slices and a 3-D view, two by two."""
    node = module.logic.getParameterNode()
    tiles = []
    node.segmentation.CreateClosedSurfaceRepresentation()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tile.png"
        for orientation in ("Axial", "Coronal", "Sagittal"):
            view = SliceView(f"{name} {orientation}", orientation, (360, 360))
            view.show(node.volume, through)
            view.save(file)
            tiles.append(label(Image.open(file).convert("RGB"), orientation))
        three_d = ThreeDView(f"{name} 3D", (360, 360))
        three_d.renderer.SetBackground(0.75, 0.77, 0.91)
        three_d.renderer.ResetCamera()
        camera = three_d.renderer.GetActiveCamera()
        camera.SetPosition(*np.add(camera.GetFocalPoint(), (0, 700, 150)))
        camera.SetViewUp(0, 0, 1)
        three_d.renderer.ResetCamera()
        three_d.save(file)
        tiles.append(label(Image.open(file).convert("RGB"), "3-D"))
    picture = Image.new("RGB", (724, 724), "white")
    for index, tile in enumerate(tiles):
        picture.paste(tile, (364 * (index % 2), 364 * (index // 2)))
    picture.save(PICTURES / name, optimize=True)


def label(tile: Image.Image, text: str) -> Image.Image:
    """Write the name of a view into its corner."""
    ImageDraw.Draw(tile).text((8, 6), text, fill=(255, 255, 0))
    return tile


if __name__ == "__main__":
    main()
