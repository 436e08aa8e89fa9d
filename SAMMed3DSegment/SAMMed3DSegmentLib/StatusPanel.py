"""What is under way: the status line, the progress bar, Cancel, and 3-D surfaces that wait for the clicks to pause."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

import qt
from SAMMed3DSegmentLib.Connections import Connections
from SAMMed3DSegmentLib.Segmenter import Segmenter
from SAMMed3DSegmentLib.ThreadTime import ThreadTime

PATIENCE = 2.0
"""Seconds after which the status line says how long a prediction has taken."""
SURFACE_PAUSE = 800
"""Milliseconds without clicks before 3-D surfaces are made anew."""


class StatusPanel:
    """Show what the segmenter does, and give it time while it does it.

    Args:
        ui: the widgets.
        segmenter: does the work.
        threadTime: for its predictions.
        onChanged: called when there is something new to show.
        onIdle: called when all predictions have ended.

    Attributes:
        onSaid: called with each text, for who shows it elsewhere too.
    """

    def __init__(
        self,
        ui,
        segmenter: Segmenter,
        threadTime: ThreadTime,
        onChanged: Callable[[], None],
        onIdle: Callable[[], None],
    ) -> None:
        self.ui, self._segmenter, self._threadTime = ui, segmenter, threadTime
        self._onChanged, self._onIdle = onChanged, onIdle
        self.onSaid: Callable[[str], None] = lambda _text: None
        self._surfaces = qt.QTimer()
        self._surfaces.setInterval(SURFACE_PAUSE)
        self._surfaces.setSingleShot(True)
        segmenter.onChanged = self._onSegmenter
        self._connections = Connections(
            (self._surfaces, "timeout()", self._onSurfaces),
            (ui.cancelButton, "clicked(bool)", segmenter.cancel),
        )

    @property
    def text(self) -> str:
        """What the status line says."""
        return self.ui.statusLabel.text

    def say(self, text: str) -> None:
        """Show a text until there is another one."""
        self.ui.statusLabel.setText(text)
        self.onSaid(text)

    def update(self) -> None:
        """Show whether predictions are under way."""
        busy = self._segmenter.busy
        self.ui.progressBar.setVisible(busy)
        self.ui.cancelButton.setVisible(busy)

    def sceneCloses(self) -> None:
        """Let go of the scene."""
        self._surfaces.stop()

    def close(self) -> None:
        """The module goes away."""
        self._surfaces.stop()
        self._segmenter.onChanged = lambda: None
        self._connections.close()

    def _onSegmenter(self) -> None:
        segmenter = self._segmenter
        if segmenter.working:
            self._threadTime.follow(self._isWorking, self._onPoll, segmenter.wait)
        if segmenter.message:
            self.say(segmenter.message)
        elif not segmenter.busy and not segmenter.seconds:
            self.say("")  # what was said before is over
        elif not segmenter.busy:
            total = sum(segmenter.seconds.values())
            self.say(_("Done in {total:.1f} s.").format(total=max(total, 0.1)))
            self.ui.statusLabel.setToolTip(self._timings())
        self._showStage()
        if segmenter.surfacesWait:
            self._surfaces.start()
        self._onChanged()

    def _isWorking(self) -> bool:
        return self._segmenter.working

    def _onPoll(self) -> None:
        self._segmenter.poll()
        self._showStage()
        if not self._segmenter.working:
            self._onIdle()

    def _showStage(self) -> None:
        stages = {
            "load": _("Loading the model..."),
            "cut": _("Cutting the image..."),
            "send": _("Sending the image to the server..."),
            "encode": _("Reading the image (once for each place)..."),
            "decode": _("Segmenting..."),
            "paint": _("Making the mask..."),
        }
        if self._segmenter.busy:
            share, seconds = self._segmenter.progress
            text = stages.get(self._segmenter.stage, _("Working..."))
            number, most = self._segmenter.patches
            if number:
                following = _("Following the object, patch {number} of at most {most}: {stage}")
                text = following.format(number=number, most=most, stage=text)
            if share is not None:
                text += f" {share:.0%}"
            if seconds >= PATIENCE:
                text += " " + _("{seconds:.0f} s").format(seconds=seconds)
            self.say(text)

    def _timings(self) -> str:
        names = {"load": _("model"), "cut": _("cut"), "encode": _("encode"), "decode": _("decode")}
        names |= {"paint": _("paint"), "write": _("write")}
        seconds = self._segmenter.seconds
        parts = [f"{names.get(key, key)} {1000 * value:.0f}" for key, value in seconds.items()]
        return _("Milliseconds: {parts}").format(parts=", ".join(parts))

    def _onSurfaces(self) -> None:
        if self._segmenter.busy:
            self._surfaces.start()
        else:
            self._segmenter.refreshSurfaces()
