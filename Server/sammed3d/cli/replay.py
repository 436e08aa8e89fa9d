"""`sammed3d replay`: saved prompts with another model."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sammed3d.cli.terminal import (
    BaseOption,
    DebugOption,
    DeviceOption,
    FamilyOption,
    ForceOption,
    RayOption,
    WorkersOption,
    explained,
    print_table,
    screen,
    stopped_run_goes_on,
)
from sammed3d.errors import ModelError
from sammed3d.files import datasets
from sammed3d.files.alone import alone_in
from sammed3d.files.outputs import check_output

if TYPE_CHECKING:
    from sammed3d.evaluation.replay import Difference, ReplayCase

MISSING = 'This needs more packages: pip install "sammed3d[evaluate]"'
TABLE = "replay.csv"


def replay(
    dataset: Annotated[Path, typer.Argument(help="Cases with prompts.json, as `sammed3d collect` writes them.")],
    model: Annotated[str, typer.Option(help="An installed model, or a checkpoint file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for masks and differences.")] = Path("replay"),
    workers: WorkersOption = 1,
    ray: RayOption = "",
    device: DeviceOption = "auto",
    family: FamilyOption = None,
    base: BaseOption = None,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Apply saved prompts with another model, and report how its masks differ from those that were accepted.

    Stop it at any time: the same command goes on with the cases that are not done. Cases that have changed since, and
    all cases where the model's file has, are done again; with --force all are.
    """
    with explained(debug), stopped_run_goes_on(output):
        try:
            from sammed3d.evaluation import replay as replaying  # noqa: PLC0415 - the extra [evaluate]
            from sammed3d.evaluation.apart import Workers  # noqa: PLC0415
        except ImportError as error:
            raise ModelError(MISSING) from error
        from sammed3d.zoo.load import load_predictor, locate  # noqa: PLC0415 - needs torch

        goes_on = (output / "cases").is_dir()
        check_output(output / TABLE, (dataset,), force or goes_on)
        cases, without = replaying.cases_to_replay(datasets.find_cases(dataset))
        load = functools.partial(load_predictor, model, device, family=family, base=base)
        places = Workers(workers, ray, device != "cpu")
        files = [locate(each).path for each in (model, base) if each is not None]
        count = 0

        def show(case: ReplayCase, found: Sequence[Difference]) -> None:
            nonlocal count
            count += 1
            scores = [each.dice for each in found if not math.isnan(each.dice)]
            words = f"Dice {sum(scores) / len(scores):.2f}" if scores else "nothing to compare with"
            screen.print(f"{count} {case.name}: {words}", highlight=False)

        mark = f"{model} {family or ''} {base or ''}".strip()
        with alone_in(output):
            found = replaying.replay(cases, load, output, mark, places, show, files, force)
            replaying.write_table(found, output / TABLE)
        table = Table("Structure", "Mean Dice with what was accepted")
        for structure, mean in replaying.means(found).items():
            table.add_row(structure, f"{mean:.3f}")
        print_table(table)
        problems = [each for each in found if each.problem]
        for each in problems:
            print(f"{each.case}, {each.structure or 'the case'}: {each.problem}")
        if without:
            print(f"Left out, without prompts: {without} images.")
        print(f"{len(found) - len(problems)} masks of {len(cases)} images. Wrote {TABLE} and the masks into {output}.")
    if problems:
        raise typer.Exit(1)
