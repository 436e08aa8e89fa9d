"""`sammed3d info`: what a volume is, or what a machine brings."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from sammed3d.cli.machine import show_machine
from sammed3d.cli.terminal import (
    DebugOption,
    DeviceOption,
    JsonOption,
    OptionalVolumeArgument,
    SeriesOption,
    explained,
    print_table,
)
from sammed3d.core.geometry import canonical_axes
from sammed3d.files.volume import Volume


def info(
    volume: OptionalVolumeArgument = None,
    series: SeriesOption = None,
    machine: Annotated[
        bool, typer.Option("--machine", help="This machine instead: what networks find, and how long clicks take.")
    ] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show a volume's geometry and intensities, or what this machine brings for networks."""
    with explained(debug):
        if machine == (volume is not None):
            raise typer.BadParameter("Name a volume, or give --machine.")
        if volume is None:
            show_machine(device, as_json)
            return
        report = _describe(Volume.read(volume, series))
        if as_json:
            print(json.dumps(report))
            return
        table = Table(show_header=False, box=None)
        for title, words in _in_words(report).items():
            table.add_row(title, words)
        print_table(table)


def _describe(volume: Volume) -> dict[str, Any]:
    grid = volume.grid
    axes = canonical_axes(grid.index_to_world)
    letters = {axes.source[a]: ("LPI" if axes.flipped[a] else "RAS")[a] for a in range(3)}
    corners = grid.corners()
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(s, 4) for s in grid.spacing],
        "extent_mm": [round(n * s, 1) for n, s in zip(grid.shape, grid.spacing, strict=True)],
        "axes": "".join(letters[a] for a in range(3)),
        "world_from": corners.min(axis=0).round(2).tolist(),
        "world_to": corners.max(axis=0).round(2).tolist(),
        "voxel_type": str(volume.array.dtype),
        "intensities": [float(volume.array.min()), float(volume.array.max())],
        "memory_mib": round(volume.array.nbytes / 2**20, 1),
    }


def _in_words(report: dict[str, Any]) -> dict[str, str]:
    """Return what people read of `_describe`: sizes, places and ranges each as such, with their units."""
    sizes = {key: " x ".join(f"{n:g}" for n in report[key]) for key in ("shape", "spacing_mm", "extent_mm")}
    begin, end = (
        ", ".join(f"{letter} {n:g}" for letter, n in zip("RAS", report[key], strict=True))
        for key in ("world_from", "world_to")
    )
    low, high = report["intensities"]
    return {
        "shape": f"{sizes['shape']} voxels",
        "spacing": f"{sizes['spacing_mm']} mm",
        "extent": f"{sizes['extent_mm']} mm",
        "axes": report["axes"],
        "world": f"from {begin} to {end} mm",
        "voxel type": report["voxel_type"],
        "intensities": f"{low:.10g} to {high:.10g}",
        "memory": f"{report['memory_mib']:g} MiB",
    }
