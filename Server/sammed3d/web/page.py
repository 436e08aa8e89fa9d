"""The page: its state, and what its buttons and keys call. It decides nothing; `work.py` does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from trame_slicer.core import LayoutManager

from sammed3d.errors import SAMMed3DError
from sammed3d.files.volume import Volume
from sammed3d.web import views, widgets
from sammed3d.web.boxes import BoxDrawing, crossing
from sammed3d.web.cameras import Cameras
from sammed3d.web.candidates import Candidates
from sammed3d.web.click_tour import ClickTour
from sammed3d.web.desks import PromptsShown, all_masks
from sammed3d.web.drawings import Drawings
from sammed3d.web.hand_edits import HandEdits
from sammed3d.web.keys import actions_of
from sammed3d.web.models import HERE, SERVER, Models
from sammed3d.web.places import Places
from sammed3d.web.rendering import Calm
from sammed3d.web.series_choice import SeriesChoice
from sammed3d.web.slice_layers import image_first
from sammed3d.web.volume_nodes import bounds_of
from sammed3d.web.work import Work, explained

POLL_SECONDS = 0.02
FAILED_SECONDS = 0.5
"""After what could not be shown, which may fail again."""
BEGIN = "Open a CT, MR or picture, or press Sample."
NO_MODEL = (
    "A picture needs a 2-D model, and there is none to choose. Install one (sammed3d models info sam_med2d, or "
    "ft_sam2d, says how), then start again."
)


log = logging.getLogger(__name__)


class Page:
    """The state of the page, which its widgets show, and what they call.

    Args:
        server: trame's.
        app: trame-slicer's application.
        work: what there is to do.
        places: where predictions run.
        model: name of the model that is chosen first.
        sample: returns the volume of the button "Sample".
    """

    def __init__(
        self, server: Any, app: Any, work: Work, places: Places, model: str, sample: Callable[[], Volume]
    ) -> None:
        self.work = work
        self._server, self._app, self._sample = server, app, sample
        self.may_choose_place = places.may_choose
        self._said = BEGIN
        self._news, self._calm = False, Calm(lambda: work.segmenter.busy)
        self._saved: frozenset[tuple[str, int]] = frozenset()
        self._cameras = Cameras(app.view_manager, work)
        self._for_volumes = widgets.LAYOUTS[0], model
        self.edits = HandEdits(app.segmentation_editor, work)
        self.boxes = BoxDrawing(work)
        self.drawings = Drawings(work, self.say, lambda: views.slice_views(app.view_manager))
        self.candidates = Candidates(work)
        self._prompts_shown = PromptsShown(work)
        self.series = SeriesChoice(self, server.state)
        self.tour = ClickTour(work, self._show_place, self.say)
        self.models = Models(server.state, work, places, self.say)
        views.register(
            app.view_manager,
            server,
            predicting=lambda: work.segmenter.busy,
            shows_patient=lambda: work.volume_node is not None and work.picture is None,
        )
        self._layouts = LayoutManager(app.scene, app.view_manager, server)
        self._layouts.register_layout_dict(LayoutManager.default_grid_configuration())
        self._layouts.set_layout(widgets.LAYOUTS[0])
        work.segmenter.model = model
        work.on_changed = self._on_changed
        state = server.state
        state.update(_beginning(places, model, self.edits.diameter))
        state.client_only("drawer", "dark")  # of each tab: a narrow one would close the panel of all
        state.change("model")(lambda model, **_: self.models.choose(model))
        state.change("layout")(self._on_layout)
        state.change("window")(self._on_window)
        state.change("points")(lambda points, **_: self._prompts_shown.show(bool(points)))
        state.change("negative")(lambda negative, **_: self.drawings.turn(not negative))
        state.change("honour")(lambda honour, **_: self.drawings.keep_to_them(bool(honour)))
        state.change("diameter")(lambda diameter, **_: self.edits.resize(float(diameter)))
        self._keys = actions_of(self)
        state.keys = list(self._keys)
        for name, action in (
            ("key", self.on_key),
            ("turn", self._cameras.turn),
            ("drop", self.drop_stroke),
            ("sample", self.open_sample),
            ("say", self.say),
            ("here", self.models.use_this_computer),
        ):
            server.controller.trigger(name)(action)
        self.models.show()
        self.refresh()
        widgets.build(self, server, self._layouts)

    # What is shown

    def refresh(self) -> None:
        """Show what there is now."""
        work, drawings, state = self.work, self.drawings, self._server.state
        self._news = False
        self.edits.follow()
        self._prompts_shown.keep()
        if work.placing or self.edits.tool:
            self.boxes.stop()
            self.drawings.stop()
        with state:
            state.tool, state.boxing = self.edits.tool, self.boxes.drawing
            state.drawing, state.negative, state.honour = drawings.kind, not drawings.positive, drawings.honour
            state.drawings = [asdict(row) for row in drawings.rows()]
            state.candidates = [asdict(row) for row in self.candidates.rows()]
            rows = work.rows()
            state.segments = [asdict(row) for row in rows]
            state.has_work = any(row.ml is not None for row in rows)
            state.at_stake = state.has_work or bool(work.aside)
            state.unsaved = state.at_stake and not all_masks(work) <= self._saved
            state.segment_id = work.segment_id
            state.placing = work.placing
            state.can_undo, state.can_redo, state.busy = work.can_undo, work.can_redo, work.segmenter.busy
            state.share = None if work.share is None else round(100 * work.share)
            state.status = work.status or self._said
        for view in self._app.view_manager.get_slice_views():
            image_first(view.first_renderer())
        if state.has_work:
            self._cameras.show_surfaces()

    def say(self, text: str) -> None:
        """Show a line until there is something newer."""
        self._said = text
        self.work.segmenter.message = ""
        self.work.segmenter.seconds = {}
        self._on_changed()

    def saved(self, masks: frozenset[tuple[str, int]]) -> None:
        """Note that masks are downloaded; see `segments.masks_of`."""
        self._saved |= masks
        self.refresh()

    def _on_changed(self) -> None:
        self._news = True
        if not self._calm.lasts:
            self.refresh()

    async def keep_going(self) -> None:
        """Fetch results and show them, as long as the page is served.

        What fails is said, once for each kind of error, and is no end of it: nothing would be shown any more.
        """
        before: tuple[Any, ...] = ()
        said = ""
        while True:
            pause = POLL_SECONDS
            try:
                self.work.poll()
                self._cameras.fill_views()
                now = (self.work.status, self.work.share)
                if (self._news or now != before) and not self._calm.lasts:
                    self.refresh()
                    before = now
            except Exception as error:  # whatever it is, the next result may be shown
                pause = FAILED_SECONDS
                if type(error).__name__ != said:
                    said = type(error).__name__
                    log.exception("something could not be shown")
                    self._said = f"Something could not be shown ({said}). Undo it, and try again."
                    self.work.segmenter.message, self.work.segmenter.seconds = "", {}
                self._news = True
            await asyncio.sleep(pause)

    # What is done

    def open(self, volume: Volume, cautions: Sequence[str] = ()) -> None:
        """Show a volume or picture that is alone in its file or folder, and what its user should know of it."""
        self.series.forget()
        self.show(lambda: self.work.open(volume), widgets.window_of(volume), cautions)

    def show(self, bring: Callable[[], None], window: str, cautions: Sequence[str]) -> None:
        """Show what something brings into the scene, a volume in all views or a picture in one.

        Args:
            bring: opens it, or goes on with it.
            window: in which it is shown.
            cautions: what its user should know of it.
        """
        state = self._server.state
        self.put_tools_down()
        place = bounds_of(self.work.volume_node)
        bring()
        node = self.work.volume_node
        self._show_as(self.work.picture is not None)
        self._app.display_manager.show_volume_in_slice_background(node)
        if state.flat or bounds_of(node) != place:  # those of one place are compared at one place
            self._app.display_manager.reset_views()
        self._cameras.forget()
        state.opened, state.cautions = node.GetName(), list(cautions)
        state.window = window
        self._on_window(state.window)
        self._prompts_shown.show(True)
        state.points = True
        fits = not state.flat or self.models.fit_pictures
        self.say("Press Positive and click inside the structure." if fits else NO_MODEL)

    def _show_as(self, flat: bool) -> None:
        """Lay views and models out for a picture, or go back to what was chosen for volumes."""
        state = self._server.state
        if flat and not state.flat:
            self._for_volumes = state.layout, self.work.segmenter.model
        layout, model = self._for_volumes
        state.flat = flat
        if flat:
            layout, model = widgets.PICTURE_LAYOUT, self.work.segmenter.model
        state.layout = layout
        self.work.segmenter.model = model
        self._layouts.set_layout(layout)
        self.models.show()

    def open_sample(self) -> None:
        """Show the sample."""
        self.attempt(lambda: self.open(self._sample()))

    def on_key(self, key: str) -> None:
        """Do what a key stands for, the same as in Slicer."""
        if key in self._keys:
            self.attempt(self._keys[key])

    def put_tools_down(self) -> None:
        """Draw and paint nothing; for another image, to which nothing goes that was begun."""
        for tool in (self.edits, self.boxes, self.drawings):
            tool.stop()
        self.candidates.forget()

    def look_around(self) -> None:
        """Place no clicks; draw and paint nothing."""
        self.edits.stop()
        self.drawings.stop()
        self.work.place("")

    def resize_brush(self, larger: bool) -> None:
        """Make the brush a step larger or smaller."""
        with self._server.state as state:
            state.diameter = self.edits.next_diameter(larger)

    def draw(self, kind: str, positive: bool) -> None:
        """Draw scribbles or lassos from now on; the same again goes back to looking around."""
        self.edits.stop()
        self.boxes.stop()
        self.drawings.use(kind, positive)

    def drop_stroke(self) -> None:
        """Leave out the stroke that is being painted or drawn."""
        self.edits.drop()
        self.drawings.drop()

    def draw_box(self) -> None:
        """Show a box where the slices cross, or take it away."""
        self.edits.stop()
        self.drawings.stop()
        self.boxes.begin(crossing([view.get_view_node() for view in self._app.view_manager.get_slice_views()]))
        if self.boxes.drawing:
            self.say("Drag the box's handles until it lies round the object in all views, then press Use box.")

    def rename(self, segment_id: str, name: str) -> None:
        """Take the name that was typed."""
        self.work.segments.rename(segment_id, name)
        self._server.state.renaming = ""
        self.refresh()

    def jump(self, segment_id: str) -> None:
        """Go to a segment in the slice views."""
        self._show_place(self.work.segments.middle(segment_id))

    def jump_to_drawing(self, row_id: str) -> None:
        """Go to a drawing in the slice views."""
        self._show_place(self.drawings.middle(row_id))

    def attempt(self, action: Callable[[], object]) -> None:
        """Do something; what goes wrong is said in the status line."""
        try:
            action()
        except SAMMed3DError as error:
            self.say(explained(error))
        self.refresh()

    def _show_place(self, place: tuple[float, float, float] | None) -> None:
        if place is not None:
            for view in self._app.view_manager.get_slice_views():
                view.get_view_node().JumpSliceByCentering(*place)

    def toggle_points(self) -> None:
        """Show the clicks, or hide them."""
        with self._server.state as state:
            state.points = not state.points

    def _on_layout(self, layout: str, **_: Any) -> None:
        if layout in widgets.LAYOUTS:
            self._layouts.set_layout(layout)
            self.drawings.follow()

    def _on_window(self, window: str, **_: Any) -> None:
        node = self.work.volume_node
        if node is None or window not in widgets.WINDOWS or self.work.picture is not None:
            return
        display, values = node.GetDisplayNode(), widgets.WINDOWS[window]
        display.SetAutoWindowLevel(values is None)
        if values is not None:
            display.SetWindowLevel(*values)


def _beginning(places: Places, model: str, diameter: float) -> dict[str, Any]:
    """Return what the page shows before anything is opened, but for what `Page.refresh` shows."""
    return {
        "trame__title": "SAMMed3DSegment",
        "trame__favicon": None,
        "layout": widgets.LAYOUTS[0],
        "window": widgets.AUTOMATIC,
        "drawer": True,
        "dark": True,
        "opened": "",
        "cautions": [],
        "flat": False,
        "receiving": "",
        "renaming": "",
        "shared": not places.may_choose,
        "points": True,
        "diameter": diameter,
        "model": model,
        "place": SERVER if places.url else HERE,
        "url": places.url,
        "consent": bool(places.url),
    }
