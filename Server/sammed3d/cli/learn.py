"""`sammed3d learn`: a model that has learnt from one's own corrected cases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sammed3d.cli.terminal import (
    DebugOption,
    DeviceOption,
    FamilyOption,
    explained,
    print_table,
    screen,
    stopped_run_goes_on,
)
from sammed3d.errors import ModelError
from sammed3d.files import datasets
from sammed3d.files.alone import alone_in
from sammed3d.zoo.store import ModelStore, check_name

if TYPE_CHECKING:
    from sammed3d.training.learning.run import Learned

INSTALLED = "installed.txt"
"""File of a run: SHA-256 of the model that it installed."""
MISSING = 'Learning needs more packages: pip install "sammed3d[train,evaluate]"'


def learn(
    dataset: Annotated[Path, typer.Argument(help="Cases with labels, as `sammed3d collect` writes them.")],
    name: Annotated[str, typer.Option(help="Of the new model: lower-case letters, digits, underscores.")],
    model: Annotated[str, typer.Option(help="Installed model, or checkpoint, to begin with.")] = "default",
    family: FamilyOption = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="To train; measuring comes on top.")] = 20.0,
    run: Annotated[Path | None, typer.Option(help="Folder of the run; learned/NAME if not given.")] = None,
    device: DeviceOption = "auto",
    seed: Annotated[int, typer.Option(help="Of the split of the cases, and of clicks.")] = 2023,
    licence: Annotated[str | None, typer.Option(help="Of the result; that of its base and of the cases.")] = None,
    significance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Largest probability of chance with which a gain counts; 1 counts any. 0.2 if not given, or that all "
            "gain where fewer than three patients measure.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Install it even where it is not better, or forgets.")] = False,
    debug: DebugOption = False,
) -> None:
    """Teach a model from corrected cases, measure it before and after, and install it if it is better.

    Stop it at any time: the same command goes on from there, and more minutes go on from where fewer ended.
    """
    folder = run or Path("learned") / name
    with explained(debug), stopped_run_goes_on(folder):
        try:
            from sammed3d.training.learning.run import LearningRun  # noqa: PLC0415 - the extras
        except ImportError as error:
            raise ModelError(MISSING) from error
        check_name(name)
        store = ModelStore()
        _check_name(name, store, folder)

        def say(line: str) -> None:
            screen.print(line, highlight=False)

        with alone_in(folder):
            cases = datasets.find_cases(dataset)
            learned = LearningRun(cases, model, folder, minutes * 60, device, seed, say, family, significance).learn()
            _print(learned)
            if not learned.is_better and not force:
                raise ModelError(_refusal(learned, folder))
            _check_name(name, store, folder)  # learning takes long
            if any(each.name == name for each in store.models()):
                store.remove(name)  # this run's, from before
            stored = store.add(folder, name, purpose="Learnt from corrected cases.", licence=licence)
            (folder / INSTALLED).write_text(stored.sha256, encoding="utf-8")
        print(f"{stored.name}: {stored.path}")


def _check_name(name: str, store: ModelStore, folder: Path) -> None:
    """Refuse a name that another model has than the one that this run installed before, which is replaced."""
    if name == "default":
        raise ModelError("There is a model named 'default' already, which stays. Choose another name.")
    file = folder / INSTALLED
    ours = file.read_text(encoding="utf-8") if file.is_file() else None
    if any(each.name == name and each.sha256 != ours for each in store.models()):
        raise ModelError(
            f"There is a model named {name!r} already, and {folder} is not the run that made it. Remove it first "
            f"(sammed3d models remove {name}), or choose another name."
        )


def _print(learned: Learned) -> None:
    from sammed3d.training.learning.comparison import in_words  # noqa: PLC0415 - the extras
    from sammed3d.training.learning.run import AT, ENOUGH, clicks_needed  # noqa: PLC0415 - the extras

    table = Table("", *(f"Dice at {n}" for n in AT), f"Clicks to {ENOUGH}", "Sample CT")
    for title, scores, sample in (
        ("before", learned.before, learned.rehearsed[0]),
        ("after", learned.after, learned.rehearsed[1]),
    ):
        curve = scores.curve(scores.methods[0])
        table.add_row(title, *(f"{curve[n - 1]:.3f}" for n in AT), f"{clicks_needed(scores):.1f}", f"{sample:.3f}")
    print_table(table)
    sides = learned.split
    print(
        f"Label maps: {len(sides.learn)} to learn from, {len(sides.stop)} to watch, {len(sides.test)} to measure with."
    )
    for line in (sides.remark, in_words(learned.gains)):
        if line:
            print(line)


def _refusal(learned: Learned, folder: Path) -> str:
    why = "; and ".join(learned.faults)
    return f"Not installed: {why}. Give it more cases or minutes; --force installs it from {folder} all the same."
