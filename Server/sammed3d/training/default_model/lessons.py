"""Lessons: what one step of training practises, a conversation of clicks and answers as the product leads it.

An object is either clicked for the first time, and answered twice with the same click; or it is there as a mask, and
corrected. More clicks follow, several between two answers so that a long conversation stays cheap; on the way it may
move to another patch, as `patch_inferer.py` does: part of what was there is lost from sight, and so are its clicks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from sammed3d.inference.compositing import MARGIN, MASK_LOGIT
from sammed3d.nets.tempering import Tempering
from sammed3d.simulation.training_clicks import clicks_on_neighbours, first_clicks, next_clicks

CLICKS = {1: 0.34, 2: 0.15, 3: 0.15, 4: 0.1, 5: 0.08, 6: 0.07, 8: 0.05, 10: 0.03, 12: 0.03}
"""How many clicks a lesson has, and how often."""
FROM_MASK = 0.15
"""Share of lessons that begin with a mask prompt."""
NEIGHBOURS = 0.25
"""Share of lessons with early negative clicks on neighbours that look alike."""
MOVES = 0.4
"""Share of lessons of at least three clicks that move to another patch."""


@dataclass(frozen=True)
class Turn:
    """What comes before one pass of the decoder.

    Attributes:
        clicks: new clicks in the errors of the last answer.
        opens: whether its click is the first on an object of which nothing is there yet.
        neighbours: negative clicks beside the object, whatever the last answer.
        moves: whether the conversation goes on in another patch.
        tempered: whether its answer counts as far as a further click's does (`Tempering.further`): those to several
            clicks at once, of which the product has none, count whole.
        learns: whether the answer is learned from.
    """

    clicks: int
    opens: bool = False
    neighbours: int = 0
    moves: bool = False
    tempered: bool = False
    learns: bool = False


@dataclass(frozen=True)
class Lesson:
    """A conversation.

    Attributes:
        from_mask: whether it begins with a mask prompt, not with a first click.
        turns: one for each pass of the decoder.
    """

    from_mask: bool
    turns: tuple[Turn, ...]


def draw_lesson(generator: torch.Generator) -> Lesson:
    """Draw a lesson; two of its answers are learned from, an early one and the last one."""
    counts, shares = list(CLICKS), torch.tensor(list(CLICKS.values()))
    clicks = counts[int(torch.multinomial(shares, 1, generator=generator))]
    if _chance(FROM_MASK, generator):
        beginning, *others = _further_turns(clicks, generator, moves=False)
        return Lesson(True, (replace(beginning, tempered=False), *others))
    neighbours = _integer(1, 3, generator) if _chance(NEIGHBOURS, generator) else 0
    first = _chance(0.5, generator) or clicks == 1
    opening = (Turn(1, opens=True, learns=first), Turn(0, neighbours=neighbours, learns=clicks == 1 or not first))
    moves = clicks > 2 and _chance(MOVES, generator)
    return Lesson(False, opening + _further_turns(clicks - 1, generator, moves))


def _further_turns(clicks: int, generator: torch.Generator, moves: bool) -> tuple[Turn, ...]:
    counts: list[int] = []
    while clicks:
        counts.append(min(clicks, _integer(1, 3, generator) if counts else 1))
        clicks -= counts[-1]
    moving = _integer(0, len(counts) - 1, generator) if moves else -1
    return tuple(
        Turn(n, moves=k == moving, tempered=n == 1 and k != moving, learns=k == len(counts) - 1)
        for k, n in enumerate(counts)
    )


@dataclass
class Conversation:
    """Where a lesson stands: the objects of a batch, their clicks, and the last answers.

    Attributes:
        intensities: (N, 1, n, n, n) of the image each object is in.
        targets: same shape: which share of the voxel belongs to the object, 0..1.
        coords: (N, K, 3) clicks so far, in voxels of the patch (twice the targets' resolution).
        labels: (N, K) 1 positive, 0 negative, -1 out of sight.
        logits: (N, 1, n, n, n) the last answers, or the mask prompts.
        generator: torch's generator on the CPU.
    """

    intensities: Tensor
    targets: Tensor
    coords: Tensor
    labels: Tensor
    logits: Tensor
    generator: torch.Generator

    @classmethod
    def begin(cls, lesson: Lesson, intensities: Tensor, targets: Tensor, generator: torch.Generator) -> Conversation:
        """Begin a lesson: with nothing, or with a mask prompt that is not quite right."""
        n = len(targets)
        logits = damaged(targets, generator) if lesson.from_mask else torch.zeros_like(targets)
        coords = torch.zeros(n, 0, 3, dtype=torch.long, device=targets.device)
        return cls(intensities, targets, coords, coords[:, :, 0], logits, generator)

    def prepare(self, turn: Turn) -> None:
        """Make the clicks of a turn."""
        if turn.opens:
            inside = (self.targets > 0.25).float()
            self._click(first_clicks(inside, self.generator)[:, None], 1)
            return
        unknown = self._move() if turn.moves else None
        if turn.clicks:
            voxels, labels = next_clicks(self.logits, self.targets, self.generator, turn.clicks, unknown)
            self._click(voxels, labels)
        if turn.neighbours:
            self._click(clicks_on_neighbours(self.intensities, self.targets, self.generator, turn.neighbours), 0)

    def take(self, answer: Tensor, turn: Turn, tempering: Tempering | None) -> None:
        """Take an answer for the next turn to go on from; (N, 1, n, n, n) logits without gradient."""
        if tempering is None or not turn.tempered:
            self.logits = answer
            return
        places = ((self.coords[:, -1] - 0.5) / 2).tolist()
        further = [
            tempering.further(self.logits[n : n + 1], answer[n : n + 1], place, bool(self.labels[n, -1] == 1))
            for n, place in enumerate(places)
        ]
        self.logits = torch.cat(further)

    def _click(self, voxels: Tensor, labels: Tensor | int) -> None:
        half = torch.randint(0, 2, voxels.shape, generator=self.generator).to(voxels.device)
        given = torch.as_tensor(labels, device=voxels.device).expand(voxels.shape[:2])
        self.coords = torch.cat([self.coords, 2 * voxels + half], dim=1)
        self.labels = torch.cat([self.labels, given], dim=1)

    def _move(self) -> Tensor:
        """Forget what lies beyond a plane through each object; returns where the new patch shows something new.

        The answer fades towards the plane as a layer does towards its faces, and some clicks lie in the old patch only.
        """
        n, edge = len(self.targets), self.targets.shape[-1]
        axes = torch.randint(0, 3, (n,), generator=self.generator).to(self.targets.device)
        inside = first_clicks((self.targets > 0.25).float(), self.generator)
        planes = inside[torch.arange(n), axes]
        signs = 2 * torch.randint(0, 2, (n,), generator=self.generator).to(planes.device) - 1
        line = torch.arange(edge, device=planes.device)
        depth = (signs[:, None] * (planes[:, None] - line) + 0.5).clamp(0, MARGIN / 2) / (MARGIN / 2)  # (N, n)
        shapes = [[-1 if d == axis else 1 for d in range(3)] for axis in axes.tolist()]
        kept = torch.stack([d.view(1, *s).expand(1, edge, edge, edge) for d, s in zip(depth, shapes, strict=True)])
        self.logits = kept * self.logits - (1 - kept) * MASK_LOGIT
        along = self.coords.gather(2, axes[:, None, None].expand(-1, self.coords.shape[1], 1))[:, :, 0]
        beyond = signs[:, None] * (2 * planes[:, None] - along) < 0
        lost = torch.rand(self.labels.shape, generator=self.generator).to(beyond.device) < 0.3
        self.labels = torch.where(beyond | lost, -1, self.labels)
        return (kept < 1).float()


def damaged(targets: Tensor, generator: torch.Generator) -> Tensor:
    """Return mask prompts of masks that are not quite right, or of which only a part is there.

    Args:
        targets: (N, 1, n, n, n), 0..1.
        generator: torch's generator on the CPU.

    Returns:
        (N, 1, n, n, n) logits as `layers.mask_prompt` makes them of a mask.
    """
    n, edge = len(targets), targets.shape[-1]
    coarse = torch.randn(n, 1, 6, 6, 6, generator=generator).to(targets.device)
    noise = functional.interpolate(coarse, size=3 * (edge,), mode="trilinear")
    amount = torch.rand(n, 1, 1, 1, 1, generator=generator).to(targets.device)
    blurred = functional.avg_pool3d(targets, 5, 1, 2)
    wrong = (blurred + 0.7 * amount * noise > 0.5).float()
    slope = functional.interpolate(torch.randn(n, 1, 2, 2, 2, generator=generator), size=3 * (edge,), mode="trilinear")
    part = (slope.to(targets.device) > 0).float()
    whole = (torch.rand(n, 1, 1, 1, 1, generator=generator) < 0.5).to(targets.device)
    return MASK_LOGIT * (2 * torch.where(whole, wrong, wrong * part) - 1)


def _chance(share: float, generator: torch.Generator) -> bool:
    return float(torch.rand(1, generator=generator)) < share


def _integer(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (1,), generator=generator))
