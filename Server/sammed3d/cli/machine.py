"""`sammed3d info --machine`: what networks find here, and how long clicks take."""

from __future__ import annotations

import json
from typing import Any

from rich.table import Table

from sammed3d.cli.terminal import print_table, screen
from sammed3d.errors import SAMMed3DError
from sammed3d.zoo.store import ModelStore


def show_machine(device: str, as_json: bool) -> None:
    """Print it, with a first and a further click of each installed model."""
    from sammed3d.predictors.machine import click_seconds, describe_machine  # noqa: PLC0415 - needs torch
    from sammed3d.zoo import load_predictor  # noqa: PLC0415 - needs torch

    about = describe_machine()
    models: list[dict[str, Any]] = []
    for stored in ModelStore().models():
        try:
            predictor = load_predictor(stored.name, device)
            first, further = click_seconds(predictor)
        except SAMMed3DError as error:
            screen.print(f"{stored.name}: {error}", style="yellow", highlight=False)
            continue
        run = {"device": str(predictor.device), "precision": predictor.precision}
        models.append({"model": stored.name, **run, "first_click_s": first, "further_click_s": further})
    if as_json:
        print(json.dumps({"machine": about, "models": models}))
        return
    table = Table(show_header=False, box=None)
    for name, words in about.items():
        table.add_row(name, words)
    print_table(table)
    clicks = Table("Model", "Device", "Precision", "First click", "Further click")
    for each in models:
        times = (f"{each[name]:.2f} s" for name in ("first_click_s", "further_click_s"))
        clicks.add_row(each["model"], each["device"], each["precision"], *times)
    print_table(clicks)
