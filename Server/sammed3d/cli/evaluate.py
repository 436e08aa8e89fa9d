"""`sammed3d evaluate`: how well a model does on labelled volumes."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sammed3d.cli.evaluate_images import evaluate_lists
from sammed3d.cli.signals import Stop, interrupted_by_signals
from sammed3d.cli.terminal import (
    BaseOption,
    DebugOption,
    DeviceOption,
    FamilyOption,
    ForceOption,
    JsonOption,
    RayOption,
    WorkersOption,
    explained,
    nothing_measured,
    print_table,
    screen,
)
from sammed3d.errors import ModelError
from sammed3d.files import datasets
from sammed3d.files.alone import alone_in
from sammed3d.files.image_lists import TEST, list_in
from sammed3d.files.outputs import check_output

if TYPE_CHECKING:
    from sammed3d.evaluation.protocols import Protocol
    from sammed3d.evaluation.results import Evaluation, Score

MISSING = 'This needs more packages: pip install "sammed3d[evaluate]"'


def evaluate(
    model: Annotated[str, typer.Argument(help="Name of an installed model, or a checkpoint file.")],
    data: Annotated[
        list[Path],
        typer.Argument(help="Datasets; see `sammed3d data check`. Or lists of 2-D images, see `data lists`."),
    ],
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
    prompts: Annotated[
        Path | None, typer.Option(help="2-D lists: boxes and first points to take, as an evaluation writes them.")
    ] = None,
    masks: Annotated[bool, typer.Option("--masks", help="2-D lists: write the masks too.")] = False,
    workers: WorkersOption = 1,
    ray: RayOption = "",
    device: DeviceOption = "auto",
    family: FamilyOption = None,
    base: BaseOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure a model with simulated clicks: Dice, IoU, surface Dice and volume error after each, and a report.

    Ctrl-C stops, and writes the scores of what is measured.
    """
    lists = [found for found in (list_in(folder, TEST) for folder in data) if found is not None]
    if lists:
        with explained(debug):
            if len(lists) < len(data) or baseline or base or (protocol, smallest, every) != ("honest", 1.0, 1):
                raise ModelError(
                    f"{lists[0]} lists 2-D images, which are measured by themselves, with a box and with points; "
                    "--protocol, --baseline, --smallest, --every and --base are for volumes."
                )
            code = evaluate_lists(
                model, family, lists, output, clicks, seed, device, workers, ray, prompts, masks, force, as_json
            )
        if code:
            raise typer.Exit(code)
        return
    with explained(debug):
        if prompts is not None or masks:
            raise ModelError("--prompts and --masks are for lists of 2-D images.")
        names = list(dict.fromkeys(baseline or ()))
        asked = _Asked(data, model, protocol, clicks, names, smallest, every, seed, workers, ray, device, family, base)
        done, code = _on_volumes(asked, output, force, as_json)
        if not as_json:
            _print_rest(done, output)
    if code:
        raise typer.Exit(code)


@dataclass(frozen=True)
class _Asked:
    """What is to be measured: datasets, a model with all that loads it, and by which protocol; see the options."""

    data: list[Path]
    model: str
    protocol: str
    clicks: int | None
    baselines: list[str]
    smallest: float
    every: int
    seed: int
    workers: int
    ray: str
    device: str
    family: str | None
    base: str | None


