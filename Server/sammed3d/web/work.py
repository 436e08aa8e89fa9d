"""What the page does with the scene: one volume or picture, its segments, and the clicks in them. MRML only, no trame.

Prompts, undo and writing are those of the Slicer module (`SAMMed3DSegmentLib`), which this puts in the hands of a page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any

import slicer

from sammed3d import SAMMed3DError, Volume
from sammed3d.files.picture import Picture, PictureVolume
from sammed3d.web.desks import Desk
from sammed3d.web.rest import Rest
from sammed3d.web.segments import SegmentList, SegmentRow
from sammed3d.web.volume_nodes import volume_node_of
from SAMMed3DSegmentLib import DrawingNodes, PointList
from SAMMed3DSegmentLib.InferenceThread import InferenceThread
from SAMMed3DSegmentLib.PlaceMode import PlaceMode
from SAMMed3DSegmentLib.ReadyModel import ReadyModel
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.SegmentFacts import newSegmentation

SURFACE_PAUSE = 0.8
"""Seconds without news before 3-D surfaces are made anew."""
STAGES = {
    "load": "Loading the model",
    "cut": "Cutting the image",
    "send": "Sending the image to the server",
    "encode": "Reading the image (once for each place)",
    "decode": "Segmenting",
    "paint": "Making the mask",
}


class Work:
    """One volume and its segments.

    Args:
        load_predictor: from what `choice_of` returns to a predictor; called in the background.
        choice_of: from a model's name to what decides how it runs; asked at every click.

    Attributes:
        on_changed: called whenever there may be something new to show.
        segmenter: does the work.
        segments: the list of them.
        volume_node: what is segmented; None before the first.
        picture: the picture that it shows; None where it is a volume.
        segment_id: the selected segment; "" for none.
        aside: what is put aside, to go on with it later.
    """

    def __init__(
        self,
        load_predictor: Callable[[Any], Any],
        choice_of: Callable[[str], Hashable] = str,
    ) -> None:
        self._thread = InferenceThread(load_predictor)
        self.segmenter = Segmenter(self._thread, self._on_news)
        self.segmenter.modelChoice = choice_of
        self._ready = ReadyModel(self.segmenter)
        self._rest = Rest()
        self.on_changed: Callable[[], None] = lambda: None
        self._place = PlaceMode(lambda: self.on_changed())  # noqa: PLW0108 - another one may be set by then
        self.segments = SegmentList()
        self._news = 0.0
        self.volume_node: Any = None
        self.picture: Picture | None = None
        self.segment_id = ""
        self.aside: list[Desk] = []

    # Input

    def open(self, volume: Volume, beside: bool = False) -> None:
        """Show another volume or picture.

        Args:
            volume: the image.
            beside: whether what is put aside stays; else it is removed, as is what was shown, with segments and clicks.
        """
        if not beside:
            self._place.stop()
            self.segmenter.forgetScene()
            for desk in (*self.aside, Desk(self.volume_node, self.picture, self.segmentation_node, self.segment_id)):
                desk.remove()
            self.aside = []
            for node in (*PointList.pointLists(), *DrawingNodes.drawingNodes()):
                slicer.mrmlScene.RemoveNode(node)
        node = volume_node_of(volume)
        picture = volume.picture if isinstance(volume, PictureVolume) else None
        self.begin(Desk(node, picture, newSegmentation(node, f"{node.GetName()} segmentation"), ""))

    def begin(self, desk: Desk) -> None:
        """Work on a volume and its segments, of which there is one at least from now on."""
        self.volume_node, self.picture = desk.volume_node, desk.picture
        self.segments.show_segmentation(desk.segmentation_node, self.picture is not None)
        self.segmenter.setInput(self.volume_node, self.segmentation_node)
        self.segment_id = desk.segment_id or self.segments.add()
        self.on_changed()

    def close(self) -> None:
        """End the background work."""
        self._place.close()
        self.segmenter.forgetScene()
        self._thread.stop()

    # Segments

    @property
    def segmentation_node(self) -> Any:
        """Where the segments are; None before the first volume."""
        return self.segments.node

    def rows(self) -> list[SegmentRow]:
        """Return the segments in their order."""
        return self.segments.rows(self.segmenter.underWay)

    def select(self, segment_id: str) -> None:
        """Put further clicks into another segment."""
        if segment_id not in self.segments:
            return
        self.segment_id = segment_id
        if self._place.active:
            self._place.start(self._points)
        self.on_changed()

    def add(self) -> None:
        """Add a segment of the selected one's kind and select it."""
        if self.volume_node is not None:
            self.select(self.segments.add(self.segment_id))

    def remove(self, segment_id: str) -> None:
        """Remove a segment with its clicks."""
        if segment_id not in self.segments:
            return
        placing = self._place.active
        self._place.stop()
        self.segments.remove(segment_id)
        self.segment_id = [*self.segments.ids(), ""][0] or self.segments.add()
        if placing:
            self._place.start(self._points)
        self.on_changed()

    # Clicks

    @property
    def placing(self) -> str:
        """Which clicks are placed next: "positive", "negative", or "" while looking around."""
        if not self._place.active:
            return ""
        return "positive" if self.segmenter.positive else "negative"

    def place(self, kind: str) -> None:
        """Place positive or negative clicks from now on; the same again, or "", goes back to looking around."""
        if self.volume_node is None or kind not in ("positive", "negative") or kind == self.placing:
            self._place.stop()
        else:
            self.segmenter.positive = kind == "positive"
            self._place.start(self._points)
            self.prepare()
        self.on_changed()

    def prepare(self) -> None:
        """Load the model, while the user aims."""
        self._ready.begin(self.segmenter.model)

    def toggle(self) -> None:
        """Place clicks of the other kind next."""
        if self.placing:
            self.place("negative" if self.placing == "positive" else "positive")

    def undo(self) -> None:
        """Take the newest operation on the selected segment back."""
        if self.segment_id:
            self.segmenter.undo(self.segment_id)

    def redo(self) -> None:
        """Do again what was undone."""
        if self.segment_id:
            self.segmenter.redo(self.segment_id)

    def reset(self) -> None:
        """Empty the selected segment and drop its clicks; can be undone."""
        if self.segment_id:
            self.segmenter.reset(self.segment_id)

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return bool(self.segment_id) and self.segmenter.canUndo(self.segment_id)

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return bool(self.segment_id) and self.segmenter.canRedo(self.segment_id)

    def poll(self) -> None:
        """Write results that are ready, and 3-D surfaces when the clicks pause; from the main thread, often."""
        self.segmenter.poll()
        self._rest.look(self.segmenter.busy)
        if self.segmenter.surfacesWait and not self.segmenter.busy and time.monotonic() > self._news + SURFACE_PAUSE:
            self.segmenter.refreshSurfaces()
            self.on_changed()

    @property
    def share(self) -> float | None:
        """Which share of its stage the running prediction has done, 0 to 1; None where that is not known."""
        share: float | None = self.segmenter.progress[0] if self.segmenter.busy else None
        return share

    @property
    def status(self) -> str:
        """What goes on, went wrong, or how many milliseconds the last prediction took."""
        if self.segmenter.busy:
            return f"{STAGES.get(self.segmenter.stage, 'Working')}..."
        if self.segmenter.message:
            return str(self.segmenter.message)
        seconds = self.segmenter.seconds
        if not seconds:
            return ""
        parts = ", ".join(f"{name} {1000 * value:.0f}" for name, value in seconds.items())
        return f"{1000 * sum(seconds.values()):.0f} ms ({parts})"

    @property
    def has_surface(self) -> bool:
        """Whether there is a 3-D surface to look at."""
        return any(row.ml is not None for row in self.rows()) and not self.segmenter.surfacesWait

    def _on_news(self) -> None:
        self._news = time.monotonic()
        self.on_changed()

    def _points(self) -> Any:
        return self.segmenter.pointsFor(self.segment_id)


def explained(error: Exception) -> str:
    """Say what went wrong, in one line."""
    return str(error) if isinstance(error, SAMMed3DError) else f"{type(error).__name__}: {error}".splitlines()[0]
