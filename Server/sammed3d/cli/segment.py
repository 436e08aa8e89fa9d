"""`sammed3d segment`: what was clicked on or drawn, as a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from sammed3d.cli.choice import (
    CaOption,
    Choice,
    KeyOption,
    ModelOption,
    NoProxyOption,
    PrecisionOption,
    RuntimeOption,
    ServerOption,
    check_server_options,
)
from sammed3d.cli.doubt import SuggestOption, UncertaintyOption, tell_doubt
from sammed3d.cli.drawn import (
    NAME,
    BoxOption,
    ClickOption,
    HonourOption,
    LassoOption,
    NameOption,
    PointsOption,
    ScribbleOption,
    check_given,
    files_of,
    from_voxels,
    given_prompts,
    read_prompts,
)
from sammed3d.cli.follow import PATCHES, FollowOption, PatchesOption, follow_object
from sammed3d.cli.picture import BoxXyOption, CandidatesOption, ClickXyOption, PicturePrompts, segment_picture
from sammed3d.cli.report import print_report, report_of
from sammed3d.cli.signals import Stop
from sammed3d.cli.sources import as_path, check_store, read_source
from sammed3d.cli.terminal import (
    BaseOption,
    DebugOption,
    DeviceOption,
    FamilyOption,
    ForceOption,
    JsonOption,
    SeriesOption,
    SourceArgument,
    explained,
    stage,
)
from sammed3d.core.cancellation import Cancellation
from sammed3d.core.prompts import ObjectPrompts
from sammed3d.errors import PromptError
from sammed3d.files.dicomweb_address import is_address
from sammed3d.files.outputs import check_apart, check_output
from sammed3d.files.picture import is_picture
from sammed3d.files.segmentation import check_field_place, check_place, read_mask
from sammed3d.files.volume import check_writable
from sammed3d.inference.follow_limits import Followed
from sammed3d.inference.session import Session
from sammed3d.inference.uncertainty import Uncertainty


def segment(
    volume: SourceArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Mask: .seg.nrrd, .nii.gz, .nrrd or .mha; of a picture also .png.")
    ],
    click: ClickOption = None,
    box: BoxOption = None,
    scribble: ScribbleOption = None,
    lasso: LassoOption = None,
    honour: HonourOption = True,
    click_xy: ClickXyOption = None,
    box_xy: BoxXyOption = None,
    candidates: CandidatesOption = False,
    points: PointsOption = None,
    ijk: Annotated[bool, typer.Option("--ijk", help="--click and --box are voxel indices I,J,K.")] = False,
    initial: Annotated[Path | None, typer.Option(help="Mask to start from; the clicks refine it.")] = None,
    name: NameOption = NAME,
    follow: FollowOption = False,
    patches: PatchesOption = None,
    uncertainty: UncertaintyOption = None,
    suggest: SuggestOption = False,
    model: ModelOption = "default",
    device: DeviceOption = "auto",
    family: FamilyOption = None,
    base: BaseOption = None,
    precision: PrecisionOption = "auto",
    runtime: RuntimeOption = "torch",
    server: ServerOption = None,
    key: KeyOption = "",
    ca: CaOption = None,
    no_proxy: NoProxyOption = False,
    store: Annotated[
        bool, typer.Option("--store", help="Also store the result as a DICOM SEG where the series came from.")
    ] = False,
    series: SeriesOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Segment the structures that were clicked on and write the mask on the volume's own grid."""
    check_server_options(server, ca, no_proxy, is_address(volume))
    chosen = Choice(model, device, precision, family, base, runtime, server, key, ca, not no_proxy)
    drawn = (*(scribble or ()), *(lasso or ()))
    doubted = suggest or uncertainty is not None
    if click_xy or box_xy or is_picture(volume):
        if click or box or drawn or points or ijk or store or follow or doubted or series is not None:
            raise typer.BadParameter("A picture takes --click-xy, --box-xy and --initial; the rest is for volumes.")
        with explained(debug):
            in_pixels = PicturePrompts.parse(name, click_xy or (), box_xy, initial, honour)
            segment_picture(Path(volume), output, in_pixels, chosen, candidates, force, as_json)
        return
    if patches is not None and not follow:
        raise typer.BadParameter("--patches says how far --follow goes. Give that too, or leave it out.")
    if candidates:
        raise typer.BadParameter("--candidates is for pictures: the masks that a 2-D model weighs.")
    if bool(click or box or drawn) == bool(points):
        raise typer.BadParameter("Give --click, --box, --scribble or --lasso, or a file of prompts with --points.")
    if ijk and points:
        raise typer.BadParameter("--ijk is about --click and --box; files of prompts are in mm. Leave it out.")
    with explained(debug):
        given = given_prompts(name, click or (), box, scribble or (), lasso or (), honour)
        objects = (given,) if points is None else read_prompts(points, name, honour)
        _check_objects(objects, points, initial)
        check_store(volume, store)
        _check_places(output, uncertainty, (as_path(volume), points, initial, *files_of(box, drawn)), force)
        if (path := as_path(volume)) is None or path.exists():
            chosen.prepare()
        course = _Course()
        with stage("Reading the volume", "read", course.seconds):
            image, fetched = read_source(volume, series, ca, not no_proxy)
            check_writable(image.grid)
        if ijk:
            objects = (from_voxels(given, image.grid, box),)
        with stage("Loading the model", "load", course.seconds):
            predictor = chosen.load()
        session, stop = Session(image, predictor), Stop()
        _carry_out(_Asked(objects, initial, follow, patches or PATCHES, doubted), session, course, stop)
        with stage("Writing", "write", course.seconds):
            session.save(output)
            if store and fetched is not None:
                fetched.store(session)
        next_click = tell_doubt(session, course.doubt, uncertainty, suggest)  # after the mask, which stays
        report = report_of(session, predictor, course.seconds, course.spent, course.followed)
        print_report(report | {"next_click": next_click}, as_json)
        stop.end_job()


