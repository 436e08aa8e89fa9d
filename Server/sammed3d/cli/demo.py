"""`sammed3d demo`: three organs of the bundled CT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import sammed3d
from sammed3d import samples
from sammed3d.cli.choice import ModelOption
from sammed3d.cli.terminal import DebugOption, DeviceOption, ForceOption, explained, print_table
from sammed3d.files.outputs import check_output


def demo(
    model: ModelOption = "default",
    device: DeviceOption = "auto",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("demo-output"),
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Segment three organs of the bundled CT with a few simulated clicks each, and score them."""
    from sammed3d import demo as demonstration  # noqa: PLC0415 - needs Pillow, which nothing else does

    with explained(debug):
        for name in demonstration.FILES:
            check_output(output / name, (), force)
        predictor = sammed3d.load_predictor(model, device)
        table = Table("Structure", "Dice after each click", "Volume (ml)", "Seconds")
        for result in demonstration.run(predictor, output):
            scores = "  ".join(f"{score:.2f}" for score in result.dice)
            table.add_row(result.name, scores, f"{result.volume_ml:.0f}", f"{result.seconds:.1f}")
        print_table(table)
        print(f"Wrote {output / 'demo.seg.nrrd'} (open it in 3D Slicer with the CT), demo.png and demo.html beside it.")
        print(f"The CT: {samples.CT_ABDOMEN}")
        print("Your own image: sammed3d info IMAGE; sammed3d segment IMAGE --click R,A,S --output mask.seg.nrrd")
