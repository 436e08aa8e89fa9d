"""Sessions: one volume, one predictor, and the objects that a user segments with clicks.

The mask of an object is a function of its prompts: the mask it started from and its clicks, in order (`inferer.py`).
Undo, redo, moving or deleting a click and opening saved prompts are all the same operation: other prompts are
replayed, and each step of that is cached.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from sammed3d.core import prompt_files
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.geometry import Box
from sammed3d.core.mask import BoxedMask, Mask, changed_box
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts
from sammed3d.errors import PromptError, VolumeError
from sammed3d.files.segmentation import PALETTE, RGB, Segment, write_segments
from sammed3d.files.volume import Volume
from sammed3d.inference.inferer import Inferer, PromptState
from sammed3d.inference.object_timeline import ObjectTimeline, check_box, check_click
from sammed3d.inference.patch_inferer import PatchInferer
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.slice_inferer import SliceInferer


@dataclass(frozen=True, eq=False)
class Update:
    """What an operation changed.

    Attributes:
        object: name of the object.
        box: the smallest box (I, J, K) of the volume that holds all changed voxels; None if nothing changed.
        voxels: the mask inside `box` after the operation, uint8 0/1; None if nothing changed.
        previous: the mask inside `box` before it; None if nothing changed.
        seconds: time by stage: "cut", "encode", "decode", "paint".
    """

    object: str
    box: Box | None
    voxels: Mask | None
    previous: Mask | None
    seconds: dict[str, float]

    @classmethod
    def between(cls, name: str, before: BoxedMask | None, after: BoxedMask | None, seconds: dict[str, float]) -> Update:
        """Compare two masks of an object."""
        box = changed_box(before, after)
        if box is None:
            return cls(name, None, None, None, seconds)
        previous, voxels = (np.zeros(box.shape, np.uint8) if m is None else m.cut(box) for m in (before, after))
        return cls(name, box, voxels, previous, seconds)


@dataclass(eq=False)
class SessionObject:
    """One thing being segmented.

    Attributes:
        name: unique in the session.
        color: red, green, blue in 0..1.
    """

    name: str
    color: RGB
    _timeline: ObjectTimeline = field(default_factory=ObjectTimeline)

    @property
    def state(self) -> PromptState:
        """The prompts in force, with the mask that the object started from."""
        return self._timeline.now

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks in force, in order."""
        return self.state.clicks

    @property
    def box(self) -> BoxPrompt | None:
        """The box drawn round it, or None."""
        return self.state.box

    @property
    def mask(self) -> BoxedMask | None:
        """The mask that they make; None while it is empty."""
        return self._timeline.mask

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return self._timeline.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return self._timeline.can_redo

    @property
    def prompts(self) -> ObjectPrompts:
        """The prompts in force, for saving."""
        now = self.state
        return ObjectPrompts(self.name, now.clicks, None if now.base is None else now.base.digest, now.box)


