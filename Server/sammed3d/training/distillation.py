"""Distillation: a small encoder learns the image embeddings of a large one; then its decoder is trained as usual.

As in FastSAM3D: mean squared error to the teacher's embedding; optionally the teacher's layers first, one after the
other. The teacher's outputs are computed once and kept on disk. Differs from the published code in that an image is
normalised once, not twice.

Source: FastSAM3D `preparelabel.py`, `distillation.py`, `train.py`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from sammed3d.errors import ModelError
from sammed3d.files.outputs import make_folder, written_whole
from sammed3d.nets import SamMed3d
from sammed3d.training.contract import trainable
from sammed3d.training.losses import mean_squared
from sammed3d.training.patches import Patches
from sammed3d.training.prepared import Sample
from sammed3d.training.recipe import Recipe
from sammed3d.training.run import BEST, Run
from sammed3d.training.state import Say
from sammed3d.zoo.download import file_digest
from sammed3d.zoo.model import LoadedModel


class EncoderWithLayers(nn.Module):
    """A network's image encoder that also gives what comes out of its blocks."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of all blocks, and the embedding last."""
        outputs: list[Tensor] = []
        blocks = self.network.image_encoder.blocks
        hooks = [block.register_forward_hook(lambda _m, _i, out: outputs.append(out)) for block in blocks]
        try:
            embedding = self.network.encode(images)
        finally:
            for hook in hooks:
                hook.remove()
        return [*outputs, embedding]


class DistillationRun(Run):
    """A run whose loss is the distance to a teacher.

    Args:
        recipe: `teacher` names the model to learn from.
        model: the student; see `contract.model_to_train`.
        samples: samples to train on.
        folder: folder of the run.
        fabric: processes and devices.
        say: told of every epoch, in the first process.

    Raises:
        ModelError: the teacher has another preprocessing than the student, or its embedding, or with `distill_layers`
            its layers, have another shape.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: LoadedModel,
        samples: Sequence[Sample],
        folder: Path,
        fabric: Fabric,
        say: Say = lambda _line: None,
    ) -> None:
        teacher = trainable(str(recipe.teacher), None if recipe.start else recipe.family)
        if teacher.preset != model.preset:
            raise ModelError(
                f"{teacher.name} is used with another preprocessing than the student is trained with. Leave ct_window "
                "out, or start from a model with the teacher's."
            )
        if not all(isinstance(m.plain_network, SamMed3d) for m in (teacher, model)):
            raise ModelError("Distillation is for networks of SAM-Med3D's kind, which have layers to match.")
        recipe = replace(recipe, accumulation=min(recipe.accumulation, 10), normalisation="sample", smallest_voxels=0)
        super().__init__(recipe, model, samples, (), folder, fabric, say)
        self._teacher = EncoderWithLayers(teacher.plain_network.eval().requires_grad_(False)).to(fabric.device)
        # without flips, so that the teacher's outputs of a sample can be kept
        self.patches = Patches(samples, self.preset, recipe, augment=False)
        self._cache = folder / "teacher"
        self._taught_by = "" if teacher.file is None else file_digest(teacher.file)

    @staticmethod
    def following(recipe: Recipe, folder: Path) -> Recipe:
        """Return the recipe of the run that comes after: from the distilled weights, with the encoder kept."""
        again = replace(recipe, start=str(folder / BEST), teacher=None, image_encoder_lr=0.0)
        return replace(again, family=None, base=None, ct_window=None)  # the weights carry what these said

    def _wrapped(self, network: Any) -> nn.Module:
        return EncoderWithLayers(network)

    def _learn(self, batch: dict[str, Any], number: int, last_of_step: bool) -> tuple[float, float]:
        images = batch["image"].to(self.fabric.device)
        wanted = [self._teaching(image) for image in batch["image"]]
        with self.fabric.no_backward_sync(self.loop, enabled=not last_of_step):
            found = self.loop(images)
            output, target = self._compared(found, [torch.cat(layer) for layer in zip(*wanted, strict=True)])
            loss = mean_squared(output, target)
            self._check_loss(float(loss.detach()), number)
            self.fabric.backward(loss / self._group(number))
        return float(loss.detach()), math.nan

    def _compared(self, found: list[Tensor], wanted: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Choose what is compared in this epoch: a layer of each, or the embeddings."""
        layers = len(found) - 1
        number = self._stage(self.epoch)
        if number == layers:
            pair = found[-1], wanted[-1]
        else:
            pair = found[number], wanted[round((number + 1) * (len(wanted) - 1) / layers) - 1]
        if pair[0].shape != pair[1].shape:
            raise ModelError(
                f"The student's output is {tuple(pair[0].shape[1:])}, the teacher's {tuple(pair[1].shape[1:])}; "
                "distillation needs the same. Choose sizes that agree, or leave distill_layers out."
            )
        return pair

    def _stage(self, epoch: int) -> int:
        """Return which layer is compared in an epoch; the number of layers for the embedding."""
        layers = len(list(self.network.get_submodule("image_encoder.blocks").children()))
        return min(epoch // self.recipe.distill_layer_epochs, layers) if self.recipe.distill_layers else layers

    def _finish_epoch(self, loss: float, dice: float) -> None:
        if self._stage(self.epoch) != self._stage(self.epoch - 1):
            self.best = -math.inf  # the losses of another layer are of another size
        super()._finish_epoch(loss, dice)

    def _teaching(self, image: Tensor) -> list[Tensor]:
        """Return the teacher's outputs for a patch, from disk where they were computed before."""
        content = hashlib.sha256(image.numpy().tobytes())
        content.update(f"{self._taught_by} {self.recipe.distill_layers}".encode())
        file = self._cache / f"{content.hexdigest()}.pt"
        if file.is_file():
            kept: list[Tensor] = torch.load(file, map_location=self.fabric.device, weights_only=True)
            return kept
        with torch.no_grad():
            outputs = self._teacher(image[None].to(self.fabric.device))
        kept = [t.half() for t in (outputs if self.recipe.distill_layers else outputs[-1:])]
        make_folder(self._cache)
        with written_whole(file) as beside:
            torch.save(kept, beside)
        return kept
