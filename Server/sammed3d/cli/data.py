"""`sammed3d data`: what is in a dataset, and getting it ready for training."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sammed3d.cli.terminal import (
    DebugOption,
    FamilyOption,
    ForceOption,
    JsonOption,
    explained,
    print_table,
    screen,
    stopped_run_goes_on,
)
from sammed3d.errors import ModelError, VolumeError
from sammed3d.files import datasets, image_lists
from sammed3d.files.datasets import CaseReport
from sammed3d.files.outputs import check_output
from sammed3d.files.patients import image_digests, same_images

if TYPE_CHECKING:
    from sammed3d.training.prepared import PreparedCase

data_app = typer.Typer(no_args_is_help=True, help="Datasets of labelled volumes.")
MISSING = 'This needs more packages: pip install "sammed3d[train]"'


@data_app.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help=f"A dataset: {datasets.LAYOUTS}.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Report cases, spacings, labels and volumes, and what is wrong, before anything is run on them."""
    with explained(debug):
        cases = datasets.find_cases(folder)
        twice = same_images(cases, image_digests(cases))
        reports = []
        for case in cases:
            reports.append(_with_others(datasets.check(case), twice.get(case.name, [])))
            if not as_json:
                _print_case(reports[-1])
        bad = [report for report in reports if report.problems]
        if as_json:
            print(json.dumps([asdict(report) for report in reports]))
        else:
            _print_structures(reports)
            print(f"{len(reports)} cases, {len(bad)} with problems.")
    if bad:
        raise typer.Exit(1)


def _with_others(report: CaseReport, others: list[str]) -> CaseReport:
    """Return a report that names the cases with the same image."""
    if not others:
        return report
    remark = f"the same image as {', '.join(others)}: they are never on different sides of training and validation."
    return replace(report, remarks=[*report.remarks, remark])


def _print_case(report: CaseReport) -> None:
    size, spacing = " x ".join(map(str, report.shape)), " x ".join(f"{s:g}" for s in report.spacing)
    found = f"{size} voxels of {spacing} mm, {len(report.volumes_ml)} structures" if report.shape else "cannot be used"
    print(f"{report.name}: {found}")
    for problem in report.problems:
        print(f"  ✗ {problem}")
    for remark in report.remarks:
        print(f"  · {remark}")


