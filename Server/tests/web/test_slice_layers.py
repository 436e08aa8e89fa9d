"""Segments are drawn over the image of a slice view, whichever was there first."""

import numpy as np
import pytest

pytest.importorskip("vtkmodules", reason="needs VTK")
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401 - what rendering classes are made of
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkActor2D,
    vtkImageMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkWindowToImageFilter,
)

from sammed3d.web.slice_layers import image_first

SIZE = 32


def layer(colour, behind=False):
    """A picture of one colour (RGBA) that fills the view, as MRML shows slices and segments in them."""
    image = vtkImageData()
    image.SetDimensions(SIZE, SIZE, 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.tile(np.uint8(colour), (SIZE * SIZE, 1)), deep=True))
    mapper = vtkImageMapper()
    mapper.SetInputData(image)
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    actor = vtkActor2D()
    actor.SetMapper(mapper)
    if behind:
        actor.GetProperty().SetDisplayLocationToBackground()
    return actor


def test_the_image_comes_first_and_the_others_keep_their_order():
    renderer = vtkRenderer()
    points, segment, image = vtkActor(), layer((255, 0, 0, 128)), layer((0, 200, 0, 255), behind=True)
    for prop in (points, segment, image):
        renderer.AddViewProp(prop)
    for _ in range(2):
        image_first(renderer)
        assert list(renderer.GetViewProps()) == [image, points, segment]
    renderer.RemoveViewProp(image)
    image_first(renderer)
    assert list(renderer.GetViewProps()) == [points, segment], "there is none yet"


@pytest.mark.slow
def test_the_image_is_seen_through_a_segment():
    window, renderer = vtkRenderWindow(), vtkRenderer()
    window.SetOffScreenRendering(1)
    window.SetSize(SIZE, SIZE)
    window.AddRenderer(renderer)
    for prop in (layer((255, 0, 0, 128)), layer((0, 200, 0, 255), behind=True)):
        renderer.AddViewProp(prop)
    image_first(renderer)
    window.Render()
    shot = vtkWindowToImageFilter()
    shot.SetInput(window)
    shot.ReadFrontBufferOff()
    shot.Update()
    red, green, blue = vtk_to_numpy(shot.GetOutput().GetPointData().GetScalars())[SIZE * SIZE // 2]
    assert red == pytest.approx(128, abs=2)
    assert green == pytest.approx(100, abs=2)
    assert blue == 0
