"""What learns: the default model's network but for its finest level, SAM-Med3D's kind in low-rank updates."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from lightning.fabric import Fabric

from sammed3d.errors import ModelError
from sammed3d.files.datasets import Case
from sammed3d.nets import PromptableUNet, SamMed3d
from sammed3d.training import prepared
from sammed3d.training.contract import preparation_of
from sammed3d.training.default_model.cases import CachedCase, cached
from sammed3d.training.default_model.crops import CropSettings, CropStream
from sammed3d.training.default_model.trainer import STEPS_ALONE, Trainer
from sammed3d.training.launch import large_enough
from sammed3d.training.lora import plain_weights
from sammed3d.training.recipe import Recipe
from sammed3d.training.run import Run
from sammed3d.zoo.model import LoadedModel

REHEARSED = 0.25
"""Share of the crops and patches that come from the sample data."""
FROZEN = ("image_encoder.stem.", "image_encoder.blocks.0.")
"""What of the default model's network keeps its weights: the finest level, which sees edges and textures."""
PEAK_LR = 3e-4
DATASET, SAMPLE = "own_cases", "sample_data"
SMALLEST = 100
"""Voxels that a structure has to exceed for `LoraLearner`."""
LORA = {
    "lora_rank": 4,
    "epochs": 1_000_000,  # time decides
    "batch_size": 1,
    "accumulation": 4,
    "lr": 8e-4,
    "schedule": "constant",
    "clicks": 5,
    "smallest_voxels": SMALLEST,
    "workers": 0,
    "validate_every": 1_000_000,  # done here, as users click
    "save_every": 1_000_000,
}


class Learner(Protocol):
    """Something that learns for some time, and can be written down as a model at any time."""

    @property
    def steps(self) -> int:
        """Steps of the optimizer so far."""
        ...

    def learn(self, seconds: float, progress: float, /) -> float:
        """Learn for some seconds, a share of the budget (0..1) having passed; returns how many it were."""
        ...

    def model(self) -> tuple[LoadedModel, dict[str, torch.Tensor]]:
        """Return the model as it is now, and its weights."""
        ...

    def save(self) -> None:
        """Write the state, so that the same call goes on from it."""
        ...


def learner_for(
    start: LoadedModel,
    cases: Sequence[Case],
    rehearsed: Sequence[Case],
    folder: Path,
    device: str,
    seed: int,
    say: Callable[[str], None] = lambda _line: None,
) -> Learner:
    """Return what can learn from cases.

    Args:
        start: the model to begin with.
        cases: cases to learn from.
        rehearsed: cases of the sample data, against forgetting.
        folder: folder of the run, which goes on if the folder holds one.
        device: torch device.
        seed: seed of crops and clicks.
        say: told what of the cases is left out.

    Raises:
        ModelError: the model has no weights that can be trained, or a case cannot be learnt from.
        VolumeError: a case cannot be read, or no structure is large enough.
    """
    if isinstance(start.plain_network, PromptableUNet):
        return UNetLearner(start, cases, rehearsed, folder, torch.device(device), seed)
    if isinstance(start.plain_network, SamMed3d):
        return LoraLearner(start, cases, rehearsed, folder, device, seed, say)
    raise ModelError(f"{start.name}: learning is for 3-D models with torch weights. Choose one of them.")


