"""From nothing to a written mask: `sammed3d segment` of the bundled CT with one click, and what takes how much of it.

Each line is a process of its own, the fastest of several that take turns, since machines are noisy. `import torch` is
what nobody can do without; the goal is 1.5 s in all on two cores where that takes 0.7 s. What is left beside torch and
the network is ours.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time

from sammed3d import samples

STEPS = {
    "Python itself": "pass",
    "NumPy and SimpleITK": "import numpy, SimpleITK",
    "the package": "import sammed3d",
    "the command (typer, rich)": "import sammed3d.cli.segment",
    "torch alone": "import torch",
    "the package and networks": "import sammed3d.cli.segment, sammed3d.zoo.load",
}
CLICK = "2,161,262"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default="default")
    asked = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in STEPS}
    wholes: list[tuple[float, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(asked.repeats):
            for name, code in STEPS.items():
                seconds[name].append(timed("-c", code)[0])
            given = ["--click", CLICK, "--model", asked.model, "--json", "--force", "-o", f"{folder}/mask.nii.gz"]
            whole, said = timed("-m", "sammed3d", "segment", str(samples.CT_ABDOMEN), *given)
            wholes.append((whole, json.loads(said)["seconds"]))
    fastest = {name: min(times) for name, times in seconds.items()}
    torch = fastest["torch alone"]
    for name, taken in fastest.items():
        print(f"{name:28} {taken:6.2f} s  {taken / torch:5.2f} of torch alone")
    whole, stages = min(wholes, key=lambda found: found[0])
    print(f"{'segment, with ' + asked.model:28} {whole:6.2f} s  {whole / torch:5.2f} of torch alone (goal 2)")
    for name, taken in stages.items():
        print(f"  {name:26} {taken:6.2f} s  {taken / whole:5.0%} of it")


def timed(*arguments: str) -> tuple[float, str]:
    """Run Python; returns the seconds that it took and what it printed."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)  # noqa: S603
    return time.perf_counter() - begin, done.stdout


if __name__ == "__main__":
    main()
