"""How much the views show: 3-D surfaces that outgrew the view, and a picture that fills its own."""

from __future__ import annotations

from typing import Any

from sammed3d.web.work import Work

ZOOM = 0.15
"""Share of the distance by which a step comes nearer."""


class Cameras:
    """Keep what there is to see in the views; how the user turned and moved them counts until it outgrows that.

    Args:
        views: trame-slicer's, of the page.
        work: what is shown.
    """

    def __init__(self, views: Any, work: Work) -> None:
        self._views, self._work = views, work
        self.forget()

    def forget(self) -> None:
        """Start anew with another image."""
        self._fitted: tuple[float, ...] = ()
        self._sizes: list[tuple[int, int]] = []

    def show_surfaces(self) -> None:
        """Move the 3-D camera back where surfaces have outgrown what it was moved to; it keeps its direction."""
        box = self._work.segments.bounds()
        grown = (
            any(box[n] < self._fitted[n] or box[n + 1] > self._fitted[n + 1] for n in (0, 2, 4))
            if self._fitted
            else True
        )
        if self._work.has_surface and grown:
            self._fitted = box
            for view in self._views.get_threed_views():
                view.reset_focal_point()
                view.reset_camera()
                view.schedule_render()

    def turn(self, right: float, below: float, nearer: float) -> None:
        """Turn the 3-D view, as if its contents were pulled that way.

        Args:
            right: degrees.
            below: degrees.
            nearer: 1 and -1 are a step.
        """
        for view in self._views.get_threed_views():
            camera = view.renderer().GetActiveCamera()
            camera.Azimuth(-right)
            camera.Elevation(below)
            camera.OrthogonalizeViewUp()
            if nearer:
                view.zoom(ZOOM * nearer)
            view.renderer().ResetCameraClippingRange()
            view.schedule_render()

    def fill_views(self) -> None:
        """Fit a picture into its view, whenever that has another size; volumes stay as they are."""
        if self._work.picture is None:
            return
        views = self._views.get_slice_views()
        sizes = [tuple(view.render_window().GetSize()) for view in views]
        if sizes != self._sizes:
            self._sizes = sizes
            for view in views:
                view.fit_view_to_content()
