"""Whether the module follows objects that are larger than a patch, and how far."""

from __future__ import annotations

from dataclasses import dataclass

from sammed3d import Predictor
from sammed3d.inference.follow_limits import FollowSettings, Mode

AUTO = "auto"
MODES = (AUTO, "always", "ask", "never")
"""AUTO follows with models that take all clicks at once, as the default one: with those it was measured."""


@dataclass(frozen=True)
class FollowChoice:
    """What the settings said about following when a click was made.

    Attributes:
        mode: one of `MODES`.
        patches: into how many further patches at most, each time.
        alone: whether the click was made before, and following is all that is asked for.
    """

    mode: str = "never"
    patches: int = 8
    alone: bool = False

    def settingsFor(self, predictor: Predictor) -> FollowSettings | None:
        """Return what that means with a model; None where nothing is followed."""
        if self.mode == "never" or (self.mode == AUTO and not predictor.capabilities.all_clicks):
            return None
        mode: Mode = "ask" if self.mode == "ask" else "always"
        return FollowSettings(mode, self.patches)


NEVER = FollowChoice()
