"""Whether the module follows objects that are larger than a patch, and how far."""

from __future__ import annotations

from dataclasses import dataclass

from sammed3d.inference.follow_limits import FollowSettings, Mode

MODES: tuple[Mode, ...] = ("ask", "always", "never")
"""The first one holds where nothing was chosen: following takes three times as long, and small objects lose by it."""


@dataclass(frozen=True)
class FollowChoice:
    """What the settings said about following when a click was made.

    Attributes:
        mode: one of `MODES`.
        patches: into how many further patches at most, each time.
        alone: whether the click was made before, and following is all that is asked for.
    """

    mode: Mode = "never"
    patches: int = 8
    alone: bool = False

    @property
    def settings(self) -> FollowSettings | None:
        """What that means for a session; None where nothing is followed."""
        return None if self.mode == "never" else FollowSettings(self.mode, self.patches)


NEVER = FollowChoice()
