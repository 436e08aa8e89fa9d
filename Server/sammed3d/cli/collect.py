"""`sammed3d collect`: a dataset for training out of what users segmented."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from sammed3d.cli.terminal import DebugOption, ForceOption, SeriesOption, explained
from sammed3d.core import prompt_files
from sammed3d.core.prompts import ObjectPrompts
from sammed3d.errors import SAMMed3DError, VolumeError
from sammed3d.files import collection, datasets, kept_cases, other_layouts, scenes
from sammed3d.files.collection import Collected, Wanted
from sammed3d.files.segment_reader import on_grid, read_segments
from sammed3d.files.segmentation import Segment
from sammed3d.files.volume import Volume


@dataclass(frozen=True)
class _Source:
    """A volume and what was segmented on it.

    Attributes:
        title: the report's title.
        volume: file.
        segmentations: each with its prompts, by segment ID or, out of a prompt file, by name.
        series: the series of a DICOM folder.
        structures: what files of one segment are of, where their folder says so.
    """

    title: str
    volume: Path
    segmentations: Sequence[tuple[Path, Mapping[str, ObjectPrompts]]]
    series: int | None = None
    structures: Mapping[Path, str] = field(default_factory=dict)


def collect(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Scenes of 3D Slicer (.mrb, .mrml), segmentations (with --volume), or folders: NAME.seg.nrrd, the "
            "volume NAME beside it, and NAME.json for its prompts; or as TotalSegmentator has them."
        ),
    ],
    to: Annotated[Path, typer.Option(help="The dataset: a folder of cases, as `sammed3d data prepare` takes it.")],
    volume: Annotated[Path | None, typer.Option(help="Volume of the segmentations that are given.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompt file of their segments, by name.")] = None,
    series: SeriesOption = None,
    only: Annotated[list[str] | None, typer.Option(help="Name or terminology code of a segment to take.")] = None,
    rename: Annotated[list[str] | None, typer.Option(help="SEGMENT=STRUCTURE, by name or terminology code.")] = None,
    by_terminology: Annotated[bool, typer.Option(help="Call structures as their terminology says.")] = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Collect volumes and their segments as cases to train on, without anything that names a patient."""
    with explained(debug):
        wanted = Wanted(tuple(only or ()), dict(_renamed(text) for text in rename or ()), by_terminology)
        _check_usage(sources, volume, prompts, series)
        problems = 0
        written: set[str] = set()
        for source in sources:
            if to.resolve() == source.resolve() or to.resolve() in source.resolve().parents:
                raise VolumeError(f"{source}: lies in the dataset that is written ({to}). Choose another folder.")
            with _opened(source, volume, prompts, series) as (found, left_out):
                for sentence in left_out:
                    print(f"{source.name}: {sentence}")
                problems += len(left_out)
                for each in found:
                    case = _collect(each, to, wanted, force, written)
                    if case:
                        written.add(case)
                    else:
                        problems += 1
        print(collection.STRIPPED)
        print(f"{to}: {len(written)} cases written, {problems} sources that could not be used.")
    if problems or not written:
        raise typer.Exit(1)


def _check_usage(sources: Sequence[Path], volume: Path | None, prompts: Path | None, series: int | None) -> None:
    """Refuse options that would say nothing about a source.

    Raises:
        typer.BadParameter: names the option.
    """
    alone = [path for path in sources if _is_scene(path) or path.is_dir()]
    if alone and not (volume is None and prompts is None and series is None):
        raise typer.BadParameter(
            f"--volume, --prompts and --series are about segmentations. Collect {alone[0]} without them."
        )


def _is_scene(path: Path) -> bool:
    return path.suffix.lower() in (".mrb", ".mrml")


def _renamed(text: str) -> tuple[str, str]:
    segment, equals, structure = text.partition("=")
    if not equals or not segment or not structure.strip():
        raise typer.BadParameter(f"--rename takes SEGMENT=STRUCTURE, not {text!r}.")
    return segment, structure.strip()


