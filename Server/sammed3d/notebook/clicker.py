"""A widget for Jupyter: a slice of the volume, or a picture, that takes clicks."""

from __future__ import annotations

import time
from typing import Any

import ipywidgets
from ipycanvas import Canvas

from sammed3d.core.mask import millilitres
from sammed3d.errors import SAMMed3DError
from sammed3d.inference.picture_session import PictureSession
from sammed3d.inference.session import Session
from sammed3d.slice_views import PLANES, PictureView, SliceView

POSITIVE, NEGATIVE = "Positive", "Negative"
COLOURS = {True: "#30d158", False: "#ff453a"}
"""Of dots by what they say, as everywhere."""
NEAR, FAR = 5.0, 2.5
"""Radius of dots on the slice that is shown, and on others."""
SIGN = 3.5
"""Half the length of the bars of + and -, which tell dots apart for those who see both colours alike."""
STEPS = 4096
"""Of the window's ends, from the lowest value of the image to the highest: one for each grey of most CT and MR."""

MARGIN, LETTERS = 6, "bold 16px sans-serif"
"""Of the letters that say which side of the patient lies at an edge."""


class Clicker(ipywidgets.VBox):  # type: ignore[misc]
    """Slices of a session's volume with the masks of its objects; a click on them is a click of the current object.

    Letters at the edges say which side of the patient lies there: R and L, A and P, S and I, several in oblique slices.

    Args:
        session: the session, of a volume or a picture; it can be used beside the widget, see `show`.
        plane: "axial", "coronal" or "sagittal"; a picture has none.
        edge: pixels of the longer edge.

    Example:
        >>> clicker = Clicker(session)
        >>> clicker  # the last line of a cell shows it
    """

    def __init__(self, session: Session | PictureSession, plane: str = "axial", edge: int = 512) -> None:
        picture = session.picture if isinstance(session, PictureSession) else None
        session = session.session if isinstance(session, PictureSession) else session
        self.session, self._edge, self._is_picture = session, edge, picture is not None
        self._view = (
            SliceView(session.volume, plane, edge)
            if picture is None
            else PictureView(session.volume, picture.pixels, edge)
        )
        self._canvas = Canvas(width=self._view.size[0], height=self._view.size[1])
        self._canvas.on_mouse_down(self.click)
        self.kind = ipywidgets.ToggleButtons(options=[POSITIVE, NEGATIVE], description="Click")
        self.plane = ipywidgets.Dropdown(options=list(PLANES), value=plane, description="Plane")
        self.number = ipywidgets.IntSlider(description="Slice", max=self._view.count - 1, value=self._view.count // 2)
        low, high = (float(value) for value in (session.volume.array.min(), session.volume.array.max()))
        high = high if high > low else low + 1
        self.window = ipywidgets.FloatRangeSlider(
            description="Window",
            min=low,
            max=high,
            step=(high - low) / STEPS,
            value=self._view.window,
            readout_format=".5g",
        )
        self.undo, self.redo, self.reset = (ipywidgets.Button(description=word) for word in ("Undo", "Redo", "Reset"))
        self.status = ipywidgets.Label("Click on a structure.")
        for button, step in ((self.undo, session.undo), (self.redo, session.redo), (self.reset, session.reset)):
            button.on_click(lambda _button, step=step: self._do(step))
        self.plane.observe(self._turn, "value")
        self.number.observe(self._moved, "value")
        self.window.observe(self._moved, "value")
        rows = [
            ipywidgets.HBox([self.kind, self.undo, self.redo, self.reset]),
            self._canvas,
            *([] if self._is_picture else [ipywidgets.HBox([self.plane, self.number, self.window])]),
            self.status,
        ]
        super().__init__(rows)
        self.show()

    def click(self, x: float, y: float) -> None:
        """Click on the slice that is shown, in pixels from its upper left corner."""
        world = self._view.world(self.number.value, x, y)
        self._do(lambda: self.session.click(world, self.kind.value == POSITIVE))

    def show(self) -> None:
        """Draw the slice, masks and clicks as they are now."""
        masks = [(self.session.mask(each.name), each.color) for each in self.session.objects]
        self._canvas.put_image_data(self._view.pixels(self.number.value, masks), 0, 0)
        for each in self.session.objects:
            for click in each.clicks:
                number, x, y = self._view.place(click.world)
                self._canvas.fill_style = COLOURS[click.positive]
                near = number == self.number.value
                self._canvas.fill_circle(x, y, NEAR if near else FAR)
                if near:
                    self._canvas.stroke_line(x - SIGN, y, x + SIGN, y)
                if near and click.positive:
                    self._canvas.stroke_line(x, y - SIGN, x, y + SIGN)
        self._show_sides()
        now = self.session.current
        steps = (self.undo, now is not None and now.can_undo), (self.redo, now is not None and now.can_redo)
        for button, possible in steps:
            button.disabled = not possible

    def _show_sides(self) -> None:
        """Write the sides of the patient at the edges, light with a dark rim, which any image lets one read."""
        width, height = self._view.size
        places = (
            (MARGIN, height / 2, "left", "middle"),
            (width - MARGIN, height / 2, "right", "middle"),
            (width / 2, height - MARGIN, "center", "bottom"),
            (width / 2, MARGIN, "center", "top"),
        )
        canvas = self._canvas
        canvas.save()
        canvas.font, canvas.fill_style, canvas.stroke_style, canvas.line_width = LETTERS, "white", "black", 3
        for letters, (x, y, align, baseline) in zip(self._view.sides(), places, strict=True):
            canvas.text_align, canvas.text_baseline = align, baseline
            if letters:  # pictures have none
                canvas.stroke_text(letters, x, y)
                canvas.fill_text(letters, x, y)
        canvas.restore()

    def _do(self, step: Any) -> None:
        """Change the prompts, and say what came of it."""
        self.status.value = "..."
        began = time.perf_counter()
        try:
            step()
        except SAMMed3DError as error:
            self.status.value = str(error)
        except KeyboardInterrupt:
            self.status.value = "Stopped; nothing was changed."
        except Exception as error:  # whose traceback notebooks show in their log alone
            self.status.value = f"Failed; nothing was changed ({type(error).__name__}: {error})."
            raise
        else:
            now = self.session.current
            name = "" if now is None else f"{now.name}: "
            self.status.value = f"{name}{self._size()}, {time.perf_counter() - began:.2f} s"
        self.show()

    def _size(self) -> str:
        """Return the size of the current object in words."""
        voxels = 0 if self.session.current is None else int(self.session.mask().sum())
        if self._is_picture:
            return f"{voxels} pixels"
        return millilitres(voxels * self.session.volume.grid.voxel_volume / 1000)

    def _turn(self, _change: Any) -> None:
        """Show another plane, at the last click where there is one."""
        self._view = SliceView(self.session.volume, self.plane.value, self._edge, self.window.value)
        now = self.session.current
        number = self._view.count // 2 if now is None or not now.clicks else self._view.place(now.clicks[-1].world)[0]
        self._canvas.width, self._canvas.height = self._view.size
        with self.number.hold_trait_notifications():
            self.number.max, self.number.value = self._view.count - 1, number
        self.show()

    def _moved(self, _change: Any) -> None:
        self._view.window = self.window.value
        self.show()
