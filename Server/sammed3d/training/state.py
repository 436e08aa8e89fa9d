"""The files in which a run says where it stands: its state, its log, its curves."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sammed3d.charts import line_chart
from sammed3d.errors import ModelError
from sammed3d.files.outputs import check_output, make_folder, write_rows, write_text, written_whole

STATE, LOG, CURVES = "last.ckpt", "log.csv", "curves.svg"
Say = Callable[[str], None]


def check_writable(folder: Path) -> None:
    """Refuse a folder that a run could not write into, before it begins.

    Raises:
        VolumeError: nothing can be written there.
    """
    check_output(folder / STATE, (), force=True)


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a run's state, so that a kill or a full disk in the middle leaves the previous one.

    Raises:
        VolumeError: it cannot be written.
    """
    make_folder(folder)
    with written_whole(folder / STATE) as beside:
        torch.save(dict(state), beside)


def read_state(folder: Path, device: torch.device, needed: Collection[str]) -> dict[str, Any] | None:
    """Read a run's state; None where a folder holds none.

    Args:
        folder: the run's folder.
        device: where the tensors go.
        needed: entries that a state of this kind of run has.

    Raises:
        ModelError: it is damaged, or of another kind of run.
    """
    file = folder / STATE
    if not file.is_file():
        return None
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except (RuntimeError, OSError, ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{file}: is damaged, so the run cannot go on from it. Delete it, or choose another folder; --start goes "
            "on from the run's best weights."
        ) from error
    if not isinstance(state, dict) or any(name not in state for name in needed):
        raise ModelError(f"{folder}: holds a run of another kind. Choose another folder, or delete it.")
    return state


def log_rows(folder: Path, columns: Sequence[str], values: Iterable[Any]) -> list[dict[str, str]]:
    """Add a row to a run's log, in place of rows that an interrupted run wrote later; returns all rows.

    Raises:
        VolumeError: it cannot be written; the log is as before then.
    """
    file = folder / LOG
    new = {name: str(value) for name, value in zip(columns, values, strict=True)}
    known = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    rows = [row for row in csv.DictReader(known) if int(row["epoch"]) < int(new["epoch"])] + [new]
    write_rows(file, columns, rows)
    return rows


def write_curves(folder: Path, rows: Sequence[Mapping[str, str]], columns: Mapping[str, str]) -> None:
    """Draw columns of a log; those are given by the names that the curves have."""
    curves = {
        name: [(int(row["epoch"]) + 1.0, float(row[column])) for row in rows if row[column]]
        for name, column in columns.items()
    }
    write_text(folder / CURVES, line_chart(curves, "epochs", "Dice"))