@dataclass(frozen=True)
class _Asked:
    """What is asked about a volume.

    Attributes:
        objects: the prompts of each object, in mm.
        initial: file with a mask that the only object starts from, or None.
        follow: whether objects are followed beyond the patch of their last click.
        patches: into how many further ones at most.
        doubted: whether to find out what the model is unsure of.
    """

    objects: Sequence[ObjectPrompts]
    initial: Path | None
    follow: bool
    patches: int
    doubted: bool


@dataclass
class _Course:
    """What the report tells of how it went.

    Attributes:
        seconds: by stage.
        spent: seconds that each object's prompts took, by its name.
        followed: how far objects were followed beyond a patch, by their names.
        doubt: what the model is unsure of, if that was asked and there is such.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    followed: dict[str, Followed] = field(default_factory=dict)
    doubt: Uncertainty | None = None


def _check_objects(objects: Sequence[ObjectPrompts], points: Path | None, initial: Path | None) -> None:
    """Refuse prompts of which no mask can come, before anything takes its time.

    Raises:
        PromptError: one has no positive click and no mask to start from, or several have the same one to start from.
    """
    if initial is not None and len(objects) != 1:
        raise PromptError(f"{points}: --initial refines one object, but this file holds {len(objects)}.")
    for prompt in objects if initial is None else ():
        if prompt.initial_mask is not None:
            raise PromptError(f"{points}: {prompt.name!r} started from a mask; give that mask with --initial.")
        check_given(prompt)


def _check_places(output: Path, uncertainty: Path | None, read: Sequence[Path | None], force: bool) -> None:
    """Refuse files that cannot be written, or would take the place of another one.

    Raises:
        VolumeError: names the file.
    """
    check_place(output)
    check_apart((output, uncertainty))
    check_output(output, read, force)
    if uncertainty is not None:
        check_field_place(uncertainty)
        check_output(uncertainty, read, force)


def _carry_out(asked: _Asked, session: Session, course: _Course, stop: Stop) -> None:
    """Segment all objects one after the other; where `stop` ends following one, what is done stays."""
    cancellation, following = Cancellation(), Cancellation()
    with stage("Segmenting", "segment", course.seconds, cancellation, following):
        for prompt in asked.objects:
            session.add_object(prompt.name)
            if asked.initial is not None:
                session.start_from(read_mask(asked.initial, session.volume.grid))
            update = session.set_prompts(prompt, cancellation)
            course.spent[prompt.name] = sum(update.seconds.values())
            for step, value in update.seconds.items():
                course.seconds[step] = course.seconds.get(step, 0.0) + value
            if asked.follow and (found := follow_object(session, prompt, asked.patches, following, stop)) is not None:
                course.followed[prompt.name] = found
        course.doubt = session.uncertainty(cancellation) if asked.doubted else None
