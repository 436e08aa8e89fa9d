"""Sessions: one volume, one predictor, and the objects that a user segments with clicks and drawings.

The mask of an object is a function of its prompts: the mask it started from, its clicks and what was drawn, in order.
Undo, redo, moving or deleting a click and opening saved prompts are all the same operation: other prompts are
replayed, and each step of that is cached.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from threading import RLock

import numpy as np
import numpy.typing as npt

from sammed3d.core import prompt_files
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.drawings import Drawing, Lasso, Scribble, points_of
from sammed3d.core.mask import BoxedMask, Mask
from sammed3d.core.prompts import BoxPrompt, Click, ObjectPrompts, Translation
from sammed3d.errors import ModelError, PromptError, VolumeError
from sammed3d.files.picture import PictureVolume
from sammed3d.files.segmentation import RGB, Segment, write_segments
from sammed3d.files.volume import Volume
from sammed3d.inference.follow_limits import Followed, FollowSettings, can_follow, follow
from sammed3d.inference.inferer import PromptState
from sammed3d.inference.one_thread import alone
from sammed3d.inference.patch_inferer import PatchInferer
from sammed3d.inference.picture_slices import PictureSlices
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.prompt_checks import check_box, check_click, check_drawing, check_prompts
from sammed3d.inference.prompt_translation import TranslatingInferer
from sammed3d.inference.session_object import (
    SessionObject,
    Update,
    clicks_with,
    named,
    new_object,
    state_of,
    with_clicks,
)
from sammed3d.inference.slice_inferer import SliceInferer
from sammed3d.inference.suggestion import Suggestion, suggestion_from
from sammed3d.inference.uncertainty import Uncertainty, uncertainty_of


class Session:
    """Segment objects of a volume by clicks, scribbles, lassos and boxes.

    Args:
        volume: the image.
        predictor: the network.

    Attributes:
        objects: the objects being segmented, in the order in which they were added.
        current: the object that prompts apply to; None before the first.
        inferer: turns an object's prompts into its mask.
        following: whether and how far objects are followed beyond the patches that they are clicked in.

    Every operation on prompts applies to the `current` object; the first one makes it. An operation that fails or is
    cancelled leaves the session as it was. A session belongs to one thread at a time; another one that changes it while
    it is at work gets a PromptError.

    Raises:
        VolumeError: the volume is none.
        ModelError: the predictor is none, or works in 3-D and the volume is a picture.

    Example:
        >>> session = Session(Volume.read("ct.nii.gz"), load_predictor("default"))
        >>> session.click((12.0, -30.5, 88.0))
        >>> session.click((40.0, -30.5, 88.0), positive=False)
        >>> session.save("liver.seg.nrrd")
    """

    def __init__(self, volume: Volume, predictor: Predictor) -> None:
        if not isinstance(volume, Volume):
            raise VolumeError(f"A session takes a volume, not a {type(volume).__name__}. Make one: Volume.read(path).")
        if isinstance(predictor, str):
            raise ModelError(f"A session takes a predictor, not its name. Make one: load_predictor({predictor!r}).")
        self.at_work = RLock()
        self.volume = volume
        self.predictor = predictor
        self.objects: list[SessionObject] = []
        self.current: SessionObject | None = None
        self.inferer = inferer_for(volume, predictor)
        self.following = FollowSettings("never")

    # Objects

    @alone
    def add_object(self, name: str | None = None, color: RGB | None = None) -> SessionObject:
        """Add an object and make it the current one.

        Raises:
            PromptError: the name is taken.
        """
        self.current = new_object(self.objects, name, color)
        self.objects.append(self.current)
        return self.current

    @alone
    def select(self, name: str) -> SessionObject:
        """Make an object the current one.

        Raises:
            PromptError: there is none of that name.
        """
        self.current = named(self.objects, name)
        return self.current

    # Prompts of the current object

    @alone
    def click(self, world: Sequence[float], positive: bool = True, cancellation: Cancellation | None = None) -> Update:
        """Add a click at a world position (RAS mm).

        Raises:
            PromptError: it is no three numbers, or lies outside the volume.
            PredictionCancelled: `cancellation` was used.
        """
        click = Click(world, positive)  # type: ignore[arg-type]
        check_click(click, self.volume.grid, self.volume.name)
        following = None if self.following.mode == "never" else self.following
        now = state_of(self.current)
        return _change(self, with_clicks(now, (*now.clicks, click)), cancellation, following)

    @alone
    def follow(self, settings: FollowSettings | None = None, cancellation: Cancellation | None = None) -> Update:
        """Follow the current object beyond what was looked at, after its last click. One step of undo.

        Args:
            settings: the limits; those of `following` if not given.
            cancellation: stops it; what was followed until then stays.

        Raises:
            PromptError: the last prompt is no positive click.
        """
        if not can_follow(state_of(self.current)):
            raise PromptError("There is no positive click to follow the object from. Click inside it first.")
        return _change(self, state_of(self.current), cancellation, replace(settings or self.following, mode="always"))

    @alone
    def move_click(self, index: int, world: Sequence[float], cancellation: Cancellation | None = None) -> Update:
        """Move a click, keeping its place in the order and its polarity; later clicks are applied again."""
        now = state_of(self.current)
        clicks = clicks_with(now, index)
        clicks[index] = replace(clicks[index], world=world)  # type: ignore[arg-type]
        check_click(clicks[index], self.volume.grid, self.volume.name)
        return _change(self, with_clicks(now, clicks), cancellation)

    @alone
    def remove_click(self, index: int, cancellation: Cancellation | None = None) -> Update:
        """Remove a click; later clicks are applied again."""
        now = state_of(self.current)
        clicks = clicks_with(now, index)
        del clicks[index]
        return _change(self, with_clicks(now, clicks), cancellation)

    @alone
    def set_clicks(self, clicks: Sequence[Click], cancellation: Cancellation | None = None) -> Update:
        """Replace all clicks, for example by those of a file."""
        for click in clicks:
            check_click(click, self.volume.grid, self.volume.name)
        return _change(self, with_clicks(state_of(self.current), clicks), cancellation)

    def scribble(
        self, points: Iterable[Sequence[float]], positive: bool = True, cancellation: Cancellation | None = None
    ) -> Update:
        """Draw a stroke along the object, or along what it is not.

        Args:
            points: (N, 3) RAS mm, joined by straight lines.
            positive: whether the object is there.
            cancellation: stops it.

        Raises:
            PromptError: it has no points, or all of it lies outside the volume.
            PredictionCancelled: `cancellation` was used.
        """
        return self.draw(Scribble(points_of(points), positive), cancellation)

    def lasso(
        self, points: Iterable[Sequence[float]], positive: bool = True, cancellation: Cancellation | None = None
    ) -> Update:
        """Draw a loop on a plane, in which the object is what it encloses, or is not.

        Args:
            points: (N, 3) RAS mm along the loop, which closes by itself; at least three.
            positive: whether the object is inside.
            cancellation: stops it.

        Raises:
            PromptError: the points make no loop on a plane, or all of it lies outside the volume.
            PredictionCancelled: `cancellation` was used.
        """
        return self.draw(Lasso(points_of(points), positive), cancellation)

    @alone
    def draw(self, drawing: Drawing, cancellation: Cancellation | None = None) -> Update:
        """Add a scribble or lasso after all clicks so far; errors as those of `scribble` and `lasso`."""
        check_drawing(drawing, self.volume.grid, self.volume.name)
        now = state_of(self.current)
        placed = replace(drawing, after=len(now.clicks))
        return _change(self, replace(now, drawings=(*now.drawings, placed)), cancellation)

    @alone
    def set_box(
        self, corner: Sequence[float], opposite: Sequence[float], cancellation: Cancellation | None = None
    ) -> Update:
        """Draw a box round the object, given by two opposite corners (RAS mm); it applies before all clicks.

        Args:
            corner: one corner of the box, whose edges run along R, A and S.
            opposite: the corner farthest from it.
            cancellation: stops it.

        Raises:
            PromptError: a corner is no three numbers, or the box lies outside the volume.
            PredictionCancelled: `cancellation` was used.
        """
        box = BoxPrompt(corner, opposite)  # type: ignore[arg-type]
        check_box(box, self.volume.grid, self.volume.name)
        return _change(self, replace(state_of(self.current), box=box), cancellation)

    @alone
    def set_honour(self, honour: bool) -> Update:
        """Make the mask agree with box and drawings from now on (the default), or leave the model's answer as it is."""
        return _change(self, replace(state_of(self.current), honour=bool(honour)))

    @alone
    def set_prompts(self, saved: ObjectPrompts, cancellation: Cancellation | None = None) -> Update:
        """Replace all prompts by saved ones, in one step; the mask that the object started from stays.

        Raises:
            PromptError: one lies outside the volume.
        """
        asked = check_prompts(saved, self.volume.grid, self.volume.name)
        state = replace(
            state_of(self.current), clicks=asked.clicks, box=asked.box, drawings=asked.drawings, honour=asked.honour
        )
        return _change(self, state, cancellation)

    @alone
    def start_from(self, mask: npt.NDArray[np.generic]) -> Update:
        """Start again from an existing mask (I, J, K), non-zero inside, which later clicks refine. Can be undone.

        Raises:
            VolumeError: it is no array, or its shape is not the volume's.
        """
        if not isinstance(mask, np.ndarray):
            raise VolumeError(f"A mask is a NumPy array, not a {type(mask).__name__}. Make one: numpy.asarray(mask).")
        if mask.shape != self.volume.grid.shape:
            raise VolumeError(f"The mask's shape {mask.shape} is not the volume's {self.volume.grid.shape}.")
        return _change(self, PromptState((), BoxedMask.of(mask), honour=state_of(self.current).honour))

    @alone
    def reset(self) -> Update:
        """Drop all prompts and the mask the object started from. Can be undone."""
        return _change(self, PromptState(honour=state_of(self.current).honour))

    @alone
    def undo(self) -> Update | None:
        """Take the newest operation on the current object back; None if there is none."""
        return None if self.current is None else self.current.step(-1)

    @alone
    def redo(self) -> Update | None:
        """Do again what was undone; None if there is nothing."""
        return None if self.current is None else self.current.step(+1)

    # Results

    def mask(self, name: str | None = None) -> Mask:
        """Return the mask of an object (the current one if not named): uint8 (I, J, K) on the volume's own grid."""
        target = self.current if name is None else named(self.objects, name)
        stored = target.mask if target is not None else None
        shape = self.volume.grid.shape
        return np.zeros(shape, np.uint8, order="F") if stored is None else stored.full(shape)

    @alone
    def uncertainty(self, cancellation: Cancellation | None = None) -> Uncertainty | None:
        """Return how sure the model is of the current object, in the patch of its last click; None where it has none.

        Raises:
            PromptError: the model works slice by slice.
            PredictionCancelled: `cancellation` was used.
        """
        return uncertainty_of(self.inferer, state_of(self.current), cancellation)

    def suggest(
        self, skipped: Sequence[Sequence[float]] = (), cancellation: Cancellation | None = None
    ) -> Suggestion | None:
        """Return where the next click on the current object is expected to change most; None where nothing is doubtful.

        Args:
            skipped: places (RAS mm) that were suggested and not wanted.
            cancellation: stops it; errors as `uncertainty`.
        """
        found, now = self.uncertainty(cancellation), state_of(self.current)
        known = [click.world for click in now.clicks] + [(float(r), float(a), float(s)) for r, a, s in skipped]
        return None if found is None else suggestion_from(found, self.volume.grid, known)

    def translations(self, name: str) -> tuple[Translation, ...]:
        """Return what the model was told in place of an object's box and drawings, as it does not know them."""
        return self.inferer.translations(named(self.objects, name).state)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all objects: `.seg.nrrd` with names and colours, or a label map (NIfTI, NRRD, MHA).

        Raises:
            VolumeError: a reason of `segmentation.write_segments`.
        """
        write_segments(path, [Segment(o.name, o.mask, o.color) for o in self.objects], self.volume.grid)

    def save_prompts(self, path: str | os.PathLike[str]) -> None:
        """Write the prompts of all objects as JSON, with what a model was told that does not know them.

        Raises:
            PromptError: the file cannot be written.
        """
        saved = (replace(o.prompts, translations=self.translations(o.name)) for o in self.objects)
        prompt_files.write(path, saved)

    @alone
    def load_prompts(self, path: str | os.PathLike[str]) -> list[Update]:
        """Add the objects of a prompt file (or Slicer markups) and apply their prompts.

        Raises:
            PromptError: unreadable, a click outside this volume, a taken name, or an object that started from a mask
                (use `start_from` and `set_prompts` with `prompt_files.read`). Nothing is added then.
        """
        saved = prompt_files.read(path)
        before = list(self.objects), self.current
        for entry in saved:
            if entry.initial_mask is not None:
                raise PromptError(f"{entry.name!r} started from a mask, which the file does not hold: start from it.")
        try:
            updates = []
            for entry in saved:
                self.add_object(entry.name)
                updates.append(self.set_prompts(entry))
            return updates
        except BaseException:  # an interruption of a notebook too
            self.objects, self.current = before
            raise


def _change(
    session: Session,
    state: PromptState,
    cancellation: Cancellation | None = None,
    following: FollowSettings | None = None,
) -> Update:
    """Evaluate new prompts of the current object; only if that succeeds do they enter its timeline."""
    target = session.current or new_object(session.objects)
    state = replace(state, model=session.predictor.name)
    mask, seconds = session.inferer.mask_of(state, cancellation)
    followed = None
    if following is not None and can_follow(state):
        followed = follow(session.inferer, Followed(state, mask, seconds=seconds), following, cancellation)
        state, mask, seconds = followed.state, followed.mask, followed.seconds
        if followed.patches == 0 and target.clicks == state.clicks:
            return replace(Update.between(target.name, mask, mask, seconds), followed=followed)
    if target not in session.objects:
        session.objects.append(target)
        session.current = target
    return replace(target.enter(state, mask, seconds), followed=followed)


def inferer_for(volume: Volume, predictor: Predictor) -> TranslatingInferer:
    """Return what turns prompts on a volume into masks: patch by patch, or slice by slice, as the model needs it.

    Raises:
        ModelError: the volume is a picture, and the model works in 3-D.
    """
    slices = None
    if isinstance(volume, PictureVolume):
        if not predictor.preset.by_slice:
            raise ModelError(f"{predictor.name} works in 3-D. Choose a model of 2-D images: sam_med2d or ft_sam2d.")
        slices = PictureSlices(volume, predictor.preset)
    inner = SliceInferer(volume, predictor, slices) if predictor.preset.by_slice else PatchInferer(volume, predictor)
    return TranslatingInferer(inner, volume.grid, predictor)