def _on_volumes(asked: _Asked, output: Path, force: bool, as_json: bool) -> tuple[Evaluation, int]:
    """Measure, print the scores, and write them and a report.

    Returns:
        What was found, and the exit code: 0 if all could be measured.

    Raises:
        ModelError: the extra is missing, a name is not known, or nothing could be measured.
        typer.Exit: it was stopped before anything was.
    """
    try:
        import surface_distance  # noqa: F401, PLC0415 - the extra [evaluate]

        from sammed3d.evaluation import report, results  # noqa: PLC0415
        from sammed3d.evaluation.baselines import BASELINES  # noqa: PLC0415
        from sammed3d.evaluation.protocols import PROTOCOLS  # noqa: PLC0415
    except ImportError as error:
        raise ModelError(MISSING) from error
    _check("protocol", [asked.protocol], PROTOCOLS)
    _check("baseline", asked.baselines, BASELINES)
    for file in report.FILES:
        check_output(output / file, asked.data, force)
    protocol, stop = PROTOCOLS[asked.protocol], Stop()
    last = asked.clicks or protocol.clicks
    run = _measuring(asked, protocol)

    def show(score: Score) -> None:
        if score.click == last:
            screen.print(f"{score.case}, {score.structure}, {score.method}: Dice {score.dice:.2f}", highlight=False)

    stopped = results.Evaluation(asked.model, protocol, asked.seed, failures=["the rest: it was stopped."])
    with alone_in(output):
        done = until_stopped(run, show, stopped, last * (1 + len(asked.baselines)), stop)
        if not done.scores:
            if done is stopped:
                raise nothing_measured(stop)
            raise ModelError("Nothing could be measured: " + _reason(done))
        _print_scores(done, as_json)
        report.write(done, output)  # last: a full disk does not take what is printed
    if done is stopped:
        return done, stop.exit_code
    return done, int(bool(done.failures))


def _measuring(asked: _Asked, protocol: Protocol) -> Callable[[Callable[[Score], None]], Evaluation]:
    """Return what measures all cases, a function of what each score is shown to.

    Raises:
        VolumeError: the datasets are none.
    """
    from sammed3d.evaluation import results, run  # noqa: PLC0415 - the extra [evaluate]
    from sammed3d.evaluation.apart import Workers  # noqa: PLC0415
    from sammed3d.zoo import load_predictor  # noqa: PLC0415 - needs torch

    measure = functools.partial(
        run.evaluate,
        protocol=protocol,
        clicks=asked.clicks,
        baselines=asked.baselines,
        smallest_ml=asked.smallest,
        every=asked.every,
        seed=asked.seed,
    )
    load = functools.partial(
        load_predictor,
        asked.model,
        asked.device,
        family=asked.family,
        base=asked.base,
        all_clicks=protocol.all_clicks,
    )
    places = Workers(asked.workers, asked.ray, asked.device != "cpu")
    empty = results.Evaluation(asked.model, protocol, asked.seed)
    return functools.partial(run.evaluate_apart, datasets.cases_of(asked.data), measure, load, places, empty)


def until_stopped(
    run: Callable[[Callable[[Score], None]], Evaluation],
    show: Callable[[Score], None],
    stopped: Evaluation,
    each: int,
    stop: Stop,
) -> Evaluation:
    """Measure; where a signal stops that, return `stopped` with what was measured to the end: `each` scores of one."""
    scores: list[Score] = []

    def note(score: Score) -> None:
        scores.append(score)
        show(score)

    try:
        with interrupted_by_signals(stop):
            return run(note)
    except KeyboardInterrupt:
        stopped.take_whole(scores, each)
        return stopped


def _check(kind: str, names: Sequence[str], known: Iterable[str]) -> None:
    """Refuse names that are not known."""
    if unknown := [name for name in names if name not in known]:
        raise ModelError(f"There is no {kind} {unknown[0]!r}. Choose one of {', '.join(known)}.")


def _reason(done: Evaluation) -> str:
    if done.failures:
        return done.failures[0]
    return "; ".join(f"{why}: {len(names)}" for why, names in done.left_out.items()) or "no structure."


def _print_scores(done: Evaluation, as_json: bool) -> None:
    if as_json:
        print(json.dumps(done.summary()))
        return
    table = Table("Method", *(f"Dice at {n}" for n in done.at))
    for method, values in done.summary()["methods"].items():
        table.add_row(method, *(f"{values['dice'][str(n)]:.3f}" for n in done.at if str(n) in values["dice"]))
    print_table(table)


def _print_rest(done: Evaluation, output: Path) -> None:
    for failure in done.failures:
        screen.print(f"Not measured: {failure}", style="red", highlight=False)
    for why, names in done.left_out.items():
        print(f"Left out, {why}: {len(names)}.")
    print(f"{len(done.structures)} structures. Wrote scores.csv, summary.json and report.html into {output}.")