class UNetLearner:
    """The default model's network, taught as it was trained, but for its finest level; arguments as `learner_for`."""

    def __init__(
        self,
        start: LoadedModel,
        cases: Sequence[Case],
        rehearsed: Sequence[Case],
        folder: Path,
        device: torch.device,
        seed: int,
    ) -> None:
        self._start = start
        self._trainer = Trainer(folder, device, PEAK_LR, start.sizes)
        if not self._trainer.resume():
            self._trainer.start_from(start.plain_network.state_dict())
        for name, parameter in self._trainer.network.named_parameters():
            parameter.requires_grad_(not name.startswith(FROZEN))
        spacing = start.preset.spacing
        known: list[CachedCase] = [cached(case, folder / "cache", spacing) for case in (*cases, *rehearsed)]
        own_seed = self._trainer.step + 1_000_003 * seed
        self._trainer.generator.manual_seed(own_seed)
        share = REHEARSED if rehearsed else 0.0
        weights = [(1 - share) / len(cases)] * len(cases) + [share / max(1, len(rehearsed))] * len(rehearsed)
        edges = {edge: often for edge, often in CropSettings().edges.items() if edge <= start.preset.patch_shape[0]}
        settings = replace(CropSettings(), edges=edges or {start.preset.patch_shape[0]: 1.0}, unlabelled=0.1)
        self._crops = iter(CropStream(known, weights, settings, own_seed))

    @property
    def steps(self) -> int:
        """Steps of the optimizer so far."""
        return self._trainer.step

    def learn(self, seconds: float, progress: float, /) -> float:
        """Learn for some seconds; see `Learner`."""
        began = time.monotonic()
        while (past := time.monotonic() - began) < seconds:
            for _ in range(STEPS_ALONE):
                self._trainer.learn(next(self._crops), progress)
            self._trainer.take_stock()
        return past

    def model(self) -> tuple[LoadedModel, dict[str, torch.Tensor]]:
        """Return the model with the mean of the last weights."""
        weights = {name: value.to("cpu", torch.float16).contiguous() for name, value in self._trainer.average.items()}
        return self._start, weights

    def save(self) -> None:
        """Write the state."""
        self._trainer.save()


class LoraLearner:
    """Networks of SAM-Med3D's kind: low-rank updates of the encoder's attention; arguments as `learner_for`.

    The network of `start` is what learns.
    """

    def __init__(
        self,
        start: LoadedModel,
        cases: Sequence[Case],
        rehearsed: Sequence[Case],
        folder: Path,
        device: str,
        seed: int,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        spacing, clamp = preparation_of(start)
        data = folder / "data"
        problems: list[str] = []
        for name, part in ((DATASET, cases), (SAMPLE, rehearsed)):
            prepared.prepare(
                part,
                data,
                name,
                spacing=spacing,
                clamp=clamp,
                validation=0.0,
                on_case=lambda _name, case: problems.extend([case.problem] if case.problem else []),
            )
        if problems:
            raise ModelError(f"A case cannot be learnt from: {problems[0]}")
        found = prepared.find_samples(data, "train")
        own, lines = large_enough([sample for sample in found if sample.dataset == DATASET], SMALLEST)
        known = [sample for sample in found if sample.dataset == SAMPLE and sample.voxels > SMALLEST]
        for line in lines:
            say(line)
        # shares of all steps, however many structures either has
        weights = {DATASET: (1 - REHEARSED) / len(own), SAMPLE: REHEARSED / len(known)} if known else {}
        recipe = Recipe.read(
            None, start=None if start.file is None else str(start.file), seed=seed, dataset_weights=weights, **LORA
        )
        index = device.partition(":")[2]
        fabric = Fabric(
            accelerator="cuda" if device.startswith("cuda") else "cpu", devices=[int(index)] if index else 1
        )
        fabric.launch()
        self._run = Run(recipe, start, [*own, *known], [], folder, fabric)

    @property
    def steps(self) -> int:
        """Steps of the optimizer so far."""
        return self._run.steps

    def learn(self, seconds: float, _progress: float, /) -> float:
        """Learn for some seconds, at a constant rate; see `Learner`."""
        began = time.monotonic()
        while (past := time.monotonic() - began) < seconds:
            self._run.train(stop_after=self._run.steps + 1)
        return past

    def model(self) -> tuple[LoadedModel, dict[str, torch.Tensor]]:
        """Return the model with the updates merged into its weights."""
        return self._run.model, plain_weights(self._run.network)

    def save(self) -> None:
        """Write the state."""
        self._run.save()
