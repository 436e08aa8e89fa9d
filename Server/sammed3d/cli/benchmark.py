"""`sammed3d benchmark`: published tables on one's own copy of the data."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sammed3d.cli.evaluate import until_stopped
from sammed3d.cli.signals import Stop, interrupted_by_signals
from sammed3d.cli.terminal import (
    BaseOption,
    DebugOption,
    DeviceOption,
    FamilyOption,
    ForceOption,
    JsonOption,
    explained,
    nothing_measured,
    print_table,
    screen,
)
from sammed3d.errors import ModelError, VolumeError
from sammed3d.files import datasets
from sammed3d.files.image_lists import TEST, list_in, names_of, read_list
from sammed3d.files.outputs import check_output, write_text

if TYPE_CHECKING:
    from sammed3d.evaluation.benchmarks import Benchmark, Row
    from sammed3d.evaluation.results import Evaluation, Score

MISSING = 'This needs more packages: pip install "sammed3d[evaluate]"'
FILES = ("benchmark.md", "benchmark.json")
Measured = list[tuple[str, Mapping[str, float]]]


def benchmark(
    name: Annotated[str, typer.Argument(help="sam_med3d, fastsam3d, bosam or sam_med2d.")],
    data: Annotated[list[Path], typer.Argument(help="Datasets; for sam_med2d its lists. See docs/evaluation.md.")],
    model: Annotated[str | None, typer.Option(help="Model to measure; that of the table if not given.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the table.")] = Path("benchmark"),
    seed: Annotated[int, typer.Option(help="Of random clicks.")] = 2023,
    device: DeviceOption = "auto",
    family: FamilyOption = None,
    base: BaseOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure a model as a publication does, and put the published numbers beside ours."""
    with explained(debug):
        try:
            import surface_distance  # noqa: F401, PLC0415 - the extra [evaluate]

            from sammed3d.evaluation import benchmarks  # noqa: PLC0415
        except ImportError as error:
            raise ModelError(MISSING) from error
        if name not in benchmarks.BENCHMARKS:
            raise ModelError(f"There is no benchmark {name!r}. Choose one of {', '.join(benchmarks.BENCHMARKS)}.")
        chosen = benchmarks.BENCHMARKS[name]
        for file in FILES:
            check_output(output / file, data, force)
        measure = _on_lists if chosen.lists else _on_volumes
        stop = Stop()
        measured, left_out, shown, stopped = measure(
            _Asked(chosen, data, model or chosen.model, seed, device, family, base), stop
        )
        if not measured:
            if stopped:
                raise nothing_measured(stop)
            raise ModelError("Nothing could be measured: " + (left_out[0] if left_out else "no structure."))
        rows = benchmarks.rows_of(chosen, measured)
        table = benchmarks.as_json(chosen, shown, rows, left_out)
        write_text(output / FILES[0], benchmarks.markdown(chosen, shown, rows, left_out))
        write_text(output / FILES[1], json.dumps(table, indent=1))
        if as_json:
            print(json.dumps(table))
        else:
            _print(chosen, rows, left_out, output)
    if left_out:
        raise typer.Exit(stop.exit_code if stopped else 1)


@dataclass(frozen=True)
class _Asked:
    """What is to be measured: the benchmark, its datasets, and the model with all that loads it."""

    chosen: Benchmark
    data: list[Path]
    model: str
    seed: int
    device: str
    family: str | None
    base: str | None


def _on_volumes(asked: _Asked, stop: Stop) -> tuple[Measured, list[str], str, bool]:
    """Return structures and their Dice by column, what was not measured, the model's name, whether it was stopped."""
    from sammed3d.evaluation.benchmarks import best_of  # noqa: PLC0415 - the extra [evaluate]
    from sammed3d.evaluation.protocols import PROTOCOLS  # noqa: PLC0415
    from sammed3d.evaluation.results import Evaluation  # noqa: PLC0415
    from sammed3d.evaluation.run import evaluate  # noqa: PLC0415
    from sammed3d.zoo import load_predictor  # noqa: PLC0415 - needs torch

    protocol = PROTOCOLS["classic"]
    cases = datasets.cases_of(asked.data)
    predictor = load_predictor(
        asked.model, asked.device, family=asked.family, base=asked.base, all_clicks=protocol.all_clicks
    )

    def show(score: Score) -> None:
        if score.click == asked.chosen.points:
            screen.print(f"{score.case}, {score.structure}: Dice {score.dice:.2f}", highlight=False)

    def run(on_score: Callable[[Score], None]) -> Evaluation:
        return evaluate(predictor, cases, protocol, clicks=asked.chosen.points, seed=asked.seed, on_score=on_score)

    stopped = Evaluation(predictor.name, protocol, asked.seed, failures=["the rest: it was stopped."])
    done = until_stopped(run, show, stopped, asked.chosen.points, stop)
    measured: Measured = [
        (structure, best_of(done.of(predictor.name, case, structure), asked.chosen.columns))
        for case, structure in done.structures
    ]
    left_out = [f"{what}: {why}" for why, names in done.left_out.items() for what in names]
    return measured, [*done.failures, *left_out], predictor.name, done is stopped


def _on_lists(asked: _Asked, stop: Stop) -> tuple[Measured, list[str], str, bool]:
    """The same for lists of 2-D images."""
    from sammed3d.evaluation.apart import Workers  # noqa: PLC0415 - needs torch
    from sammed3d.evaluation.images import (  # noqa: PLC0415 - needs torch
        ImageEvaluation,
        evaluate_images,
        evaluate_images_apart,
    )
    from sammed3d.predictors.device import choose_device  # noqa: PLC0415 - needs torch
    from sammed3d.zoo.load import load_model  # noqa: PLC0415 - needs torch

    lists = [(folder, list_in(folder, TEST)) for folder in asked.data]
    if without := [folder for folder, found in lists if found is None]:
        raise VolumeError(f"{without[0]}: holds no {TEST}; `sammed3d data lists` makes one.")
    listed = [each for _, found in lists if found is not None for each in read_list(found)]
    loaded = load_model(asked.model, asked.family, asked.base)
    loaded = replace(loaded, preset=replace(loaded.preset, fit="pad")) if loaded.preset.by_slice else loaded
    measure = functools.partial(
        evaluate_images,
        points=asked.chosen.points,
        seed=asked.seed,
        device=choose_device(asked.device),
        names=names_of(listed),
    )
    with interrupted_by_signals(stop):
        empty = ImageEvaluation(loaded.name, asked.seed)
        done = evaluate_images_apart(listed, measure, lambda: loaded, Workers(), empty)
    by_mask: dict[str, dict[str, float]] = {}
    for score in done.scores:
        by_mask.setdefault(score.mask, {})[score.prompt.split(maxsplit=1)[0]] = score.dice
    structures = {score.mask: score.structure for score in done.scores}
    found: Measured = [(structures[mask], values) for mask, values in by_mask.items()]
    return found, done.failures, loaded.name, done.stopped


def _print(chosen: Benchmark, rows: list[Row], left_out: list[str], output: Path) -> None:
    table = Table("Dice, %", "Measured", *(title for column in chosen.columns for title in (column, "published")))
    for row in rows:
        pairs = [(row.ours.get(column), row.published.get(column)) for column in chosen.columns]
        cells = ["" if value is None else f"{value:.2f}" for pair in pairs for value in pair]
        table.add_row(row.name, str(row.count or ""), *cells)
    print_table(table)
    for reason in left_out:
        screen.print(f"Not measured: {reason}", style="red", highlight=False)
    print(f"Published: {chosen.source} Wrote {' and '.join(FILES)} into {output}.")
