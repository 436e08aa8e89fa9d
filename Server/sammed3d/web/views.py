"""The page's views: trame-slicer's, drawn once for each change and in turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trame.widgets import html
from trame_slicer.app.ui import create_vertical_slice_view_gutter_ui, create_vertical_view_gutter_ui
from trame_slicer.rca_view.rca_view_factory import RemoteSliceViewFactory, RemoteThreeDViewFactory
from trame_slicer.views import ScheduledRenderStrategy

from sammed3d.web.rendering import Turns
from sammed3d.web.sides import show_sides

QUALITY = 90
"""Of JPEG, that of trame's images at rest: a lower one meanwhile would draw every change twice."""
FRAMES, OTHERS = 30.0, 10.0
"""Most images a second: of the view under the mouse, and of the others."""


class _InTurns(ScheduledRenderStrategy):  # type: ignore[misc]
    def __init__(self, adapter: Any, predicting: Callable[[], bool]) -> None:
        super().__init__()
        self._turns = Turns(adapter.schedule_render, lambda: adapter.target_fps > OTHERS, predicting)

    def schedule_render(self) -> None:
        self._turns.ask()


def _slice_buttons(server: Any, view_id: str, view: Any) -> None:
    """Make what lies over a slice view, and tell those who cannot see it which one it is; see `views_by_keys.js`."""
    create_vertical_slice_view_gutter_ui(server, view_id, view)
    plane = view.get_view_node().GetOrientation()
    html.Span(f"{{{{ flat ? 'Picture' : '{plane} slice view' }}}}", classes="plane", id=f"plane-{view_id}", hidden=True)


def register(views: Any, server: Any, predicting: Callable[[], bool], shows_patient: Callable[[], bool]) -> None:
    """Tell trame-slicer how views are made.

    Args:
        views: its manager of them.
        server: trame's.
        predicting: whether a prediction is under way.
        shows_patient: whether there is an image whose sides are those of a patient.
    """
    for kind, buttons in (
        (RemoteSliceViewFactory, _slice_buttons),
        (RemoteThreeDViewFactory, create_vertical_view_gutter_ui),
    ):
        views.register_factory(
            _made(kind, predicting, shows_patient)(
                server,
                populate_view_ui_f=buttons,
                target_fps=FRAMES,
                blur_fps=OTHERS,
                interactive_quality=QUALITY,
            )
        )


def slice_views(views: Any) -> list[tuple[Any, Any]]:
    """Return interactor and node of each slice view; `views` is trame-slicer's manager of them."""
    return [(view.interactor(), view.get_view_node()) for view in views.get_slice_views()]


def _made(kind: Any, predicting: Callable[[], bool], shows_patient: Callable[[], bool]) -> Any:
    class Factory(kind):  # type: ignore[misc]
        def _create_view(self, *arguments: Any) -> Any:
            made = super()._create_view(*arguments)
            view = made.slicer_view
            view.render_window().SetMultiSamples(0)  # 8 a pixel take five times as long without a GPU
            view.set_scheduled_render(_InTurns(made.view_adapter, predicting))
            if kind is RemoteSliceViewFactory:
                show_sides(view.first_renderer(), lambda: _directions(view) if shows_patient() else None)
            return made

    return Factory


def _directions(view: Any) -> tuple[list[float], list[float]]:
    """Return where the right and the top of a slice view lie, in RAS."""
    matrix = view.get_view_node().GetSliceToRAS()
    right, top = ([matrix.GetElement(row, column) for row in range(3)] for column in range(2))
    return right, top
