"""The button *Where next?*, what its keys do, and the overlay that shows how unsure the model is."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.NextPlace import NextPlace
from SAMMed3DSegmentLib.Segmenter import Segmenter


class NextPlacePanel:
    """Show where the next click would change most, and take it as the user says.

    Args:
        ui: the widgets.
        segmenter: does the work.
        selected: returns the id of the selected segment; "" for none.
        objection: returns why nothing can be predicted now; "" if all is well.
        say: shows a text.

    Attributes:
        next: the place, its marker and the overlay.
    """

    def __init__(
        self,
        ui,
        segmenter: Segmenter,
        selected: Callable[[], str],
        objection: Callable[[], str],
        say: Callable[[str], None],
    ) -> None:
        self.ui, self._segmenter = ui, segmenter
        self._selected, self._objection, self._say = selected, objection, say
        self.next = NextPlace(segmenter, self._onAnswer)
        self._connections = Connections(
            (ui.nextPlaceButton, "clicked(bool)", self.ask),
            (ui.uncertaintyCheckBox, "toggled(bool)", self._onShow),
            (ui.opacitySlider, "valueChanged(int)", lambda value: self.next.overlay.setOpacity(value / 100)),
        )
        self.next.overlay.visible = ui.uncertaintyCheckBox.checked
        self.next.overlay.setOpacity(ui.opacitySlider.value / 100)

    def ask(self) -> None:
        """Ask where to click next in the selected segment."""
        objection = self._objection()
        self._say(objection)
        if not objection:
            self.next.ask(self._selected())

    def accept(self, positive: bool) -> None:
        """Click at the place that is shown; nothing where none is."""
        self.next.accept(positive)

    def skip(self) -> None:
        """Go to another place; nothing where none is shown."""
        self.next.skip()

    def update(self) -> None:
        """Offer only what can be done, and take away what is over."""
        self.next.update(self._selected())
        segmentId = self._selected()
        state = self._segmenter.shownState(segmentId) if segmentId else None
        ready = state is not None and any(click.positive for click in state.clicks)
        self.ui.nextPlaceButton.enabled = ready
        self.ui.uncertaintyCheckBox.enabled = ready
        self.ui.opacitySlider.enabled = ready and self.ui.uncertaintyCheckBox.checked

    def forget(self) -> None:
        """The scene closes."""
        self.next.forget()

    def close(self) -> None:
        """The module goes away."""
        self.next.forget()
        self._connections.close()

    def _onShow(self, shown: bool) -> None:
        self.next.overlay.setVisible(shown)
        self.ui.opacitySlider.enabled = shown
        if shown and not self.next.answered and self.ui.nextPlaceButton.enabled:
            self.ask()

    def _onAnswer(self) -> None:
        place = self.next.place
        if place is None:
            self._segmenter.message = _("There is no place left of which the model is unsure.")
            return
        looks = _("looks inside") if place.looks_inside else _("looks outside")
        text = _("Is this part of it? It {looks} ({probability:.0%}). A adds it, Shift+A takes it away, K skips.")
        self._segmenter.message = text.format(looks=looks, probability=place.probability)