def _print_structures(reports: list[CaseReport]) -> None:
    names = sorted({name for report in reports for name in report.volumes_ml}, key=datasets.counted)
    table = Table("Structure", "Cases", "Median ml", "Smallest ml", "Largest ml")
    for name in names:
        volumes = sorted(report.volumes_ml[name] for report in reports if name in report.volumes_ml)
        shown = [volumes[len(volumes) // 2], volumes[0], volumes[-1]]
        table.add_row(name, str(len(volumes)), *(f"{v:.2f}" for v in shown))
    print_table(table)


@data_app.command("prepare")
def prepare(
    dataset: Annotated[Path, typer.Argument(help="A dataset; see `sammed3d data check`.")],
    folder: Annotated[Path, typer.Argument(help="Where the prepared data go; may hold other datasets.")],
    name: Annotated[str, typer.Option(help="Name of the dataset; begins with ct_ or mr_.")] = "",
    model: Annotated[
        str | None, typer.Option(help="Model that the data are for: its spacing, and its range of intensities.")
    ] = None,
    family: FamilyOption = None,
    spacing: Annotated[float | None, typer.Option(help="In mm, without a model; 1.5 if not given.")] = None,
    validation: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the cases that validates.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 2023,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    debug: DebugOption = False,
) -> None:
    """Resample a dataset and take its structures apart, as SAM-Med3D's published recipe needs it."""
    with explained(debug), stopped_run_goes_on(folder):
        try:
            from sammed3d.training import prepared  # noqa: PLC0415 - the extra [train]
            from sammed3d.training.contract import preparation_for  # noqa: PLC0415
            from sammed3d.training.sides import cases_in  # noqa: PLC0415
        except ImportError as error:
            raise ModelError(MISSING) from error
        if model is not None and spacing is not None:
            raise ModelError("The model says which spacing it needs. Leave --spacing out.")
        if family is not None and model is None:
            raise ModelError("--family is about the file of a model. Name that (--model), or leave the family out.")
        _check_preparation(dataset, folder, name, spacing)
        wanted, clamp = (1.5 if spacing is None else spacing, None) if model is None else preparation_for(model, family)
        found = datasets.find_cases(dataset)
        cases = [case for case in found if case.label is not None]
        called = name or dataset.resolve().name
        gone = cases_in(folder, called) - {case.name for case in cases}
        came = _Prepared(len(cases))
        twice = prepared.prepare(
            cases,
            folder,
            called,
            spacing=wanted,
            clamp=clamp,
            validation=validation,
            seed=seed,
            workers=workers,
            on_case=came.note,
        )
        count = {side: len(prepared.find_samples(folder, side)) for side in ("train", "validation")}
        came.tell_left_out(len(found) - len(cases))
        if gone:
            print(
                f"Left out, not in {dataset} though {called} had them before: {len(gone)} cases. To keep those of two "
                "datasets, give each a --name of its own."
            )
        if twice:
            print(f"On the side of another case with the same image: {', '.join(twice)}.")
        print(f"{folder}: {count['train']} structures to train on, {count['validation']} that validate.")
    if came.problems:
        raise typer.Exit(1)


@dataclass
class _Prepared:
    """What has become of the cases of a dataset so far.

    Attributes:
        count: how many there are.
        done: how many are done.
        empty: how many of them have labels of nothing.
        problems: why nothing came of a case; a line for each.
        left_out: in how many cases a structure was too small, by its name.
    """

    count: int
    done: int = 0
    empty: int = 0
    problems: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def note(self, case: str, result: PreparedCase) -> None:
        """Take note of a case, and say that it is done, or why nothing came of it."""
        self.done += 1
        self.empty += not (result.problem or result.voxels or result.left_out)
        self.problems += [result.problem] if result.problem else []
        self.left_out.update(list(result.left_out))
        end = f": {result.problem}" if result.problem else ""
        screen.print(f"{self.done}/{self.count} {case}{end}", highlight=False)

    def tell_left_out(self, unlabelled: int) -> None:
        """Say what there is nothing to learn from: of the cases, and as many as that have no labels."""
        if self.left_out:
            by_name = sorted(self.left_out.items(), key=lambda item: datasets.counted(item[0]))
            named = ", ".join(f"{structure} ({n})" for structure, n in by_name)
            print(f"Left out, with less than {datasets.TINY_MM3:g} mm³: {named}.")
        if unlabelled:
            print(f"Left out, without labels: {unlabelled} cases.")
        if self.empty:
            print(f"Left out, with an empty label map: {self.empty} cases.")


def _check_preparation(dataset: Path, folder: Path, name: str, spacing: float | None) -> None:
    """Refuse to mix prepared data into the dataset that they are made of, names of several folders, and no spacing."""
    if dataset.is_dir() and folder.resolve().is_relative_to(dataset.resolve()):
        raise VolumeError(f"{folder}: lies in the dataset, whose cases the prepared ones would become. Choose another.")
    if name in (".", "..") or any(sign in name for sign in "/\\\0"):
        raise VolumeError(f"{name!r} is no name of a dataset: it is that of one folder. Leave out slashes.")
    if spacing is not None and not 0 < spacing < math.inf:
        raise VolumeError(f"Voxels of {spacing:g} mm are none. Give --spacing as mm above 0, or leave it out.")


@data_app.command("lists")
def lists(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="A folder with 2-D `images` (NAME.png) and `masks` (NAME_STRUCTURE_000.png). Or labelled volumes, "
            "whose slices are taken; see `sammed3d data check`."
        ),
    ],
    folder: Annotated[
        Path | None, typer.Argument(help="Where slices of volumes go. Lists of images are written beside them.")
    ] = None,
    test: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the images or cases that tests.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 2023,
    every: Annotated[int, typer.Option(min=1, help="Take every n-th slice of a volume only.")] = 1,
    smallest: Annotated[int, typer.Option(min=1, help="Pixels that a structure needs to have in a slice.")] = 20,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Make SAM-Med2D's lists of images and masks: image2label_train.json and label2image_test.json."""
    with explained(debug):
        problems: list[str] = []
        place = folder or dataset
        for name in (image_lists.TRAIN, image_lists.TEST):
            check_output(place / name, (dataset,) if folder else (), force)
        if (dataset / "images").is_dir() and (dataset / "masks").is_dir():
            if folder is not None:
                raise VolumeError(f"{dataset}: the lists of 2-D images are written beside them. Leave {folder} out.")
            pairs, without = image_lists.pairs_in(dataset)
            groups = {str(each.image): [each] for each in pairs}
            problems += [f"{mask}: no image in {dataset / 'images'} has the beginning of its name." for mask in without]
        elif folder is None:
            raise VolumeError(f"{dataset}: has no folders images and masks. For volumes, say where their slices go.")
        else:
            groups = _slices(dataset, folder, every, smallest, problems)
        if not groups:
            raise VolumeError(f"{dataset}: nothing to list. {' '.join(problems)}")
        train, kept = datasets.split(sorted(groups), test, seed)
        sides = [[each for name in names for each in groups[name]] for names in (train, kept)]
        image_lists.write_lists(place, *sides)
        for problem in problems:
            screen.print(f"✗ {problem}", highlight=False)
        counted = [f"{len(side)} images with {sum(len(each.masks) for each in side)} masks" for side in sides]
        print(f"{place}: {counted[0]} to train on ({image_lists.TRAIN}), {counted[1]} to test ({image_lists.TEST}).")
    if problems:
        raise typer.Exit(1)


def _slices(
    dataset: Path, folder: Path, every: int, smallest: int, problems: list[str]
) -> dict[str, list[image_lists.ListedImage]]:
    from sammed3d.training.sam_med2d.slices import write_slices  # noqa: PLC0415 - most commands need no inference

    def report(case: str, count: int, problem: str | None) -> None:
        screen.print(f"{case}: {f'{count} slices' if problem is None else problem}", highlight=False)
        problems.extend([] if problem is None else [f"{case}: {problem}"])

    cases = [case for case in datasets.find_cases(dataset) if case.label is not None]
    return write_slices(cases, folder, every=every, smallest=smallest, on_case=report)
