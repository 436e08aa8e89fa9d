"""`sammed3d data` and `sammed3d evaluate`: datasets and how well a model does on them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sammed3d.cli.terminal import DebugOption, DeviceOption, FamilyOption, JsonOption, explained, screen
from sammed3d.errors import ModelError
from sammed3d.files import datasets
from sammed3d.files.datasets import CaseReport

data_app = typer.Typer(no_args_is_help=True, help="Datasets of labelled volumes.")
MISSING = 'This needs more packages: pip install "sammed3d[evaluate]"'


@data_app.command("check")
def check(
    folder: Annotated[Path, typer.Argument(help=f"A dataset: {datasets.LAYOUTS}.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Report cases, spacings, labels and volumes, and what is wrong, before anything is run on them."""
    with explained(debug):
        reports = []
        for case in datasets.find_cases(folder):
            reports.append(datasets.check(case))
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


def _print_case(report: CaseReport) -> None:
    size, spacing = " x ".join(map(str, report.shape)), " x ".join(f"{s:g}" for s in report.spacing)
    print(f"{report.name}: {size} voxels of {spacing} mm, {len(report.volumes_ml)} structures")
    for problem in report.problems:
        print(f"  ✗ {problem}")
    for remark in report.remarks:
        print(f"  · {remark}")


def _print_structures(reports: list[CaseReport]) -> None:
    names = sorted({name for report in reports for name in report.volumes_ml})
    table = Table("Structure", "Cases", "Median ml", "Smallest ml", "Largest ml")
    for name in names:
        volumes = sorted(report.volumes_ml[name] for report in reports if name in report.volumes_ml)
        shown = [volumes[len(volumes) // 2], volumes[0], volumes[-1]]
        table.add_row(name, str(len(volumes)), *(f"{v:.2f}" for v in shown))
    Console().print(table)


def evaluate(
    model: Annotated[str, typer.Argument(help="Name of an installed model, or a checkpoint file.")],
    data: Annotated[list[Path], typer.Argument(help="Datasets; see `sammed3d data check`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for scores and report.")] = Path("evaluation"),
    protocol: Annotated[
        str, typer.Option(help="honest, classic, current or cvpr25; see docs/evaluation.md.")
    ] = "honest",
    clicks: Annotated[
        int | None, typer.Option(min=1, help="Clicks for each structure; the protocol's if not given.")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="'region growing' or 'random walker' with the same clicks; repeat for both."),
    ] = None,
    smallest: Annotated[float, typer.Option(help="Leave structures of less ml out.")] = 1.0,
    every: Annotated[int, typer.Option(min=1, help="Take every n-th structure of a case only.")] = 1,
    seed: Annotated[int, typer.Option(help="Of random clicks.")] = 2023,
    device: DeviceOption = "auto",
    family: FamilyOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure a model with simulated clicks: Dice, IoU, surface Dice and volume error after each, and a report."""
    with explained(debug):
        try:
            import surface_distance  # noqa: F401, PLC0415 - the extra [evaluate]

            from sammed3d.evaluation import run as running  # noqa: PLC0415
            from sammed3d.evaluation.baselines import BASELINES  # noqa: PLC0415
            from sammed3d.evaluation.protocols import PROTOCOLS  # noqa: PLC0415
        except ImportError as error:
            raise ModelError(MISSING) from error
        from sammed3d.zoo import load_predictor  # noqa: PLC0415 - needs torch

        if protocol not in PROTOCOLS:
            raise ModelError(f"There is no protocol {protocol!r}. Choose one of {', '.join(PROTOCOLS)}.")
        unknown = [name for name in baseline or [] if name not in BASELINES]
        if unknown:
            raise ModelError(f"There is no baseline {unknown[0]!r}. Choose one of {', '.join(BASELINES)}.")
        cases = [case for folder in data for case in datasets.find_cases(folder) if case.label is not None]
        chosen = PROTOCOLS[protocol]
        predictor = load_predictor(model, device, family=family, all_clicks=chosen.all_clicks)
        last = clicks or chosen.clicks

        def show(score: running.Score) -> None:
            if score.click == last:
                screen.print(f"{score.case}, {score.structure}, {score.method}: Dice {score.dice:.2f}", highlight=False)

        done = running.evaluate(
            predictor,
            cases,
            chosen,
            clicks=clicks,
            baselines=baseline or [],
            smallest_ml=smallest,
            every=every,
            seed=seed,
            on_score=show,
        )
        if not done.scores:
            raise ModelError("Nothing could be measured: " + (done.failures[0] if done.failures else "no structure."))
        done.write(output)
        if as_json:
            print(json.dumps(done.summary()))
            return
        table = Table("Method", *(f"Dice at {n}" for n in chosen.at))
        for method, values in done.summary()["methods"].items():
            table.add_row(method, *(f"{values['dice'][str(n)]:.3f}" for n in chosen.at if str(n) in values["dice"]))
        Console().print(table)
        print(f"{len(done.structures)} structures. Wrote scores.csv, summary.json and report.html into {output}.")
