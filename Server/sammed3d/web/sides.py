"""Which side of the patient is where in a slice view: letters at its edges, as on films."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from vtkmodules.vtkRenderingCore import vtkTextActor

from sammed3d.core.geometry import sides_towards

SIZE = 16
"""Of the letters, in pixels."""
PLACES = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.1), (0.5, 0.98))
"""Left, right, bottom (above the slider) and top, in shares of the view."""


def show_sides(renderer: Any, directions: Callable[[], tuple[npt.ArrayLike, npt.ArrayLike] | None]) -> None:
    """Write the sides of the patient at the edges of a slice view, whenever it is drawn.

    Args:
        renderer: of the view.
        directions: returns where its right and its top lie (each 3, RAS); None where no patient is shown.
    """
    actors = [_letter(x, y) for x, y in PLACES]
    for actor in actors:
        renderer.AddViewProp(actor)

    def update(*_: Any) -> None:
        now = directions()
        for actor in actors:
            actor.SetVisibility(now is not None)
        if now is not None:
            right, top = (np.asarray(each, float) for each in now)
            for actor, direction in zip(actors, (-right, right, -top, top), strict=True):
                actor.SetInput(sides_towards(direction))

    renderer.AddObserver("StartEvent", update)


def _letter(x: float, y: float) -> vtkTextActor:
    actor = vtkTextActor()
    actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    actor.SetPosition(x, y)
    actor.PickableOff()
    text = actor.GetTextProperty()
    text.SetFontSize(SIZE)
    text.BoldOn()
    text.ShadowOn()
    text.SetJustification(0 if x < 0.5 else 2 if x > 0.5 else 1)
    text.SetVerticalJustification(0 if y < 0.5 else 2 if y > 0.5 else 1)
    return actor