@contextmanager
def _opened(
    path: Path, volume: Path | None, prompts: Path | None, series: int | None
) -> Iterator[tuple[list[_Source], tuple[str, ...]]]:
    """Give the segmentations of a source, and a sentence for each that cannot be used."""
    if _is_scene(path):
        with tempfile.TemporaryDirectory() as folder:
            scene = scenes.read_scene(path, Path(folder))
            by_volume: dict[Path, list[tuple[Path, Mapping[str, ObjectPrompts]]]] = {}
            for each in scene.segmentations:
                by_volume.setdefault(each.volume, []).append((each.file, each.prompts))
            found = [_Source(f"{path.name}, volume {n}", *each) for n, each in enumerate(by_volume.items(), start=1)]
            yield found, scene.left_out
    elif path.is_dir():
        yield _beside(path)
    elif volume is None:
        raise VolumeError(f"{path}: say which volume it was made on (--volume).")
    else:
        yield [_Source(path.name, volume, [(path, _prompts(prompts))], series)], ()


def _beside(folder: Path) -> tuple[list[_Source], tuple[str, ...]]:
    """Pair the segmentations of a folder with the volumes and prompts beside them."""
    found: list[_Source] = []
    left_out: list[str] = []
    segmentations = sorted(folder.glob("*.seg.nrrd"))
    if not segmentations and (subjects := other_layouts.subjects_in(folder)):
        return [_of_structures(f"subject {n}", *each) for n, each in enumerate(subjects, start=1)], ()
    if not segmentations:
        why = other_layouts.how_to_use(folder) or "Give a scene, or a segmentation with --volume."
        raise VolumeError(f"{folder}: holds no .seg.nrrd. {why}")
    for path in segmentations:
        name = path.name[: -len(".seg.nrrd")]
        volumes = [folder / f"{name}{s}" for s in datasets.SUFFIXES if (folder / f"{name}{s}").is_file()]
        prompts = folder / f"{name}.json"
        if len(volumes) == 1:
            found.append(_Source(path.name, volumes[0], [(path, _prompts(prompts if prompts.is_file() else None))]))
        else:
            left_out.append(f"{path.name}: has {len(volumes)} volumes called {name} beside it instead of one.")
    return found, tuple(left_out)


def _of_structures(title: str, volume: Path, masks: Sequence[Path]) -> _Source:
    names = {mask: other_layouts.structure_of(mask) for mask in masks}
    return _Source(title, volume, [(mask, {}) for mask in masks], structures=names)


def _prompts(file: Path | None) -> dict[str, ObjectPrompts]:
    return {} if file is None else {each.name: each for each in prompt_files.read(file)}


def _collect(source: _Source, dataset: Path, wanted: Wanted, force: bool, written: Collection[str]) -> str:
    """Write the case of a volume, and say what became of it.

    Args:
        source: the volume and its segmentations.
        dataset: folder of cases.
        wanted: which segments.
        force: whether a case that was there before is replaced.
        written: cases of this call; further segments of their images are added to them.

    Returns:
        The case's name; "" where nothing was taken.
    """
    placed: dict[str, Segment] = {}
    prompts: dict[str, ObjectPrompts] = {}
    resampled = False
    try:
        image = Volume.read(source.volume, source.series)
        for number, (file, clicked) in enumerate(source.segmentations):
            grid, segments = read_segments(file)
            if structure := source.structures.get(file):
                if len(segments) > 1:
                    raise VolumeError(f"the mask of {structure} has {len(segments)} values. Give a file for each.")
                segments = {key: replace(segment, name=structure) for key, segment in segments.items()}
            for key, segment in segments.items():
                mask, anew = (None, False) if segment.mask is None else on_grid(segment.mask, grid, image.grid)
                resampled |= anew
                placed[f"{number}/{key}"] = replace(segment, mask=mask)
                if (known := clicked.get(key) or clicked.get(segment.name)) is not None:
                    prompts[f"{number}/{key}"] = known
        if collection.case_name(image) in written:
            report = kept_cases.join(image, placed, prompts, dataset, wanted)
        else:
            report = collection.collect(image, placed, prompts, dataset, wanted, force)
    except SAMMed3DError as error:
        print(f"{source.title}: {error}")
        return ""
    _print(source.title, report, len(prompts), resampled)
    return report.case


def _print(title: str, report: Collected, clicked: int, resampled: bool) -> None:
    if report.case:
        print(f"{title} -> {report.case}: {', '.join(report.taken)}; prompts of {clicked}")
    else:
        print(f"{title}: nothing taken")
    if resampled and report.case:
        print("  · masks were resampled to the volume's grid (nearest voxel).")
    for sentence in report.left_out:
        print(f"  · {sentence}")
