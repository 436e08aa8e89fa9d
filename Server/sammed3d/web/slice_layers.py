"""The order in which a slice view draws: the image, then segments over it."""

from __future__ import annotations

from typing import Any

from vtkmodules.vtkRenderingCore import VTK_BACKGROUND_LOCATION, vtkActor2D, vtkImageMapper


def image_first(renderer: Any) -> None:
    """Let a slice view's image be drawn before everything else.

    Segments are mixed with what is there when they are drawn, as in Slicer, whose views begin with the image. Those of
    trame-slicer take it in once there is one, perhaps after segments: they would then hide the image, which is behind.

    Args:
        renderer: the first one of the view.
    """
    props = list(renderer.GetViewProps())
    images = [prop for prop in props if _is_behind(prop)]
    if props[: len(images)] == images:
        return
    renderer.RemoveAllViewProps()
    for prop in [*images, *(prop for prop in props if prop not in images)]:
        renderer.AddViewProp(prop)


def _is_behind(prop: Any) -> bool:
    """Whether something is the image of a slice view."""
    if not isinstance(prop, vtkActor2D) or not isinstance(prop.GetMapper(), vtkImageMapper):
        return False
    return bool(prop.GetProperty().GetDisplayLocation() == VTK_BACKGROUND_LOCATION)
