"""Visits: what is asked in one patch, the way through the visits of an object's prompts, and what was answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sammed3d.core.cache import LRUCache
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Box, Index3
from sammed3d.core.mask import BoxedMask
from sammed3d.core.prompts import BoxPrompt
from sammed3d.inference.compositing import Layer
from sammed3d.inference.predictor import PatchBox, PatchClick, Prediction


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
        carried: see `PromptState`.
        seconds: spent so far, by stage of the computation.
        visits: that were answered.
        clicks: the user's clicks so far: lattice sample and polarity.
        layers: the answers that count, in order.
        painted: the chain that made each layer.
    """

    base: BoxedMask | None
    cancellation: Cancellation
    hint: BoxPrompt | None = None
    carried: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    clicks: list[tuple[Index3, bool]] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    painted: list[Chain] = field(default_factory=list)

    @property
    def chain(self) -> Chain:
        """Names what was answered so far."""
        start = None if self.base is None else f"carried {self.base.digest}" if self.carried else self.base.digest
        return (start, *self.visits) if self.hint is None else (start, self.hint, *self.visits)

    @property
    def stands(self) -> bool:
        """Whether it started from a mask that somebody made, which is right but for what is clicked."""
        return self.base is not None and not self.carried

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


class VisitAnswers:
    """The answers to visits, by the chain that ends with each.

    All that the walk under way and the one before it came by are kept; of others those used last, as many as fit.

    Args:
        max_bytes: bound of the others.
    """

    def __init__(self, max_bytes: int) -> None:
        self._others: LRUCache[Prediction] = LRUCache(max_bytes, lambda answer: answer.nbytes)
        self._before: dict[Chain, Prediction] = {}
        self._now: dict[Chain, Prediction] = {}

    def begin(self) -> None:
        """Another walk is under way from here on."""
        self._before, self._now = self._now, {}

    def get(self, chain: Chain) -> Prediction | None:
        """Return an answer that is known; from here on the walk under way depends on it."""
        known = self._others.get(chain) or self._now.get(chain) or self._before.get(chain)
        if known is not None:
            self._now[chain] = known
        return known

    def of_walk(self, chain: Chain) -> Prediction:
        """Return an answer that the walk under way depends on."""
        return self._now[chain]

    def put(self, chain: Chain, answer: Prediction) -> None:
        """Note an answer, or what more is known of it."""
        self._now[chain] = answer
        self._others.put(chain, answer)
