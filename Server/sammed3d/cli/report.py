"""What `segment` tells when it is done: how large each segment is, what the model was told, and the seconds."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from rich.table import Table

from sammed3d.cli.terminal import print_table, screen
from sammed3d.inference.follow_limits import Followed
from sammed3d.inference.predictor import Predictor
from sammed3d.inference.session import Session


def report_of(
    session: Session,
    predictor: Predictor,
    seconds: dict[str, float],
    spent: dict[str, float],
    followed: dict[str, Followed],
) -> dict[str, Any]:
    """Return what is told of a session: its model, its segments, and the seconds by stage and by segment."""
    voxel_ml = session.volume.grid.voxel_volume / 1000
    segments = []
    for o in session.objects:
        voxels = 0 if o.mask is None else int(np.count_nonzero(o.mask.voxels))
        segments.append(
            {
                "name": o.name,
                "clicks": len(o.clicks),
                "drawings": len(o.drawings),
                "told": [
                    {"prompt": t.prompt, "clicks": len(t.clicks), "missed": round(t.missed, 4)}
                    for t in session.translations(o.name)
                ],
                "patches": sum(click.follow for click in o.clicks),
                "goes_on": o.name in followed and followed[o.name].goes_on,
                "voxels": voxels,
                "volume_ml": round(voxels * voxel_ml, 3),
                "seconds": round(spent[o.name], 4),
            }
        )
    return {
        "model": predictor.name,
        "device": str(getattr(predictor, "device", "server")),
        "precision": getattr(predictor, "precision", "the server's"),
        "notes": list(getattr(predictor, "notes", ())),
        "segments": segments,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
    }


def print_report(report: dict[str, Any], as_json: bool) -> None:
    """Print what `report_of` returned, as a table or as JSON."""
    if as_json:
        print(json.dumps(report))
        return
    table = Table("Segment", "Clicks", "Voxels", "Volume (ml)", "Seconds")
    for s in report["segments"]:
        table.add_row(s["name"], str(s["clicks"]), str(s["voxels"]), f"{s['volume_ml']:.2f}", f"{s['seconds']:.1f}")
    print_table(table)
    for note in report["notes"]:
        screen.print(f"{report['model']}: {note}", style="dim", highlight=False)
    timing = ", ".join(f"{stage} {value:.2f} s" for stage, value in report["seconds"].items())
    screen.print(f"{report['model']} on {report['device']} ({report['precision']}): {timing}", style="dim")
