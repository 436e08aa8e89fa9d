"""Visits: what is asked in one patch, and the way through the visits of an object's prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Box, Index3
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt
from sammed3d.inference.compositing import Layer
from sammed3d.inference.predictor import PatchBox, PatchClick


@dataclass(frozen=True)
class Visit:
    """Consecutive clicks that go to one patch.

    Attributes:
        window: the patch's box of the lattice.
        clicks: its clicks, in voxels of the patch.
        box: before the clicks, in voxels of the patch; or None.
        earlier: clicks of earlier visits that lie in this patch too, for models that take all clicks.
        followed: whether nobody clicked here: the object was followed into this patch, and the last click is a place
            that was taken from it.
        wide: box of the lattice round the first click of a new object that is looked at too, or None.
    """

    window: Box
    clicks: tuple[PatchClick, ...]
    box: PatchBox | None = None
    earlier: tuple[PatchClick, ...] = ()
    followed: bool = False
    wide: Box | None = None


Chain = tuple[str | BoxPrompt | Visit | None, ...]
"""Digest of the mask an object started from, a hint if there is one, then its visits: names a result."""


@dataclass(eq=False)
class Walk:
    """How far the visits of some prompts were answered.

    Attributes:
        base: the mask that the object started from, or None.
        cancellation: stops it.
        hint: see `PromptState`.
        seconds: spent so far, by stage of the computation.
        visits: that were answered.
        clicks: the user's clicks so far: lattice sample and polarity.
        layers: the answers that count, in order.
        painted: the chain that made each layer.
    """

    base: BoxedMask | None
    cancellation: Cancellation
    hint: BoxPrompt | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    clicks: list[tuple[Index3, bool]] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    painted: list[Chain] = field(default_factory=list)

    @property
    def chain(self) -> Chain:
        """Names what was answered so far."""
        start = None if self.base is None else self.base.digest
        return (start, *self.visits) if self.hint is None else (start, self.hint, *self.visits)

    @property
    def windows(self) -> list[Box]:
        """The windows that were looked at, in order."""
        return [visit.window for visit in self.visits]

    @property
    def counts(self) -> bool:
        """Whether the newest answer counts."""
        return bool(self.painted) and self.painted[-1] == self.chain

    @property
    def newest_followed(self) -> Sequence[Visit]:
        """The visits since the last click of a user."""
        asked = [n for n, visit in enumerate(self.visits) if not visit.followed]
        return self.visits[asked[-1] + 1 :] if asked else ()

    def spent(self, seconds: Mapping[str, float]) -> None:
        """Take note of seconds spent, by stage."""
        for stage, spent in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def add(self, visit: Visit, layer: Layer | None) -> None:
        """Note the answer to a visit; None where it does not count."""
        self.visits.append(visit)
        if layer is not None:
            self.layers.append(layer)
            self.painted.append(self.chain)
