"""What the default model reaches on labelled volumes it has not seen, beside what a user has without it.

    python benchmarks/default_model.py CASES [--model NAME] [--output results.json]

CASES is a folder of cases (image.nii.gz, label.nii.gz, labels.json with {"1": {"name": ...}}). The protocol is that of
the product: the first click in the middle of the structure, each further one in the middle of the largest error, scored
on the volume's own grid after 1, 3, 5 and 10 clicks. The baseline gets clicks by the same rule: confidence-connected
region growing from the positive clicks (SimpleITK), with 10 mm round negative clicks taken out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[1] / "Server"))

from sammed3d import Session, Volume, load_predictor
from sammed3d.evaluation.clicks import next_click
from sammed3d.evaluation.metrics import dice
from sammed3d.volume import read_image

AT = (1, 3, 5, 10)
SMALLEST = 1.0  # ml


class Growing:
    """Confidence-connected region growing from clicks."""

    def __init__(self, volume: Volume) -> None:
        self._grid = volume.grid
        self._image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.T).astype(np.float32))
        self._seeds: list[tuple[int, ...]] = []
        self._out = np.zeros(volume.grid.shape, bool)

    def click(self, world, positive: bool) -> np.ndarray:
        index = tuple(int(v) for v in np.round(self._grid.to_index(world)))
        if positive:
            self._seeds.append(index)
        else:
            spacing = np.array(self._grid.spacing)
            reach = np.ceil(10 / spacing).astype(int)
            low = np.maximum(np.array(index) - reach, 0)
            high = np.minimum(np.array(index) + reach + 1, self._grid.shape)
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            axes = np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij")
            far = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, index, spacing, strict=True))
            self._out[box] |= far <= 100
        grown = sitk.ConfidenceConnected(self._image, self._seeds, 2, 2.0, 1, 1)
        return (sitk.GetArrayFromImage(grown).T.astype(bool) & ~self._out).astype(np.uint8)


def curve(step, truth: np.ndarray, grid) -> list[float]:
    """Return the Dice after each of ten clicks."""
    mask, scores = np.zeros(truth.shape, np.uint8), []
    for _ in range(AT[-1]):
        click = next_click(mask, truth, grid)
        if click is not None:
            mask = step(click)
        scores.append(dice(mask, truth))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every n-th structure only")
    arguments = parser.parse_args()
    predictor = load_predictor(arguments.model, device="auto")
    rows = []
    for case in sorted(arguments.cases.glob("*/label.nii.gz")):
        volume = Volume.read(case.with_name("image.nii.gz"))
        labels = read_image(case)[1]
        names = json.loads(case.with_name("labels.json").read_text())
        for number, (label, entry) in enumerate(names.items()):
            truth = labels == int(label)
            ml = float(truth.sum()) * volume.grid.voxel_volume / 1000
            if ml < SMALLEST or number % arguments.every:
                continue
            session, growing = Session(volume, predictor), Growing(volume)

            def ours(click, session=session):
                session.click(click.world, click.positive)
                return session.mask()

            model = curve(ours, truth, volume.grid)
            baseline = curve(
                lambda click, growing=growing: growing.click(click.world, click.positive), truth, volume.grid
            )
            row = {"case": case.parent.name, "structure": entry["name"], "ml": ml, "model": model, "baseline": baseline}
            rows.append(row)
            shown = "  ".join(f"{model[n - 1]:.2f}/{baseline[n - 1]:.2f}" for n in AT)
            print(f"{row['case']:34.34} {row['structure']:28.28} {ml:7.1f} ml  {shown}", flush=True)
            if arguments.output:
                arguments.output.write_text(json.dumps(rows))
    for name in ("model", "baseline"):
        means = np.array([row[name] for row in rows]).mean(axis=0)
        print(f"{name:9} mean Dice of {len(rows)} structures: " + "  ".join(f"{n}: {means[n - 1]:.3f}" for n in AT))


if __name__ == "__main__":
    main()