class Session:
    """Segment objects of a volume by clicks.

    Args:
        volume: the image.
        predictor: the network.

    Every operation on clicks applies to the `current` object; the first one makes it. An operation that fails or is
    cancelled leaves the session as it was. A session belongs to one thread at a time.

    Example:
        >>> session = Session(Volume.read("ct.nii.gz"), load_predictor("default"))
        >>> session.click((12.0, -30.5, 88.0))
        >>> session.click((40.0, -30.5, 88.0), positive=False)
        >>> session.save("liver.seg.nrrd")
    """

    def __init__(self, volume: Volume, predictor: Predictor) -> None:
        self.volume = volume
        self.predictor = predictor
        self.objects: list[SessionObject] = []
        self.current: SessionObject | None = None
        self._replay = replay_for(volume, predictor)

    # Objects

    def add_object(self, name: str | None = None, color: RGB | None = None) -> SessionObject:
        """Add an object and make it the current one.

        Raises:
            PromptError: the name is taken.
        """
        self.current = self._new_object(name, color)
        self.objects.append(self.current)
        return self.current

    def select(self, name: str) -> SessionObject:
        """Make an object the current one.

        Raises:
            PromptError: there is none of that name.
        """
        self.current = self._named(name)
        return self.current

    # Prompts of the current object

    def click(self, world: Sequence[float], positive: bool = True, cancellation: Cancellation | None = None) -> Update:
        """Add a click at a world position (RAS mm).

        Raises:
            PromptError: it lies outside the volume.
            PredictionCancelled: `cancellation` was used.
        """
        click = self._checked(Click((world[0], world[1], world[2]), positive))
        return self._change(replace(self._now(), clicks=(*self._now().clicks, click)), cancellation)

    def move_click(self, index: int, world: Sequence[float], cancellation: Cancellation | None = None) -> Update:
        """Move a click, keeping its place in the order and its polarity; later clicks are applied again."""
        clicks = self._clicks_with(index)
        clicks[index] = self._checked(Click((world[0], world[1], world[2]), clicks[index].positive))
        return self._change(replace(self._now(), clicks=tuple(clicks)), cancellation)

    def remove_click(self, index: int, cancellation: Cancellation | None = None) -> Update:
        """Remove a click; later clicks are applied again."""
        clicks = self._clicks_with(index)
        del clicks[index]
        return self._change(replace(self._now(), clicks=tuple(clicks)), cancellation)

    def set_clicks(self, clicks: Sequence[Click], cancellation: Cancellation | None = None) -> Update:
        """Replace all clicks, for example by those of a file."""
        checked = tuple(self._checked(click) for click in clicks)
        return self._change(replace(self._now(), clicks=checked), cancellation)

    def set_prompts(self, saved: ObjectPrompts, cancellation: Cancellation | None = None) -> Update:
        """Replace clicks and box by saved ones, in one step; the mask that the object started from stays.

        Raises:
            PromptError: one lies outside the volume, or the model does not know boxes.
        """
        clicks = tuple(self._checked(click) for click in saved.clicks)
        box = None if saved.box is None else self._checked_box(saved.box)
        return self._change(replace(self._now(), clicks=clicks, box=box), cancellation)

    def set_box(
        self, corner: Sequence[float], opposite: Sequence[float], cancellation: Cancellation | None = None
    ) -> Update:
        """Draw a box round the object, given by two opposite corners (RAS mm); it applies before all clicks.

        Args:
            corner: one corner of the box, whose edges run along R, A and S.
            opposite: the corner farthest from it.
            cancellation: stops it.

        Raises:
            PromptError: the model does not know boxes (`Preset.boxes`), or the box lies outside the volume.
            PredictionCancelled: `cancellation` was used.
        """
        x, y, z = (float(v) for v in corner)
        a, b, c = (float(v) for v in opposite)
        box = self._checked_box(BoxPrompt((x, y, z), (a, b, c)))
        return self._change(replace(self._now(), box=box), cancellation)

    def start_from(self, mask: npt.NDArray[np.generic]) -> Update:
        """Start again from an existing mask (I, J, K), non-zero inside, which later clicks refine. Can be undone.

        Raises:
            VolumeError: its shape is not the volume's.
        """
        if mask.shape != self.volume.grid.shape:
            raise VolumeError(f"The mask's shape {mask.shape} is not the volume's {self.volume.grid.shape}.")
        return self._change(PromptState((), BoxedMask.of(mask)))

    def reset(self) -> Update:
        """Drop all clicks, the box and the mask the object started from. Can be undone."""
        return self._change(PromptState())

    def undo(self) -> Update | None:
        """Take the newest operation on the current object back; None if there is none."""
        return self._step(-1)

    def redo(self) -> Update | None:
        """Do again what was undone; None if there is nothing."""
        return self._step(+1)

    # Results

    def mask(self, name: str | None = None) -> Mask:
        """Return the mask of an object (the current one if not named): uint8 (I, J, K) on the volume's own grid."""
        target = self.current if name is None else self._named(name)
        stored = target.mask if target is not None else None
        shape = self.volume.grid.shape
        return np.zeros(shape, np.uint8, order="F") if stored is None else stored.full(shape)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all objects: `.seg.nrrd` with names and colours, or a label map (NIfTI, NRRD, MHA).

        Raises:
            VolumeError: see `segmentation.write_segments`.
        """
        write_segments(path, [Segment(o.name, o.mask, o.color) for o in self.objects], self.volume.grid)

    def save_prompts(self, path: str | os.PathLike[str]) -> None:
        """Write the prompts of all objects as JSON.

        Raises:
            PromptError: the file cannot be written.
        """
        prompt_files.write(path, (o.prompts for o in self.objects))

    def load_prompts(self, path: str | os.PathLike[str]) -> list[Update]:
        """Add the objects of a prompt file (or Slicer markups) and apply their clicks.

        Raises:
            PromptError: unreadable, a click outside this volume, a taken name, or an object that started from a mask
                (use `start_from` and `set_clicks` with `prompts.read`). Nothing is added then.
        """
        saved = prompt_files.read(path)
        before = list(self.objects), self.current
        for entry in saved:
            if entry.initial_mask is not None:
                raise PromptError(f"{entry.name!r} started from a mask, which the file does not hold: start from it.")
        try:
            return [self._add_with_clicks(entry) for entry in saved]
        except Exception:
            self.objects, self.current = before
            raise

    # How it works

    def _add_with_clicks(self, entry: ObjectPrompts) -> Update:
        self.add_object(entry.name)
        return self.set_prompts(entry)

    def _named(self, name: str) -> SessionObject:
        for candidate in self.objects:
            if candidate.name == name:
                return candidate
        raise PromptError(f"There is no object named {name!r}.")

    def _new_object(self, name: str | None = None, color: RGB | None = None) -> SessionObject:
        taken = {o.name for o in self.objects}
        if name is None:
            name = next(n for i in range(1, len(taken) + 2) if (n := f"Object {i}") not in taken)
        if name in taken:
            raise PromptError(f"There is an object named {name!r} already. Choose another name.")
        return SessionObject(name, color or PALETTE[len(self.objects) % len(PALETTE)])

    def _now(self) -> PromptState:
        return PromptState() if self.current is None else self.current.state

    def _clicks_with(self, index: int) -> list[Click]:
        clicks = list(self.current.clicks) if self.current is not None else []
        if not 0 <= index < len(clicks):
            raise PromptError(f"There is no click {index}; the object has {len(clicks)}, counted from 0.")
        return clicks

    def _checked(self, click: Click) -> Click:
        check_click(click, self.volume.grid, self.volume.name)
        return click

    def _checked_box(self, box: BoxPrompt) -> BoxPrompt:
        if not self.predictor.preset.boxes:
            raise PromptError(f"{self.predictor.name} does not know boxes. Use clicks, or a model trained with boxes.")
        check_box(box, self.volume.grid, self.volume.name)
        return box

    def _change(self, prompts_after: PromptState, cancellation: Cancellation | None = None) -> Update:
        """Evaluate new prompts of the current object; only if that succeeds do they enter its timeline."""
        target = self.current or self._new_object()
        state = replace(prompts_after, model=self.predictor.name)
        mask, seconds = self._replay.mask_of(state, cancellation)
        if target not in self.objects:
            self.objects.append(target)
            self.current = target
        before = target.mask
        target._timeline.push(state)
        target._timeline.evaluated(state, mask)
        return Update.between(target.name, before, mask, seconds)

    def _step(self, direction: int) -> Update | None:
        """Undo or redo; all masks of a session's timeline are known."""
        target = self.current
        if target is None:
            return None
        before, timeline = target.mask, target._timeline
        if not (timeline.undo() if direction < 0 else timeline.redo()):
            return None
        timeline.recall()
        return Update.between(target.name, before, target.mask, {})


def replay_for(volume: Volume, predictor: Predictor) -> Inferer:
    """Return what turns prompts on a volume into masks: patch by patch, or slice by slice, as the model needs it."""
    return SliceInferer(volume, predictor) if predictor.preset.by_slice else PatchInferer(volume, predictor)
