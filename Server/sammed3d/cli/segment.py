"""`sammed3d segment`: what was clicked on or drawn, as a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from sammed3d.cli.follow import FollowOption, PatchesOption, follow_object
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
    patches: PatchesOption = 8,
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
    if click_xy or box_xy or is_picture(volume):
        if click or box or scribble or lasso or points or ijk or store or suggest or uncertainty or series is not None:
            raise typer.BadParameter("A picture takes --click-xy, --box-xy and --initial; the rest is for volumes.")
        with explained(debug):
            in_pixels = PicturePrompts.parse(name, click_xy or (), box_xy, initial, honour)
            segment_picture(Path(volume), output, in_pixels, chosen, candidates, force, as_json)
        return
    if candidates:
        raise typer.BadParameter("--candidates is for pictures: the masks that a 2-D model weighs.")
    if bool(click or box or scribble or lasso) == bool(points):
        raise typer.BadParameter("Give --click, --box, --scribble or --lasso, or a file of prompts with --points.")
    if ijk and points:
        raise typer.BadParameter("--ijk is about --click and --box; files of prompts are in mm. Leave it out.")
    with explained(debug):
        given = given_prompts(name, click or (), box, scribble or (), lasso or (), honour)
        objects = (given,) if points is None else read_prompts(points, name, honour)
        check_place(output)
        check_store(volume, store)
        read = (as_path(volume), points, initial, *files_of(box, (*(scribble or ()), *(lasso or ()))))
        check_apart((output, uncertainty))
        check_output(output, read, force)
        if uncertainty is not None:
            check_field_place(uncertainty)
            check_output(uncertainty, read, force)
        seconds: dict[str, float] = {}
        if (path := as_path(volume)) is None or path.exists():
            chosen.prepare()
        with stage("Reading the volume", "read", seconds):
            image, fetched = read_source(volume, series, ca, not no_proxy)
            check_writable(image.grid)
        if ijk:
            objects = (from_voxels(given, image.grid, box),)
        with stage("Loading the model", "load", seconds):
            predictor = chosen.load()
        session = Session(image, predictor)
        cancellation, following, stop = Cancellation(), Cancellation(), Stop()
        spent, followed = dict[str, float](), dict[str, Followed]()
        with stage("Segmenting", "segment", seconds, cancellation, following):
            for prompt in _apply(session, objects, points, initial, seconds, spent, cancellation):
                if follow and (found := follow_object(session, prompt, patches, following, stop)) is not None:
                    followed[prompt.name] = found
            doubt = session.uncertainty(cancellation) if suggest or uncertainty is not None else None
        with stage("Writing", "write", seconds):
            session.save(output)
            if store and fetched is not None:
                fetched.store(session)
        next_click = {"next_click": tell_doubt(session, doubt, uncertainty, suggest)}  # after the mask, which stays
        print_report(report_of(session, predictor, seconds, spent, followed) | next_click, as_json)
        stop.end_job()


def _apply(
    session: Session,
    objects: Sequence[ObjectPrompts],
    points: Path | None,
    initial: Path | None,
    seconds: dict[str, float],
    spent: dict[str, float],
    cancellation: Cancellation,
) -> Iterator[ObjectPrompts]:
    """Apply all prompts, object by object; adds up the seconds by stage, and those that each object took."""
    if initial is not None and len(objects) != 1:
        raise PromptError(f"{points}: --initial refines one object, but this file holds {len(objects)}.")
    for prompt in objects:
        if initial is None:
            check_given(prompt)
        if prompt.initial_mask is not None and initial is None:
            raise PromptError(f"{points}: {prompt.name!r} started from a mask; give that mask with --initial.")
        session.add_object(prompt.name)
        if initial is not None:
            session.start_from(read_mask(initial, session.volume.grid))
        update = session.set_prompts(prompt, cancellation)
        spent[prompt.name] = sum(update.seconds.values())
        for step, value in update.seconds.items():
            seconds[step] = seconds.get(step, 0.0) + value
        yield prompt
