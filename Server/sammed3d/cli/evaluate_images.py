"""`sammed3d evaluate` on lists of 2-D images."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from sammed3d.cli.signals import Stop, interrupted_by_signals
from sammed3d.cli.terminal import nothing_measured, print_table, screen
from sammed3d.errors import ModelError
from sammed3d.files.alone import alone_in
from sammed3d.files.image_lists import names_of, read_list
from sammed3d.files.outputs import check_output

if TYPE_CHECKING:
    from sammed3d.evaluation.images import ImageEvaluation, ImageScore

FILES = ("scores.csv", "summary.json", "prompts.json")
POINTS = 5
SHOWN = ("box", "1 point", "3 points", "5 points")
"""Prompts that SAM-Med2D's tables have; the last one is always shown too."""


def evaluate_lists(
    model: str,
    family: str | None,
    lists: list[Path],
    output: Path,
    points: int | None,
    seed: int,
    device: str,
    workers: int,
    ray: str,
    prompts: Path | None,
    masks: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Measure a 2-D model, write the scores and print a table; returns the exit code: 0 if all could be measured.

    Raises:
        ModelError: nothing could be measured; or a reason of `evaluate_images`.
    """
    from sammed3d.evaluation import images  # noqa: PLC0415 - needs torch
    from sammed3d.evaluation.apart import Workers  # noqa: PLC0415 - needs torch
    from sammed3d.predictors.device import choose_device  # noqa: PLC0415 - needs torch
    from sammed3d.zoo.load import load_model  # noqa: PLC0415 - needs torch

    for file in FILES:
        check_output(output / file, [*lists, prompts], force)
    listed = [each for file in lists for each in read_list(file)]
    last = f"{points or POINTS} points"

    def show(score: ImageScore) -> None:
        if score.prompt == last:
            screen.print(f"{score.mask}: Dice {score.dice:.2f} after {last}", highlight=False)

    measure = functools.partial(
        images.evaluate_images,
        points=points or POINTS,
        seed=seed,
        prompts=None if prompts is None else images.read_prompts(prompts),
        device=choose_device(device),
        masks_to=(output / "masks").resolve() if masks else None,
        names=names_of(listed),
    )
    load = functools.partial(load_model, model, family)
    empty = images.ImageEvaluation(model, seed)
    stop = Stop()
    with alone_in(output):
        with interrupted_by_signals(stop):
            done = images.evaluate_images_apart(
                listed, measure, load, Workers(workers, ray, device != "cpu"), empty, show
            )
        if not done.scores:
            if done.stopped:
                raise nothing_measured(stop)
            raise ModelError(f"Nothing could be measured: {done.failures[0]}")
        done.write(output)
    if as_json:
        print(json.dumps(done.summary()))
    else:
        _print(done, output)
    return stop.exit_code if done.stopped else int(bool(done.failures))


def _print(done: ImageEvaluation, output: Path) -> None:
    summary = done.summary()
    prompts = [name for n, name in enumerate(summary["all"], 1) if name in SHOWN or n == len(summary["all"])]
    table = Table("Dice (IoU)", *prompts)
    for structure, means in (*summary["structures"].items(), ("all masks", summary["all"])):
        table.add_row(structure, *(f"{means[p]['dice']:.4f} ({means[p]['iou']:.4f})" for p in prompts))
    print_table(table)
    for failure in done.failures:
        screen.print(f"Not measured: {failure}", style="red", highlight=False)
    print(f"{summary['masks']} masks. Wrote {', '.join(FILES)} into {output}.")
