"""Segments added to the cases of a dataset: one by one as users keep them, or by further files of an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sammed3d.core import prompt_files
from sammed3d.core.geometry import Grid
from sammed3d.core.prompts import ObjectPrompts
from sammed3d.errors import SAMMed3DError, VolumeError
from sammed3d.files.collection import Collected, Wanted, case_name, collect
from sammed3d.files.datasets import UTF8
from sammed3d.files.segment_reader import read_segments
from sammed3d.files.segmentation import Segment
from sammed3d.files.volume import Volume

EARLIER = "earlier "
"""Begins the keys of what a case held before."""


def keep(
    volume: Volume, segments: Mapping[str, Segment], prompts: Mapping[str, ObjectPrompts], dataset: Path
) -> Collected:
    """Add segments to the case of an image, which is made where it is not there.

    Args:
        volume: the image.
        segments: masks on the volume's grid, by segment ID; named as their structures.
        prompts: those of segments, by segment ID.
        dataset: folder of cases, as `collect` writes them.

    Returns:
        What was added. A structure that the case held under the same name is replaced, the others stay.

    Raises:
        VolumeError: the case cannot be written, or what it holds cannot be read.
    """
    if not dataset.is_dir():
        raise VolumeError(f"{dataset}: there is no such folder. Choose another one.")
    folder = dataset / case_name(volume)
    known, clicked = _held(folder, volume.grid) if folder.is_dir() else ({}, {})
    new = {each.name for each in segments.values() if each.mask is not None and each.mask.voxels.any()}
    if not new:
        return Collected("", left_out=tuple(f"{each.name}: is empty." for each in segments.values()))
    return _add(volume, segments, prompts, dataset, Wanted(), {n: s for n, s in known.items() if n not in new}, clicked)


def join(
    volume: Volume,
    segments: Mapping[str, Segment],
    prompts: Mapping[str, ObjectPrompts],
    dataset: Path,
    wanted: Wanted | None = None,
) -> Collected:
    """Add segments to the case of an image, which is there.

    Args:
        volume: the image.
        segments: masks on the volume's grid, by segment ID.
        prompts: those of segments, by segment ID.
        dataset: folder of cases, as `collect` writes them.
        wanted: which segments; None for all.

    Returns:
        What was added. What the case holds stays: another segment of the same structure is left out, and told.

    Raises:
        VolumeError: the case cannot be written, or what it holds cannot be read.
    """
    known, clicked = _held(dataset / case_name(volume), volume.grid)
    return _add(volume, segments, prompts, dataset, wanted, known, clicked)


def _add(
    volume: Volume,
    segments: Mapping[str, Segment],
    prompts: Mapping[str, ObjectPrompts],
    dataset: Path,
    wanted: Wanted | None,
    known: Mapping[str, Segment],
    clicked: Mapping[str, ObjectPrompts],
) -> Collected:
    """Write a case with what it held, `known` and `clicked` by structure, and further segments."""
    earlier = {EARLIER + name: each for name, each in known.items()}
    all_prompts = {EARLIER + name: each for name, each in clicked.items()} | dict(prompts)
    return collect(volume, segments, all_prompts, dataset, wanted, force=True, earlier=earlier)


def _held(folder: Path, grid: Grid) -> tuple[dict[str, Segment], dict[str, ObjectPrompts]]:
    """Return what a case holds: segments and prompts, by structure.

    Raises:
        VolumeError: it is damaged, so that writing it anew would lose something.
    """
    segments: dict[str, Segment] = {}
    try:
        for label in sorted(folder.glob("label*.nii.gz")):
            end = label.name.removeprefix("label").removesuffix(".nii.gz")
            entries = json.loads((folder / f"labels{end}.json").read_text(encoding=UTF8))
            found, masks = read_segments(label)
            if not found.matches(grid, tolerance=1e-3):
                raise VolumeError(f"{label}: lies elsewhere than the image.")
            for value, segment in masks.items():
                entry = entries[value]
                segments[entry["name"]] = replace(segment, name=entry["name"], terminology=entry["terminology"])
        file = folder / "prompts.json"
        prompts = {each.name: each for each in prompt_files.read(file)} if file.is_file() else {}
    except (SAMMed3DError, OSError, ValueError, KeyError, TypeError) as error:
        raise VolumeError(
            f"{folder}: the case that is there is damaged. Move it away, and keep the segments again."
        ) from error
    return segments, prompts
