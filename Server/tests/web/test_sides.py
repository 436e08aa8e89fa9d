"""Letters at the edges of a slice view say which side of the patient is there."""

import numpy as np
import pytest

pytest.importorskip("vtkmodules", reason="needs VTK")
import vtkmodules.vtkRenderingFreeType
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401 - what rendering classes are made of
from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow, vtkTextActor

from sammed3d.web.sides import show_sides

AXIAL = (-1, 0, 0), (0, 1, 0)
"""Right and top of the view, as Slicer shows it: seen from the feet."""
SAGITTAL = (0, 1, 0), (0, 0, 1)


def test_a_view_says_what_lies_at_its_edges_when_it_is_drawn():
    shown = [AXIAL]
    window, renderer = vtkRenderWindow(), vtkRenderer()
    show_sides(renderer, lambda: shown[0])
    actors = [prop for prop in renderer.GetViewProps() if isinstance(prop, vtkTextActor)]
    window.SetOffScreenRendering(1)
    window.SetSize(64, 64)
    window.AddRenderer(renderer)
    for shown[0], expected in ((AXIAL, "RLPA"), (SAGITTAL, "PAIS")):
        window.Render()
        assert [actor.GetInput() for actor in actors] == list(expected)
        assert all(actor.GetVisibility() for actor in actors)
    shown[0] = None
    window.Render()
    assert not any(actor.GetVisibility() for actor in actors)


def test_letters_stay_inside_of_the_view():
    renderer = vtkRenderer()
    show_sides(renderer, lambda: AXIAL)
    places = np.array([prop.GetPosition()[:2] for prop in renderer.GetViewProps()])
    assert ((places > 0) & (places < 1)).all()
