"""Dice of a user who answers yes or no at suggested places against one who clicks the largest error.

    python benchmarks/suggestions.py DATASET [--model default] [--clicks 10] [--smallest 20] [--only NAME ...]

Both make the same first click, in the middle of the structure. One line of JSON for each, as it ends, then the means.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from labelled import structures

import sammed3d
from sammed3d.core.prompts import Click
from sammed3d.evaluation.metrics import dice
from sammed3d.inference.session import Session
from sammed3d.simulation.clicks import next_click

USERS = ("largest error", "yes or no")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--smallest", type=float, default=20.0, help="ml")
    parser.add_argument("--only", nargs="*", default=[], help="names of structures")
    options = parser.parse_args()
    predictor = sammed3d.load_predictor(options.model, "cpu")
    rows: dict[str, list[list[float]]] = {user: [] for user in USERS}
    for each in structures(options.dataset, options.smallest, only=options.only):
        for user in USERS:
            scores = measure(Session(each.volume, predictor), each.truth, user, options.clicks)
            rows[user].append(scores)
            print(json.dumps(each.told | {"user": user, "dice": scores}), flush=True)
    for user in USERS:
        print(json.dumps({"user": user, "structures": len(rows[user]), "mean": np.mean(rows[user], axis=0).tolist()}))


def measure(session: Session, truth: np.ndarray, user: str, count: int) -> list[float]:
    """Click, and return the Dice after each click; a user who is asked nothing more keeps the mask."""
    scores: list[float] = []
    for number in range(count):
        click = next_click(session.mask(), truth, session.volume.grid)
        if number and user == "yes or no":
            place = session.suggest()
            click = None if place is None else answer(place.world, truth, session)
        if click is not None:
            session.click(click.world, click.positive)
        scores.append(round(float(dice(session.mask(), truth)), 3))
    return scores


def answer(world: tuple[float, float, float], truth: np.ndarray, session: Session) -> Click:
    """Say whether the structure is at a place."""
    i, j, k = np.rint(session.volume.grid.to_index(world)).astype(int)
    return Click(world, bool(truth[i, j, k]))


if __name__ == "__main__":
    main()
